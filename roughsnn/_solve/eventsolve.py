"""`eventsolve`: diffeqsolve that goes on after each event."""

import dataclasses
from typing import Literal

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
from jaxtyping import Array, PyTree

from .._event.affine import is_affine
from .._event.chandrupatla import Chandrupatla
from .._event.conditions import conditions_of
from .._event.crossing import AbstractCrossing, BracketedCrossing, QuadraticCrossing
from .._event.event import Event
from .._misc import (
    any_in_batch,
    check_positive_int,
    check_window,
    is_concrete,
    num_cells,
    stop_gradients,
)
from .._random import seeds
from .._results import RESULTS
from .._types import Args, Numeric, PRNGKey, RealScalar, State
from .adjoint import AbstractAdjoint, CheckpointAdjoint
from .localise import check_terms
from .saveat import check_saveat, collect
from .solution import Solution
from .step import GRAZED, OK, OVERFLOW, RETRIGGERED, STEP_FAILED, Carry, Grid, Stepper

# How often `max_events` is doubled at most to find the number that an error names.
_DOUBLINGS = 10


def eventsolve(
    terms: PyTree[dfx.AbstractTerm],
    solver: dfx.AbstractSolver,
    t0: RealScalar,
    t1: RealScalar,
    dt0: RealScalar,
    y0: State,
    args: Args = None,
    *,
    event: Event,
    max_events: int,
    key: PRNGKey,
    saveat: dfx.SaveAt | None = None,
    root_finder: optx.AbstractRootFinder | AbstractCrossing | None = None,
    adjoint: AbstractAdjoint | None = None,
    stop_after: int | None = None,
    jump_ts: Numeric | None = None,
    conditions: Literal["check", "waive"] = "check",
    throw: bool = True,
) -> Solution:
    r"""Solves a differential equation that restarts itself at its own events.

    Between events $dY = \mu(t, Y)\,dt + \sigma(t, Y)\,dX$; when a coordinate $k$ of the
    event function rises through 0, the state jumps to $\mathcal T_k(t, Y_{t-}, u)$
    (Holberg & Salvi 2024, Definition 3.1). One flat loop goes from stop to stop: the end
    of a cell of length `dt0`, a declared jump, or the next event, located on the dense
    output of the step that produced the state. The drivers are smooth inside a cell, so
    the loop is a differentiable map of its parameters, and its derivative is that of
    Theorem 3.2 there; `jax.grad`, `jacfwd` and `jacrev` go through event times and jumps.

    Unbatched: use `jax.vmap` over keys. The iterations are cells + events, and no sample
    waits for another.

    **Arguments:**

    - `terms`: diffrax terms. Noise is a `ControlTerm` over a [`roughsnn.BrownianPath`][].
    - `solver`: a diffrax solver with fixed steps; each step starts afresh. Of order two
        and more it solves, in each cell, the ODE that the smooth driver defines, hence in
        the limit the Stratonovich equation; `diffrax.Euler` gives the Ito one.
    - `t0`, `t1`, `dt0`: window and cell length; concrete numbers.
    - `y0`: the initial state, a pytree of floating arrays. A coordinate that starts
        above 0 fires at once.
    - `args`: passed to vector fields, event function and transition.
    - `event`: an [`roughsnn.Event`][].
    - `max_events`: the room for events.
    - `key`: for the randomness of the transitions.
    - `saveat`: a `diffrax.SaveAt` with `t0`, `ts`, `steps`, `t1`, `fn`. `ts` gives left
        limits where a time is that of an event; `steps` gives for each stop the state
        left and right of it, in time order, padded with inf in `ts`. `ts` and `steps`
        keep every step in memory. Times beyond a deliberate `stop_after` give nan.
    - `root_finder`: an `optimistix` root finder, by default
        [`roughsnn.Chandrupatla`][] to machine precision, or an
        [`roughsnn.AbstractCrossing`][]. If the event function is affine and the solver's
        interpolant is too, the closed form is taken.
    - `adjoint`: [`roughsnn.CheckpointAdjoint`][] (default) or [`roughsnn.DirectAdjoint`][].
    - `stop_after`: end the solve, on purpose and without an error, at this event.
    - `jump_ts`: increasing times at which the vector fields jump, e.g. a current that is
        switched on. The solver stops there and does not read the field at the jump.
    - `conditions`: `"check"` calls [`roughsnn.check_event`][] first, if the values of the
        model are known (not while they are traced); `"waive"` solves whatever the answer
        would be. `Solution.conditions` says what was done.
    - `throw`: whether a failure raises; otherwise it is in `result`.

    **Returns:** a [`roughsnn.Solution`][].

    **Raises:** `ValueError` or `TypeError` for static mistakes, and for models without
    exact gradients. With `throw`, a
    `RuntimeError` for more than `max_events` events (it names a number that is enough), a
    grazing or re-triggering event, a failed step or a state that is not finite.

    !!! warning

        A coordinate that rises through 0 and falls back within one step is not seen.

    ??? cite "Reference"

        C. Holberg, C. Salvi, *Exact Gradients for Stochastic Spiking Neural Networks
        Driven by Rough Signals*, NeurIPS 2024, arXiv:2405.13587.
    """
    t0, t1, dt0 = check_window(t0, t1, dt0, "dt0")
    max_events = check_positive_int("max_events", max_events)
    if stop_after is not None and check_positive_int("stop_after", stop_after) > max_events:
        raise ValueError(
            f"`stop_after` must not exceed `max_events`, got {stop_after} > {max_events}."
        )
    if not isinstance(solver, dfx.AbstractSolver):
        raise TypeError(f"`solver` must be a diffrax solver, got {type(solver).__name__}.")
    if not isinstance(event, Event):
        raise TypeError(f"`event` must be a roughsnn.Event, got {type(event).__name__}.")
    check_terms(terms, solver, t0, t1, dt0)
    y0, dtype = _check_state(y0)
    num_coordinates = _check_event(event, t0, y0, args, dtype)
    saveat = dfx.SaveAt() if saveat is None else saveat
    sub = check_saveat(saveat, t0, t1)
    cells = num_cells(t0, t1, dt0)
    grid = Grid(t0, t1, dt0, cells, _check_jumps(jump_ts, dtype))
    stepper = Stepper(
        terms=terms,
        solver=_differentiable(solver),
        event=event,
        args=args,
        seeds=seeds(key),
        crossing=_choose_crossing(root_finder, solver, event, t0, y0, args, dtype),
        grid=grid,
        max_events=max_events,
        stop_after=stop_after,
        emit_origin=sub is not None and sub.ts is not None,
        emit_steps=sub is not None and bool(sub.steps),
    )
    zero = jnp.zeros((), jnp.int32)
    carry = Carry(
        cell=zero,
        offset=jnp.zeros((), dtype),
        jump=_first_jump(grid),
        y=y0,
        counts=jnp.zeros(num_coordinates, jnp.int32),
        num_events=zero,
        last=zero - 1,
        fault=zero,
        finished=jnp.array(False),
    )
    if conditions not in ("check", "waive"):
        raise ValueError(f"`conditions` must be 'check' or 'waive', got {conditions!r}.")
    known = "waived" if conditions == "waive" else conditions_of(terms, event, t0, y0, args)
    adjoint = CheckpointAdjoint() if adjoint is None else adjoint
    jumps = 0 if grid.jump_ts is None else grid.jump_ts.shape[0] - 1
    # One more than cells, jumps and events, to see an event too many.
    length = cells + jumps + max_events + 1
    final, emitted = adjoint.loop(stepper, carry, length, stepper.live, stepper.idle(carry))
    times, marks = _compact(emitted.time, emitted.mark, max_events)
    ts, ys = collect(sub, stepper, emitted, t0, y0, final.y, args)
    solution = Solution(
        event_times=times,
        event_marks=marks,
        event_count=final.num_events,
        ts=ts,
        ys=ys,
        y1=final.y,
        result=_result(final),
        conditions=known,
    )
    return _raise_if_failed(solution, stepper, final) if throw else solution


