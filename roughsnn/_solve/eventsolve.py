"""`eventsolve`: diffeqsolve that goes on after each event."""

from typing import Literal

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import optimistix as optx
from jaxtyping import PyTree

from .._conditions.conditions import conditions_of
from .._event.crossing import AbstractCrossing
from .._event.event import Event
from .._misc import (
    check_positive_int,
    check_window,
)
from .._random import RandomKey
from .._types import Args, Numeric, RealScalar, State
from .adjoint import AbstractAdjoint, CheckpointAdjoint
from .dense import DenseSolution
from .failure import raise_if_failed, result_of
from .saveat import check_saveat, collect
from .setup import check_problem, compact, set_up
from .solution import Solution


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
    key: RandomKey,
    saveat: dfx.SaveAt | None = None,
    root_finder: optx.AbstractRootFinder | AbstractCrossing | None = None,
    adjoint: AbstractAdjoint | None = None,
    stepsize_controller: dfx.AbstractStepSizeController | None = None,
    max_steps: int = 4096,
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
    - `solver`: a diffrax solver; each step starts afresh. Of order two
        and more it solves, in each cell, the ODE that the smooth driver defines, hence in
        the limit the Stratonovich equation; `diffrax.Euler` gives the Ito one. For noise that
        depends on the state, order two on chords and at least three on parabolas.
    - `t0`, `t1`, `dt0`: window and cell length; concrete numbers.
    - `y0`: the initial state, a pytree of floating arrays. A coordinate that starts
        above 0 fires at once.
    - `args`: passed to vector fields, event function and transition.
    - `event`: an [`roughsnn.Event`][].
    - `max_events`: the room for events.
    - `key`: for the randomness of the transitions.
    - `saveat`: a `diffrax.SaveAt` with `t0`, `ts`, `steps`, `dense`, `t1`, `fn`. `ts` gives left
        limits where a time is that of an event; `steps` gives for each stop the state
        left and right of it, in time order, padded with inf in `ts` (`Solution.path`); with
        `dense` there is `Solution.evaluate`. `ts`, `steps` and `dense` keep every step in memory.
        Times beyond a deliberate `stop_after` give nan.
    - `root_finder`: an `optimistix` root finder, by default
        [`roughsnn.Chandrupatla`][] to machine precision, or an
        [`roughsnn.AbstractCrossing`][]. If the event function is affine and the solver's
        interpolant is too, the closed form is taken.
    - `adjoint`: [`roughsnn.CheckpointAdjoint`][] (default) or [`roughsnn.DirectAdjoint`][].
    - `stepsize_controller`: any diffrax controller, e.g. `diffrax.PIDController(1e-6, 1e-6)`, for
        problems without noise; drivers may jump. `dt0` is the first step then. Step lengths are
        held constant when the solve is differentiated, so the derivative, too, is as accurate as
        the tolerances. By default every step has the length `dt0`.
    - `max_steps`: with a controller, the room for steps: kept, rejected and ended by an event.
    - `stop_after`: end the solve, on purpose and without an error, at this event.
    - `jump_ts`: increasing times at which the vector fields jump, e.g. a current that is
        switched on. The solver stops there and does not read the field at the jump.
    - `conditions`: `"check"` calls [`roughsnn.check_event`][] first, if the values of the
        model are known (not while they are traced); `"waive"` solves whatever the answer
        would be. `Solution.conditions` says what was done.
    - `throw`: whether a failure raises; otherwise it is in `result`.

    **Returns:** a [`roughsnn.Solution`][].

    **Raises:** `ValueError` or `TypeError` for static mistakes, and for models without
    exact gradients. With `throw`, a `RuntimeError` for more than `max_events` events (it names a
    number that is enough at the rate so far) or `max_steps` steps, a grazing or re-triggering
    event, a failed step or a state that is not finite.

    !!! info

        Compiled at the first call, and kept for the functions and shapes that it was given, as by
        `jax.jit`: functions must be pure, and one that is made anew (a `lambda` in a loop) is
        compiled anew. Parameters that change belong into `args`, or into an `equinox.Module`.

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
    saveat = dfx.SaveAt() if saveat is None else saveat
    check_saveat(saveat, t0, t1)
    y0 = check_problem(terms, solver, t0, t1, dt0, y0, args, event, jump_ts)
    if conditions not in ("check", "waive"):
        raise ValueError(f"`conditions` must be 'check' or 'waive', got {conditions!r}.")
    known = "waived" if conditions == "waive" else conditions_of(terms, event, t0, y0, args)
    return _solve(
        terms,
        solver,
        y0,
        args,
        event,
        key,
        saveat,
        root_finder,
        stepsize_controller,
        jump_ts,
        adjoint=CheckpointAdjoint() if adjoint is None else adjoint,
        window=(t0, t1, dt0),
        max_events=max_events,
        max_steps=max_steps,
        stop_after=stop_after,
        conditions=known,
        throw=throw,
    )


@eqx.filter_jit
def _solve(
    terms,
    solver,
    y0,
    args,
    event,
    key,
    saveat,
    root_finder,
    controller,
    jump_ts,
    *,
    adjoint,
    window,
    max_events,
    max_steps,
    stop_after,
    conditions,
    throw,
) -> Solution:
    """What [`roughsnn.eventsolve`][] returns, compiled once for functions and shapes."""
    t0, t1, dt0 = window
    sub = saveat.subs
    stepper, carry, length = set_up(
        terms,
        solver,
        t0,
        t1,
        dt0,
        y0,
        args,
        event=event,
        max_events=max_events,
        key=key,
        root_finder=root_finder,
        stop_after=stop_after,
        jump_ts=jump_ts,
        sub=sub,
        controller=controller,
        max_steps=max_steps,
        dense=saveat.dense,
    )
    final, emitted = adjoint.loop(stepper, carry, length, stepper.live, stepper.idle(carry))
    times, marks = compact(emitted.mark, max_events, (emitted.time, jnp.inf), (emitted.mark, -1))
    if carry.control is not None and (sub is not None or saveat.dense):
        # Steps that were rejected lie in between.
        order = jnp.argsort(jax.lax.stop_gradient(emitted.time), stable=True)
        emitted = jax.tree.map(lambda x: x[order], emitted)
    ts, ys = collect(sub, stepper, emitted, t0, y0, final.y, args)
    result = result_of(final)
    solution = Solution(
        event_times=times,
        event_marks=marks,
        event_count=final.num_events,
        ts=ts,
        ys=ys,
        y1=final.y,
        result=result,
        conditions=conditions,
        dense=None if emitted.piece is None else DenseSolution(emitted.time, emitted.piece),
    )
    return raise_if_failed(solution, result, stepper, final) if throw else solution
