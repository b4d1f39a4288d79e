"""`eventsolve`: diffeqsolve that goes on after each event."""

import dataclasses

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from .._conditions.conditions import conditions_of
from .._event.event import Event
from .._random import RandomKey, check_key
from .._results import Failure
from .._types import Args, Numeric, State
from .._window import Clock, Window, as_window, check_capacity
from .adjoint import CheckpointAdjoint
from .dense import DenseSolution
from .engine import EventByEvent, as_event_by_event
from .failure import failure_of, result_of
from .saveat import collect
from .setup import Equation, check_problem, compact, set_up
from .solution import Solution
from .step import Carry


def eventsolve(
    terms: PyTree[dfx.AbstractTerm],
    window: Window,
    y0: State,
    args: Args = None,
    *,
    event: Event,
    max_events: int,
    key: RandomKey,
    engine: EventByEvent | None = None,
    jump_ts: Numeric | None = None,
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
    - `window`: a [`roughsnn.Window`][].
    - `y0`: the initial state, a pytree of floating arrays. A coordinate that starts
        above 0 fires at once.
    - `args`: passed to vector fields, event function and transition.
    - `event`: an [`roughsnn.Event`][].
    - `max_events`: the room for events.
    - `key`: for the randomness of the transitions.
    - `engine`: a [`roughsnn.EventByEvent`][], with the solver, the states that are kept, ...
    - `jump_ts`: increasing times at which the vector fields jump, e.g. a current that is
        switched on. The solver stops there and does not read the field at the jump.
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
    window, engine = as_window(window), as_event_by_event(engine)
    max_events = check_capacity("max_events", max_events, window)
    y0 = check_problem(terms, window, y0, args, event=event, engine=engine, jump_ts=jump_ts)
    known = "waived"
    if event.conditions == "check":
        known = conditions_of(terms, event, window.t0, y0, args)
    equation = Equation(terms, event, y0, args, check_key(key), jump_ts, Clock.of(window))
    solution, failure, _ = solve(
        equation,
        engine.local(window),
        window=window.local(),
        max_events=max_events,
        conditions=known,
    )
    solution = failure.raised(solution) if throw else solution
    return solution.shifted(window)


@eqx.filter_jit
def solve(
    equation: Equation, engine: EventByEvent, *, window: Window, max_events: int, conditions
) -> tuple[Solution, Failure, Carry]:
    """What [`roughsnn.eventsolve`][] returns, its times since t0, compiled once for functions and
    shapes; and the last carry."""
    stepper, carry, length = set_up(equation, engine, window=window, max_events=max_events)
    saveat = dfx.SaveAt() if engine.saveat is None else engine.saveat
    sub = saveat.subs
    adjoint = engine.adjoint
    if carry.control is not None and isinstance(adjoint, CheckpointAdjoint):
        adjoint = dataclasses.replace(adjoint, early=True)
    final, emitted = adjoint.loop(stepper, carry, length, stepper.live, stepper.idle(carry))
    times, marks = compact(emitted.mark, max_events, (emitted.time, jnp.inf), (emitted.mark, -1))
    if carry.control is not None and (sub is not None or saveat.dense):
        # Steps that were rejected lie in between.
        order = jnp.argsort(jax.lax.stop_gradient(emitted.time), stable=True)
        emitted = jax.tree.map(lambda x: x[order], emitted)
    ts, ys = collect(sub, stepper, emitted, equation.y0, final.y)
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
        window=window,
        num_coordinates=final.counts.shape[0],
        dense=None if emitted.piece is None else DenseSolution(emitted.time, emitted.piece),
    )
    earlier = 0 if equation.counts is None else equation.counts
    return solution, failure_of(result, stepper, final, earlier), final
