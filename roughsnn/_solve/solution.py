"""What a solve returns."""

from typing import Literal

import equinox as eqx
from jaxtyping import Array, Float, Int, PyTree

from .._results import RESULTS
from .._types import State


class Solution(eqx.Module):
    """The solution of an event SDE.

    **Attributes:**

    - `event_times`: shape `(max_events,)`, increasing, padded with inf.
    - `event_marks`: shape `(max_events,)`, the coordinate that fired, padded with -1.
    - `event_count`: scalar, how many events are stored.
    - `ts`, `ys`: as asked for by `saveat`, else `None`; see [`roughsnn.eventsolve`][].
    - `y1`: the state at the end of the solve.
    - `result`: a [`roughsnn.RESULTS`][]; `sol.result == roughsnn.RESULTS.successful`.
    - `conditions`: whether gradients through it are exact: `"hold"` if the conditions of
        [`roughsnn.check_event`][] were checked or hold by construction, `"unchecked"` if the
        model's values were traced, `"waived"` if the check was switched off.
    """

    event_times: Float[Array, " events"]
    event_marks: Int[Array, " events"]
    event_count: Int[Array, ""]
    ts: PyTree
    ys: PyTree
    y1: State
    result: RESULTS
    conditions: Literal["hold", "unchecked", "waived"] = eqx.field(static=True)
