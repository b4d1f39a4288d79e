"""The forward recursion of Theorem 3.2: derivatives of event times as they happen."""

import dataclasses
from collections.abc import Callable

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PyTree

from .._check import check_function
from .._conditions.fields import smooth_drift
from .._event.event import Event
from .._misc import as_numbers, described, entry, one_hot, where_tree
from .._random import RandomKey, check_key
from .._results import RESULTS, Failure
from .._types import Args, Numeric, State
from .._window import Clock, Window, as_window, check_capacity
from .engine import EventByEvent, as_event_by_event
from .failure import failure_of, result_of
from .jumps import check_jump_ts
from .setup import Equation, check_problem, compact, set_up
from .step import Carry, Emitted, Stepper

Problem = Callable[[PyTree], tuple[PyTree[dfx.AbstractTerm], Event, State, Args]]


class OnlineGradient(eqx.Module):
    """What [`roughsnn.online_gradient`][] returns; padded as a [`roughsnn.Solution`][].

    **Attributes:**

    - `event_times`, `event_marks`, `event_count`: the events.
    - `time_derivatives`: shape `(max_events,)`, the derivative of each event time, padded
        with 0.
    - `y1`, `y1_derivative`: the state at the end and its derivative.
    - `result`: a [`roughsnn.RESULTS`][].
    """

    event_times: Float[Array, " events"]
    event_marks: Int[Array, " events"]
    event_count: Int[Array, ""]
    time_derivatives: Float[Array, " events"]
    y1: State
    y1_derivative: State
    result: RESULTS


def online_gradient(
    problem: Problem,
    params: PyTree,
    direction: PyTree,
    window: Window,
    *,
    max_events: int,
    key: RandomKey,
    engine: EventByEvent | None = None,
    jump_ts: Numeric | None = None,
    throw: bool = True,
) -> OnlineGradient:
    r"""The derivative of an event SDE along a direction, carried forward with the path.

    Between events $\partial Y$ follows the linearised flow at fixed time; at event n, with
    $\partial$ the derivative along `direction` at fixed time,

    $$\partial\tau_n = -\frac{\nabla E_k\,\partial Y_{\tau_n-} + \partial_\theta E_k}
    {\partial_t E_k + \nabla E_k\,\mu}, \qquad
    \partial Y_{\tau_n} = \nabla\mathcal T_k\,\partial Y_{\tau_n-} + \partial_\theta\mathcal T_k
    - \bigl(\mu(Y_{\tau_n}) - \nabla\mathcal T_k\,\mu(Y_{\tau_n-}) - \partial_t\mathcal T_k\bigr)
    \partial\tau_n$$

    (Holberg & Salvi 2024, Theorem 3.2, eq. 6-7). The location of the event is not
    differentiated, only the drift enters the jump, and nothing is stored: memory does not
    grow with time, and $\partial\tau_n$ is known when event n happens. As `dt0` → 0 it is
    the derivative of [`roughsnn.eventsolve`][] on the same key; the conditions of
    [`roughsnn.check_event`][] are assumed.

    One direction; `jax.vmap` over `direction` gives several, on one and the same path.

    **Arguments:**

    - `problem`: `params -> (terms, event, y0, args)`, as for `eventsolve`.
    - `params`, `direction`: pytrees of floating arrays of one structure.
    - `window`, `max_events`, `key`, `jump_ts`, `throw`: as for [`roughsnn.eventsolve`][].
    - `engine`: its solver and root finder; steps are cells, and no states are saved. Parameters of
        the solver itself (time constants, which the default one for networks knows) are held
        constant, which does not matter as `dt0` → 0.

    **Returns:** a [`roughsnn.OnlineGradient`][].

    **Raises:** as [`roughsnn.eventsolve`][].
    """
    window, engine = as_window(window), as_event_by_event(engine)
    max_events = check_capacity("max_events", max_events, window)
    if engine.adaptive or engine.saveat is not None:
        raise ValueError(
            "`online_gradient` makes steps of the length of a cell and saves no states: leave out "
            "`controller` and `saveat` of the engine."
        )
    if jax.tree.structure(params) != jax.tree.structure(direction):
        raise ValueError(
            "`direction` must have the structure of `params`: got "
            f"{jax.tree.structure(direction)} and {jax.tree.structure(params)}."
        )

    check_function("problem", problem, "problem(params)")
    check_jump_ts(jump_ts)
    for name, tree in (("params", params), ("direction", direction)):
        for leaf in jax.tree.leaves(tree):
            if not jnp.issubdtype(as_numbers(name, leaf).dtype, jnp.floating):
                raise ValueError(f"`{name}` must hold floating arrays, got {described(leaf)}.")
    sizes = [jax.tree.map(jnp.shape, tree) for tree in (params, direction)]
    if sizes[0] != sizes[1]:
        raise ValueError(f"`direction` must have the shapes of `params`, got {sizes[::-1]}.")

    def checked(params):
        posed = problem(params)
        if not isinstance(posed, tuple) or len(posed) != 4:
            raise TypeError(
                f"`problem` must return (terms, event, y0, args), got {described(posed)}."
            )
        terms, event, y0, args = posed
        return check_problem(terms, window, y0, args, event=event, engine=engine, jump_ts=jump_ts)

    eqx.filter_eval_shape(checked, params)
    found, failure = _online_gradient(
        problem,
        params,
        direction,
        check_key(key),
        engine,
        jump_ts,
        Clock.of(window),
        window=window.local(),
        max_events=max_events,
    )
    found = failure.raised(found) if throw else found
    return dataclasses.replace(found, event_times=found.event_times + window.t0)


