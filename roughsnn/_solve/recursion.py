"""The forward recursion of Theorem 3.2: derivatives of event times as they happen."""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PyTree

from .._check import check_function
from .._conditions.fields import smooth_drift
from .._event.event import Event
from .._misc import as_numbers, described, entry, one_hot, where_tree
from .._random import RandomKey, check_key
from .._results import RESULTS, Failure
from .._types import Args, Numeric, Scalar, State
from .._window import Clock, Window, as_window, check_capacity
from .engine import EventByEvent, by_cells
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
    window, engine = as_window(window), by_cells(engine, "online_gradient")
    max_events = check_capacity("max_events", max_events, window)
    check_function("problem", problem, "problem(params)")
    check_jump_ts(jump_ts)
    check_direction(params, direction)

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


def check_direction(params: PyTree, direction: PyTree) -> None:
    """A clear error unless both are floating arrays of one structure and the same shapes."""
    if jax.tree.structure(params) != jax.tree.structure(direction):
        raise ValueError(
            "`direction` must have the structure of `params`: got "
            f"{jax.tree.structure(direction)} and {jax.tree.structure(params)}."
        )
    for name, tree in (("params", params), ("direction", direction)):
        for leaf in jax.tree.leaves(tree):
            if not jnp.issubdtype(as_numbers(name, leaf).dtype, jnp.floating):
                raise ValueError(f"`{name}` must hold floating arrays, got {described(leaf)}.")
    sizes = [jax.tree.map(jnp.shape, tree) for tree in (params, direction)]
    if sizes[0] != sizes[1]:
        raise ValueError(f"`direction` must have the shapes of `params`, got {sizes[::-1]}.")


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

    def stepper_at(params):
        terms, event, _, args = problem(params)
        return dataclasses.replace(stepper, terms=terms, event=event, args=args)

    dy0 = jax.jvp(lambda p: problem(p)[2], (params,), (direction,))[1]
    final, dy1, emitted = carried_forward(stepper_at, params, direction, start, dy0, length)
    times, marks, dtaus = emitted
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


def carried_forward(
    stepper_at: Callable[[PyTree], Stepper],
    params: PyTree,
    direction: PyTree,
    start: Carry,
    dy0: State,
    length: int,
) -> tuple[Carry, State, tuple[Array, Array, Array]]:
    """Theorem 3.2 along a path: its end, the derivative of the state there, and the times, the
    marks and the derivatives of the times that the iterations emitted."""
    stepper = stepper_at(params)

    def body(carry, _):
        carry, dy = carry
        new, emitted = stepper(carry)
        here = happening(stepper, carry, new, emitted)
        left_at = lambda params, y: stepper_at(params).flow(carry, y, here.local)
        left, dleft = jax.jvp(left_at, (params, carry.y), (direction, dy))
        dtau, dright = _jump(stepper_at, params, direction, here, left, dleft)
        dy = where_tree(here.event, dright, dleft)
        return (new, dy), (emitted.time, emitted.mark, jnp.where(emitted.mark >= 0, dtau, 0))

    (final, dy1), emitted = jax.lax.scan(body, (start, dy0), length=length)
    return final, dy1, emitted


class Happening(NamedTuple):
    """What an iteration came to: whether an event of coordinate k, with the random number u and the
    event function rising with `speed`; and when that is, also in the cell."""

    event: Bool[Array, ""]
    k: Int[Array, ""]
    u: Scalar
    t: Scalar
    local: Scalar
    speed: Scalar


def happening(stepper: Stepper, carry: Carry, new: Carry, emitted: Emitted) -> Happening:
    """What the iteration from `carry` to `new` came to."""
    begin, stop, _, dense, *_ = stepper.interval(carry)
    # An event that nobody is told of is one, too.
    event = jnp.isfinite(emitted.time) & (new.last >= 0)
    k = jnp.maximum(new.last, 0)
    local = jnp.where(event, new.offset, stop)
    own = jnp.where(k < new.counts.shape[0], k, 0)
    # That of the step: the drift there may differ, where the noise is not resolved.
    along = lambda r: stepper.event.fn(begin + r, dense.evaluate(r), stepper.args)
    speed = entry(jax.jvp(along, (local,), (jnp.ones_like(local),))[1], k)
    return Happening(
        event=event,
        k=k,
        u=stepper.labels.of(own, entry(new.counts, own), local.dtype),
        t=begin + local,
        local=local,
        speed=jnp.where(event & (speed > 0), speed, 1),
    )


def _jump(
    stepper_at, params, direction, here: Happening, left: State, dleft: State
) -> tuple[Array, State]:
    """The derivative of the event time, and that of the state at fixed time after it."""
    stepper, t = stepper_at(params), here.t
    terms, args = stepper.terms, stepper.args

    def event_at(params, y):
        stepper = stepper_at(params)
        values = stepper.event.fn(t, y, stepper.args)
        return jnp.sum(jnp.where(one_hot(here.k, values.shape[0]), values, 0))

    def jump_at(params, t, y):
        stepper = stepper_at(params)
        return stepper.event.transition(t, y, stepper.args, here.k, here.u)

    mu = smooth_drift(terms, t, left, args)
    moved = lambda fn: jax.jvp(fn, (params, left), (direction, dleft))
    dtau = -moved(event_at)[1] / here.speed
    right, dright = moved(lambda p, y: jump_at(p, t, y))
    carried = jax.jvp(lambda t, y: jump_at(params, t, y), (t, left), (jnp.ones_like(t), mu))[1]
    after = smooth_drift(terms, t, right, args)
    return dtau, jax.tree.map(lambda d, a, b: d - (a - b) * dtau, dright, after, carried)