def _check_state(y0: State):
    y0 = jax.tree.map(jnp.asarray, y0)
    leaves = jax.tree.leaves(y0)
    for leaf in leaves:
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            raise ValueError(
                f"Every leaf of `y0` must have a floating dtype, got {leaf.dtype}. Use e.g. "
                "jnp.asarray(y0, float)."
            )
    if not leaves:
        raise ValueError("`y0` must hold at least one array.")
    return y0, jnp.result_type(*leaves)


def _check_event(event: Event, t0, y0, args, dtype) -> int:
    t = jax.ShapeDtypeStruct((), dtype)
    out = eqx.filter_eval_shape(event.fn, t, y0, args)
    if not hasattr(out, "shape") or len(out.shape) != 1 or out.shape[0] == 0:
        shape = getattr(out, "shape", type(out).__name__)
        raise ValueError(
            f"`event.fn` must return one array of shape (events,), got {shape}. For a single "
            "event return jnp.array([value])."
        )
    scalar = jax.ShapeDtypeStruct((), jnp.int32)
    after = eqx.filter_eval_shape(event.transition, t, y0, args, scalar, t)
    expected = jax.eval_shape(lambda y: y, y0)
    same = lambda a: jax.tree.map(lambda x: (x.shape, x.dtype), a)  # noqa: E731
    if jax.tree.structure(after) != jax.tree.structure(expected) or same(after) != same(expected):
        raise ValueError(
            "`event.transition` must return a state with the structure, shapes and dtypes "
            f"of `y0`: got {after}, expected {expected}."
        )
    return out.shape[0]