@eqx.filter_jit
def _online_gradient(
    problem, params, direction, key, engine, jump_ts, clock, *, window, max_events
) -> tuple[OnlineGradient, Failure]:
    """What [`roughsnn.online_gradient`][] returns, compiled once for functions and shapes."""
    terms, event, y0, args = problem(params)
    y0 = jax.tree.map(jnp.asarray, y0)
    equation = Equation(terms, event, y0, args, key, jump_ts, clock)
    stepper, start, length = set_up(equation, engine, window=window, max_events=max_events)
    if stepper.jumps:
        raise ValueError(
            "`online_gradient` does not take drivers that jump. Use jax.jvp through "
            "roughsnn.eventsolve."
        )
    y0_derivative = jax.jvp(lambda p: problem(p)[2], (params,), (direction,))[1]

    def body(carry, _):
        carry, dy = carry
        new, emitted = stepper(carry)
        t, local = event_or_stop(stepper, carry, new, emitted)
        fires, k = emitted.mark >= 0, jnp.maximum(emitted.mark, 0)

        def left_at(params, y):
            terms, event, _, args = problem(params)
            there = dataclasses.replace(stepper, terms=terms, event=event, args=args)
            return there.flow(carry, y, local)

        left, dleft = jax.jvp(left_at, (params, carry.y), (direction, dy))
        u = stepper.labels.of(k, entry(new.counts, k), local.dtype)
        dtau, dright = _jump(problem, params, direction, t, left, dleft, k, u)
        dy = where_tree(fires, dright, dleft)
        return (new, dy), (emitted.time, emitted.mark, jnp.where(fires, dtau, 0))

    (final, dy1), (times, marks, dtaus) = jax.lax.scan(body, (start, y0_derivative), length=length)
    times, marks, dtaus = compact(marks, max_events, (times, jnp.inf), (marks, -1), (dtaus, 0.0))
    result = result_of(final)
    found = OnlineGradient(
        event_times=times,
        event_marks=marks,
        event_count=final.num_events,
        time_derivatives=dtaus,
        y1=final.y,
        y1_derivative=dy1,
        result=result,
    )
    return found, failure_of(result, stepper, final)


def event_or_stop(stepper: Stepper, carry: Carry, new: Carry, emitted: Emitted):
    """The time to which an iteration went, and the same in the cell's local time."""
    begin, stop, *_ = stepper.interval(carry)
    local = jnp.where(emitted.mark >= 0, new.offset, stop)
    return begin + local, local


def _jump(problem: Problem, params, direction, t, left, dleft, k, u) -> tuple[Array, State]:
    """The derivative of the event time, and that of the state at fixed time after it."""
    terms, _, _, args = problem(params)

    def event_at(params, t, y):
        _, event, _, args = problem(params)
        values = event.fn(t, y, args)
        return jnp.sum(jnp.where(one_hot(k, values.shape[0]), values, 0))

    def jump_at(params, t, y):
        _, event, _, args = problem(params)
        return event.transition(t, y, args, k, u)

    mu, one = smooth_drift(terms, t, left, args), jnp.ones_like(t)
    moved = lambda fn: jax.jvp(lambda p, y: fn(p, t, y), (params, left), (direction, dleft))
    carried = lambda fn: jax.jvp(lambda t, y: fn(params, t, y), (t, left), (one, mu))[1]
    speed = carried(event_at)
    dtau = -moved(event_at)[1] / jnp.where(speed > 0, speed, 1)
    right, dright = moved(jump_at)
    after = smooth_drift(terms, t, right, args)
    return dtau, jax.tree.map(lambda d, a, b: d - (a - b) * dtau, dright, after, carried(jump_at))
