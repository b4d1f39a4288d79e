"""How an event SDE is solved event by event."""

import dataclasses
from typing import Any

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import optimistix as optx
from jaxtyping import PyTree

from .._event.crossing import AbstractCrossing
from .._misc import at_least, at_most, check_positive_int, is_term
from .._path.base import AbstractGridPath
from .._window import Window
from .adjoint import AbstractAdjoint, CheckpointAdjoint


class EventByEvent(eqx.Module):
    r"""The general engine: from stop to stop, one event after the other.

    **Arguments:**

    - `solver`: a diffrax solver; each step starts afresh. Of order two and more it solves, in each
        cell, the ODE that the smooth driver defines, hence in the limit the Stratonovich equation;
        `diffrax.Euler` gives the Ito one. For noise that depends on the state, order two on chords
        and at least three on parabolas. By default, for networks of linear neurons and synapses:
        without noise the exact solution, whatever `dt0` (hazards are integrated on it to fifth
        order and more; a drive that is a function of time is a straight line on a step), with
        noise an exponential rule (hazards: Simpson's). Else `diffrax.Heun`, and `diffrax.Tsit5` for
        adaptive steps and on parabolas; cells are stepped over in the `coordinate` of neurons that
        have one. Adaptive steps, and those of a solver that is given, are made in the state itself.
    - `root_finder`: an `optimistix` root finder, by default [`roughsnn.Chandrupatla`][] to machine
        precision, or an [`roughsnn.AbstractCrossing`][]; they look for events that are above 0 at
        the end of a step. If the event function is affine and the solver's interpolant is too, the
        closed form is taken. On the exact solution the default finds the first crossing also where
        the potential is below the threshold again at the end of a step.
    - `controller`: any diffrax step size controller, e.g. `diffrax.PIDController(1e-6, 1e-6)`, for
        problems without noise; drivers may jump. `dt0` is the first step then. Step lengths are
        held constant when the solve is differentiated, so the derivative, too, is as accurate as
        the tolerances. By default every step is a cell.
    - `max_steps`: with a controller, the room for steps: kept, rejected and ended by an event.
    - `saveat`: a `diffrax.SaveAt` with `t0`, `ts`, `steps`, `dense`, `t1`, `fn`: which states are
        kept. `ts` gives left limits where a time is that of an event; `steps` gives for each stop
        the state left and right of it, in time order, padded with inf in `ts`
        ([`roughsnn.Solution.path`][]); with `dense` there is [`roughsnn.Solution.evaluate`][].
        `ts`, `steps` and `dense` keep every step in memory. Times beyond `stop_after` give nan.
    - `adjoint`: [`roughsnn.CheckpointAdjoint`][] (default) or [`roughsnn.DirectAdjoint`][].
    - `max_pending`: how many arrivals of spikes that travel there may be at once, in a network
        with delays; by default two for each synapse that has a delay of its own, or for each
        neuron. More end in a result.

    **Raises:** `TypeError` for arguments of another type; `ValueError` for `max_steps` that is not
        positive.
    """

    solver: dfx.AbstractSolver | None = None
    root_finder: optx.AbstractRootFinder | AbstractCrossing | None = None
    controller: dfx.AbstractStepSizeController | None = None
    max_steps: int = eqx.field(static=True, default=4096)
    saveat: dfx.SaveAt | None = None
    adjoint: AbstractAdjoint = CheckpointAdjoint()
    max_pending: int | None = eqx.field(static=True, default=None)

    def __check_init__(self):
        kinds: dict[str, tuple[Any, str]] = {
            "solver": (dfx.AbstractSolver, "a diffrax solver"),
            "root_finder": (
                (optx.AbstractRootFinder, AbstractCrossing),
                "an optimistix root finder or a roughsnn.AbstractCrossing",
            ),
            "controller": (dfx.AbstractStepSizeController, "a diffrax step size controller"),
            "saveat": (dfx.SaveAt, "a diffrax.SaveAt"),
        }
        for name, (kind, wanted) in kinds.items():
            value = getattr(self, name)
            if value is not None and not isinstance(value, kind):
                raise TypeError(f"`{name}` must be {wanted}, got {value!r}.")
        check_adjoint(self.adjoint)
        check_positive_int("max_steps", self.max_steps)
        if self.max_pending is not None:
            check_positive_int("max_pending", self.max_pending)

    def local(self, window: Window) -> "EventByEvent":
        """The same with times of `saveat` counted from t0, and none a rounding outside of it."""
        saveat = self.saveat
        if saveat is None or saveat.subs is None or saveat.subs.ts is None:
            return self
        since = jnp.asarray(saveat.subs.ts) - window.t0
        since = at_most(at_least(since, 0), window.local().t1)
        saveat = eqx.tree_at(lambda s: s.subs.ts, saveat, since)
        return dataclasses.replace(self, saveat=saveat)

    @property
    def adaptive(self) -> bool:
        """Whether the controller chooses the steps."""
        return not isinstance(self.controller, dfx.ConstantStepSize | None)

    def solver_for(self, terms: PyTree[dfx.AbstractTerm]) -> dfx.AbstractSolver:
        """The solver, or what is taken for these terms."""
        if self.solver is not None:
            return self.solver
        return dfx.Tsit5() if self.adaptive or _has_areas(terms) else dfx.Heun()


def as_event_by_event(engine: Any) -> EventByEvent:
    """The engine, by default one with its defaults; a `TypeError` for another one."""
    if engine is None:
        return EventByEvent()
    if not isinstance(engine, EventByEvent):
        raise TypeError(
            f"`engine` must be a roughsnn.EventByEvent here, got {type(engine).__name__}. A "
            "diffrax solver goes into it: roughsnn.EventByEvent(solver=diffrax.Heun())."
        )
    return engine


def by_cells(engine: Any, name: str) -> EventByEvent:
    """The engine, whose steps are cells and which saves no states; a clear error for another."""
    engine = as_event_by_event(engine)
    if engine.adaptive or engine.saveat is not None:
        raise ValueError(
            f"`{name}` makes steps of the length of a cell and saves no states: leave out "
            "`controller` and `saveat` of the engine."
        )
    return engine


def check_adjoint(adjoint: Any) -> None:
    """A `TypeError` for what is no adjoint."""
    if not isinstance(adjoint, AbstractAdjoint):
        raise TypeError(
            "`adjoint` must be a roughsnn.CheckpointAdjoint or a roughsnn.DirectAdjoint, got "
            f"{adjoint!r}."
        )


def _has_areas(terms: PyTree[dfx.AbstractTerm]) -> bool:
    """Whether a driver is a path of parabolas."""
    paths = [
        term.control
        for term in jax.tree.leaves(terms, is_leaf=is_term)
        if isinstance(term, dfx.ControlTerm)
    ]
    grids = [path for path in paths if isinstance(path, AbstractGridPath)]
    return any(jax.eval_shape(path.arrays)[1] is not None for path in grids)
