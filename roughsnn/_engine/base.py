"""What every engine is asked, and what it answers."""

import dataclasses
from typing import Literal

import equinox as eqx
import jax
from jaxtyping import PyTree

from .._check import check_kind
from .._results import RESULTS
from .._solve.adjoint import AbstractAdjoint, CheckpointAdjoint
from .._solve.engine import check_adjoint
from .._solve.solution import Solution
from .._train.neurons import Sizes
from .._train.spike_train import SpikeTrain
from .._window import Window
from .check_record import check_record
from .final import FinalState


class Simulation(eqx.Module):
    """What [`roughsnn.simulate`][] returns.

    **Attributes:**

    - `spikes`: a [`roughsnn.SpikeTrain`][]; `spikes["exc"]` is that of a population.
    - `states`: what the engine was asked to keep, else `None`: with
        `EventByEvent(saveat=...)` a [`roughsnn.Solution`][], with `Lockstep(record=...)` the
        records, with the structure of `record`.
    - `result`: a [`roughsnn.RESULTS`][], why the simulation failed if it did;
        `sim.result == roughsnn.RESULTS.successful`.
    - `final`: a [`roughsnn.FinalState`][], from which the next window goes on; see `window.next`.
    - `conditions`: whether gradients through it are exact: `"hold"` if the conditions of
        [`roughsnn.check_event`][] were checked or hold by construction, `"unchecked"` if the
        model's values were traced, `"waived"` if the check was switched off.
    """

    spikes: SpikeTrain
    states: PyTree
    result: RESULTS
    end: FinalState | None
    conditions: Literal["hold", "unchecked", "waived"] = eqx.field(static=True)

    @property
    def final(self) -> FinalState:
        """Where it ended; `ValueError` if no window can go on from there."""
        if self.end is None:
            raise ValueError(
                "The simulation did not end on the border of a cell: choose a window without "
                "`stop_after` that holds a whole number of cells of length `dt0`."
            )
        return self.end

    def shifted(self, window: Window, populations: Sizes) -> "Simulation":
        """The same with times that were counted from the start of `window` counted as it does, and
        spikes that know their populations."""
        spikes = dataclasses.replace(self.spikes.in_frame(window), populations=populations)
        states = self.states
        states = states.shifted(window) if isinstance(states, Solution) else states
        return dataclasses.replace(self, spikes=spikes, states=states)


class Lockstep(eqx.Module):
    r"""The fast engine: all neurons advance by one cell at a time.

    Spikes keep their exact offsets; what neurons of a loop without delay do to one another *within*
    a cell is left out, an error of second order in `dt0`. Delays are 0 or no shorter than `dt0`.
    The same noise and thresholds as with [`roughsnn.EventByEvent`][], so both agree as `dt0`
    becomes small. Linear neurons and synapses make exact steps, other neurons, and conductances,
    steps of order two in their `coordinate`; synapses have to be an
    [`roughsnn.AbstractLinearSynapse`][] or an [`roughsnn.AbstractConductance`][]. `edges` lie on
    the borders of cells. A [`roughsnn.StepPath`][] may jump inside of cells.

    **Arguments:**

    - `record`: which states to keep: a dictionary from the names of parts of the state (see
        [`roughsnn.PopulationState`][]), with several populations by population and part, to one of

        - `"cells"`: at the borders of the cells, shape `(cells + 1, neurons)`;
        - an array of increasing times in the window, shape `(times, neurons)`;
        - `"mean"`, `"max"`, `"last"`: over the borders of the cells, taken on the way, so that
          memory does not grow with time, shape `(neurons,)`;

        or to a tuple or dictionary of those. A state just after a spike that falls on a border is
        that behind it. Behind `stop_after` states are nan, and not counted in reductions.
    - `adjoint`: [`roughsnn.CheckpointAdjoint`][] (default) or [`roughsnn.DirectAdjoint`][].
    - `exact`: whether spikes of linear neurons without noise are sought on their exact motion, from
        arrival to arrival: they are then those of [`roughsnn.EventByEvent`][] to rounding, whatever
        `dt0` is, with their exact gradients. It takes hard thresholds, and loops need delays. All
        synapses are looked at in each cell, several times.

    **Raises:** `ValueError`/`TypeError` for records that are none, and adjoints that are none; when
        it is used, `ValueError` for networks that cannot be `exact`.
    """

    record: PyTree
    adjoint: AbstractAdjoint
    exact: bool = eqx.field(static=True)

    def __init__(
        self, record: PyTree = None, adjoint: AbstractAdjoint | None = None, exact: bool = False
    ):
        self.record = check_record(record)
        self.adjoint = CheckpointAdjoint() if adjoint is None else adjoint
        check_adjoint(self.adjoint)
        self.exact = check_kind("exact", exact, bool, "True or False")

    def local(self, window: Window) -> "Lockstep":
        """The same with times of records counted from t0."""
        since = lambda how: how if isinstance(how, str) else how - window.t0
        return Lockstep(jax.tree.map(since, self.record), self.adjoint, self.exact)
