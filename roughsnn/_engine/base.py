"""What every engine is asked, and what it answers."""

from typing import Literal

import equinox as eqx
from jaxtyping import PyTree

from .._results import RESULTS
from .._solve.adjoint import AbstractAdjoint, CheckpointAdjoint
from .._solve.engine import check_adjoint
from .._train.spike_train import SpikeTrain
from .record import check_record


class Simulation(eqx.Module):
    """What [`roughsnn.simulate`][] returns.

    **Attributes:**

    - `spikes`: a [`roughsnn.SpikeTrain`][].
    - `states`: what the engine was asked to keep, else `None`: with
        `EventByEvent(saveat=...)` a [`roughsnn.Solution`][], with `Lockstep(record=...)` the
        records, with the structure of `record`.
    - `result`: a [`roughsnn.RESULTS`][], why the simulation failed if it did;
        `sim.result == roughsnn.RESULTS.successful`.
    - `conditions`: whether gradients through it are exact: `"hold"` if the conditions of
        [`roughsnn.check_event`][] were checked or hold by construction, `"unchecked"` if the
        model's values were traced, `"waived"` if the check was switched off.
    """

    spikes: SpikeTrain
    states: PyTree
    result: RESULTS
    conditions: Literal["hold", "unchecked", "waived"] = eqx.field(static=True)


class Lockstep(eqx.Module):
    r"""The fast engine: all neurons advance by one cell at a time.

    Spikes keep their exact offsets; what neurons do to one another *within* a cell is left out, an
    error of second order in `dt0`. The same noise and thresholds as with
    [`roughsnn.EventByEvent`][], so both agree as `dt0` becomes small. For membranes with linear
    decay; jumps of the drive and edges lie on the borders of cells.

    **Arguments:**

    - `record`: which states to keep: a dictionary from `"v"`, `"i"` or `"s"` to one of

        - `"cells"`: at the borders of the cells, shape `(cells + 1, neurons)`;
        - an array of increasing times in the window, shape `(times, neurons)`;
        - `"mean"`, `"max"`, `"last"`: over the borders of the cells, taken on the way, so that
          memory does not grow with time, shape `(neurons,)`;

        or to a tuple or dictionary of those. A state just after a spike that falls on a border is
        that behind it. Behind `stop_after` states are nan, and not counted in reductions.
    - `adjoint`: [`roughsnn.CheckpointAdjoint`][] (default) or [`roughsnn.DirectAdjoint`][].

    **Raises:** `ValueError`/`TypeError` for records that are none, and adjoints that are none.
    """

    record: PyTree
    adjoint: AbstractAdjoint

    def __init__(self, record: PyTree = None, adjoint: AbstractAdjoint | None = None):
        self.record = check_record(record)
        self.adjoint = CheckpointAdjoint() if adjoint is None else adjoint
        check_adjoint(self.adjoint)
