"""What a solve returns."""

import dataclasses
from typing import Literal

import equinox as eqx
from jaxtyping import Array, Float, Int, PyTree

from .._path.cadlag import CadlagPath
from .._results import RESULTS
from .._types import RealScalar, State
from .dense import DenseSolution


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
    - `dense`: what `evaluate` reads, with `SaveAt(dense=True)`, else `None`.
    """

    event_times: Float[Array, " events"]
    event_marks: Int[Array, " events"]
    event_count: Int[Array, ""]
    ts: PyTree
    ys: PyTree
    y1: State
    result: RESULTS
    conditions: Literal["hold", "unchecked", "waived"] = eqx.field(static=True)
    dense: DenseSolution | None = None

    def evaluate(self, t: RealScalar, left: bool = True) -> State:
        """The state at `t`, by the solver's dense output: its left limit, unless `left=False`.

        For solves with `SaveAt(dense=True)`; nan outside of the solve. Differentiable in `t` too.

        **Raises:** `ValueError` for solves without it.
        """
        if self.dense is None:
            raise ValueError(
                "There is no dense output: solve with EventByEvent(saveat=SaveAt(dense=True))."
            )
        return self.dense.evaluate(t, left)

    def shifted(self, t0: float) -> "Solution":
        """The same with times that were counted from the start of the window, which is at t0."""
        dense = None if self.dense is None else dataclasses.replace(self.dense, t0=t0)
        ts = None if self.ts is None else self.ts + t0
        return dataclasses.replace(self, event_times=self.event_times + t0, ts=ts, dense=dense)

    def path(self) -> CadlagPath:
        """What was saved as a càdlàg path, both limits at each stop with `SaveAt(steps=True)`.

        **Raises:** `ValueError` if no states were saved.
        """
        if self.ts is None:
            raise ValueError(
                "No states were saved: solve with EventByEvent(saveat=SaveAt(steps=True))."
            )
        return CadlagPath(self.ts, self.ys)