def _check_jumps(jump_ts, dtype):
    if jump_ts is None:
        return None
    jump_ts = jnp.asarray(jump_ts, dtype)
    if jump_ts.ndim != 1:
        raise ValueError(f"`jump_ts` must have shape (jumps,), got {jump_ts.shape}.")
    if is_concrete(jump_ts) and np.any(np.diff(np.asarray(jump_ts)) <= 0):
        raise ValueError("`jump_ts` must be increasing.")
    return jnp.append(jump_ts, jnp.inf)


def _differentiable(solver: dfx.AbstractSolver) -> dfx.AbstractSolver:
    """A Runge-Kutta solver whose loop over stages works in forward and in reverse mode.

    Its default is a checkpointed loop, which `jax.jvp` refuses (diffrax#549).
    """
    if isinstance(solver, dfx.AbstractRungeKutta) and solver.scan_kind is None:
        none = lambda x: x is None  # noqa: E731
        return eqx.tree_at(lambda s: s.scan_kind, solver, "bounded", is_leaf=none)
    return solver


def _first_jump(grid: Grid) -> Array:
    if grid.jump_ts is None:
        return jnp.zeros((), jnp.int32)
    return jnp.searchsorted(grid.jump_ts, grid.t0, side="right").astype(jnp.int32)


def _choose_crossing(root_finder, solver, event, t0, y0, args, dtype) -> AbstractCrossing:
    if isinstance(root_finder, AbstractCrossing):
        return root_finder
    if isinstance(root_finder, optx.AbstractRootFinder):
        return BracketedCrossing(root_finder)
    if root_finder is not None:
        raise TypeError(
            "`root_finder` must be an optimistix.AbstractRootFinder or a "
            f"roughsnn.AbstractCrossing, got {type(root_finder).__name__}."
        )
    linear = solver.interpolation_cls is dfx.LocalLinearInterpolation
    fn = lambda t, y: event.fn(t, y, args)  # noqa: E731
    if linear and is_affine(fn, jnp.asarray(t0, dtype), y0):
        return QuadraticCrossing()
    return BracketedCrossing(Chandrupatla())


def _compact(times, marks, max_events: int):
    """The events among the iterations, moved to the front."""
    rank = jnp.cumsum(marks >= 0, dtype=jnp.int32)
    wanted = jnp.arange(1, max_events + 1, dtype=jnp.int32)
    index = jnp.searchsorted(rank, wanted, side="left")
    stored = index < times.shape[0]
    index = jnp.minimum(index, times.shape[0] - 1)
    return jnp.where(stored, times[index], jnp.inf), jnp.where(stored, marks[index], -1)


def _result(final: Carry) -> RESULTS:
    finite = [jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(final.y)]
    result = RESULTS.where(jnp.all(jnp.stack(finite)), RESULTS.successful, RESULTS.nonfinite_state)
    for code, member in (
        (OVERFLOW, RESULTS.max_events_reached),
        (GRAZED, RESULTS.event_grazed),
        (RETRIGGERED, RESULTS.event_retriggered),
        (STEP_FAILED, RESULTS.step_failed),
    ):
        result = RESULTS.where(final.fault == code, member, result)
    return result


def _raise_if_failed(solution: Solution, stepper: Stepper, final: Carry) -> Solution:
    """Raises with the message of the result; on overflow with a number that is enough."""
    others = (
        RESULTS.event_grazed,
        RESULTS.event_retriggered,
        RESULTS.nonfinite_state,
        RESULTS.step_failed,
    )
    limits = [stepper.max_events * 2**j for j in range(1, _DOUBLINGS + 1)]
    messages = [RESULTS[member] for member in others]
    messages += [
        f"{RESULTS[RESULTS.max_events_reached]} Got {stepper.max_events}; {limit} is enough here."
        for limit in limits
    ]
    messages.append(
        f"{RESULTS[RESULTS.max_events_reached]} Got {stepper.max_events}; not even "
        f"{limits[-1]} is enough: does the activity explode?"
    )
    overflow = jax.lax.stop_gradient(final.fault) == OVERFLOW
    needed = _count_events(stepper, final, limits[-1], overflow)
    index = jnp.searchsorted(jnp.asarray(limits, jnp.int32), needed) + len(others)
    for i, member in enumerate(others):
        index = jnp.where(solution.result == member, i, index)
    return eqx.branched_error_if(solution, solution.result != RESULTS.successful, index, messages)


def _count_events(stepper: Stepper, final: Carry, limit: int, overflow) -> Array:
    """How many events there would be, up to `limit` + 1, where the solve overflowed."""
    counter = dataclasses.replace(stepper, max_events=limit + 1)
    start = eqx.tree_at(
        lambda c: (c.fault, c.finished), final, (jnp.asarray(OK, jnp.int32), ~overflow)
    )

    def go_on(carry):
        return jax.lax.while_loop(
            lambda c: counter.live(c) & (c.num_events <= limit), lambda c: counter(c)[0], carry
        ).num_events

    go_on, start = stop_gradients((eqx.filter_closure_convert(go_on, start), start))
    return jax.lax.cond(any_in_batch(overflow), lambda c: go_on(c), lambda c: c.num_events, start)
