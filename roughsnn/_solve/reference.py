"""An independent engine: `diffrax.diffeqsolve`, restarted after every event."""

from typing import Any

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import optimistix as optx
from jaxtyping import Array, PyTree

from .._check import check_kind
from .._conditions.fields import smooth_drift
from .._event.event import Event
from .._misc import entry, one_hot, where_tree
from .._random import RandomKey, check_key
from .._results import RESULTS
from .._types import Args, State
from .._window import Clock, Window, as_window, check_capacity
from .engine import EventByEvent
from .jumps import jump_terms
from .setup import Equation, check_problem
from .solution import Solution


def reference_solve(
    terms: PyTree[dfx.AbstractTerm],
    window: Window,
    y0: State,
    args: Args = None,
    *,
    event: Event,
    max_events: int,
    key: RandomKey,
    solver: dfx.AbstractSolver,
    root_finder: optx.AbstractRootFinder | None = None,
    **options: Any,
) -> Solution:
    r"""The problem of [`roughsnn.eventsolve`][] on diffrax's own event machinery: slow, and an
    oracle for the fast engine.

    Each stretch between events is one `diffrax.diffeqsolve` that a `diffrax.Event` ends. The
    event time is then held constant, and its derivative put in by Theorem 3.2 of Holberg &
    Salvi (2024): $\partial\tau = -\partial E_k/\dot E_k$, and the next stretch starts at the
    held time from the state whose derivative is

    $$\partial Y_\tau = \nabla\mathcal T_k\,\partial Y_{\tau-} + \partial_\theta\mathcal T_k
    - (\mu(Y_\tau) - \nabla\mathcal T_k\,\mu(Y_{\tau-}) - \partial_t\mathcal T_k)\,
    \partial\tau .$$

    So no driver is ever asked for its value at a differentiated time. Only the drift enters:
    with noise the conditions of [`roughsnn.check_event`][] must hold.

    The same randomness as `eventsolve` with the same key. Steps restart at each event, so with
    noise the two engines agree as `dt0` becomes small against the cells of the path. First
    derivatives only.

    **Arguments:** as [`roughsnn.eventsolve`][], and

    - `solver`: a diffrax solver.
    - `root_finder`: by default `optimistix.Newton` to nearly machine precision.
    - `options`: of `diffrax.diffeqsolve`: `stepsize_controller` for problems without noise, by
        default `diffrax.ConstantStepSize()`, the only right one with noise; `adjoint`, e.g.
        `diffrax.ForwardMode()` for `jax.jvp`; `max_steps` between two events.

    **Returns:** a [`roughsnn.Solution`][] with `y1` and no saved states. `result` says
    `max_events_reached`, `step_failed` or `nonfinite_state`; nothing raises.

    !!! warning

        An event function that is 0 just after its own jump (a bouncing ball) is taken by
        diffrax for an event at once (diffrax#492).
    """
    window = as_window(window)
    max_events = check_capacity("max_events", max_events, window)
    if window.stop_after is not None:
        raise ValueError("`reference_solve` does not take a window with `stop_after`.")
    check_kind("solver", solver, dfx.AbstractSolver, "a diffrax solver")
    if root_finder is not None:
        wanted = "an optimistix root finder"
        check_kind("root_finder", root_finder, optx.AbstractRootFinder, wanted)
    engine = EventByEvent()
    y0 = check_problem(terms, window, y0, args, event=event, engine=engine, jump_ts=None)
    check_key(key)
    if jump_terms(terms):
        raise ValueError(
            "`reference_solve` does not take drivers that jump: diffrax would smear a jump over "
            "the step that it is in. Use roughsnn.eventsolve."
        )
    y0 = jax.tree.map(jnp.asarray, y0)
    equation = Equation(terms, event, y0, args, key, None, Clock.of(window))
    parts = solver, root_finder, options
    return _reference(equation, parts, window=window, max_events=max_events)


@eqx.filter_jit
def _reference(equation: Equation, parts, *, window: Window, max_events: int) -> Solution:
    """What [`roughsnn.reference_solve`][] returns, compiled once for functions and shapes."""
    terms, event, y0, args = equation.terms, equation.event, equation.y0, equation.args
    solver, root_finder, options = parts
    t0, t1, dt0 = window.t0, window.t1, window.dt0
    dtype = jnp.result_type(*jax.tree.leaves(y0))
    tolerance = 16 * float(jnp.finfo(dtype).eps)
    root_finder = optx.Newton(tolerance, tolerance) if root_finder is None else root_finder
    options = {"saveat": dfx.SaveAt(t1=True), "throw": False, **options}
    coordinates = eqx.filter_eval_shape(event.fn, jnp.asarray(t0, dtype), y0, args).shape[0]
    labels = equation.random
    ends = dfx.Event(
        lambda t, y, args, **kwargs: jnp.max(event.fn(t, y, args)), root_finder, direction=True
    )

    def stretch(carry, _):
        t, y, counts, failed = carry
        found = dfx.diffeqsolve(terms, solver, t, t1, dt0, y, args, event=ends, **options)
        assert found.ts is not None and found.event_mask is not None
        tau = jax.lax.stop_gradient(found.ts[-1])
        hit = jnp.asarray(found.event_mask) & (t < t1)
        again = dfx.diffeqsolve(terms, solver, t, tau, dt0, y, args, **options)
        left = jax.tree.map(lambda x: x[-1], again.ys)
        k = jnp.argmax(event.fn(tau, left, args)).astype(jnp.int32)
        number = entry(counts, k) + 1
        u = labels.of(k, number, dtype)
        shift = jnp.where(hit, _shift(terms, event, tau, left, args, k, coordinates), 0)
        right = _jump(terms, event, tau, left, args, k, u, shift)
        y = where_tree(hit, right, left)
        counts = jnp.where(one_hot(k, coordinates) & hit, number, counts)
        ok = _fine(found) & _fine(again)
        out = jnp.where(hit, tau + shift, jnp.inf), jnp.where(hit, k, -1)
        return (jnp.where(hit, tau, t1), y, counts, failed | ~ok), out

    start = (jnp.asarray(t0, dtype), y0, jnp.zeros(coordinates, jnp.int32), jnp.array(False))
    (_, y1, counts, failed), (times, marks) = jax.lax.scan(stretch, start, length=max_events + 1)
    overflow = marks[-1] >= 0
    finite = jnp.all(jnp.stack([jnp.all(jnp.isfinite(x)) for x in jax.tree.leaves(y1)]))
    result = RESULTS.where(finite, RESULTS.successful, RESULTS.nonfinite_state)
    result = RESULTS.where(failed, RESULTS.step_failed, result)
    result = RESULTS.where(overflow, RESULTS.max_events_reached, result)
    return Solution(
        event_times=times[:-1],
        event_marks=marks[:-1],
        event_count=jnp.minimum(jnp.sum(counts, dtype=jnp.int32), max_events),
        ts=None,
        ys=None,
        y1=y1,
        result=result,
        conditions="unchecked",
        window=window,
        num_coordinates=coordinates,
    )


def _fine(solution: dfx.Solution) -> Array:
    result = solution.result
    return (result == dfx.RESULTS.successful) | (result == dfx.RESULTS.event_occurred)


def _shift(terms, event: Event, tau, left: State, args, k, coordinates: int) -> Array:
    """Zero, with the derivative of the event time."""

    def along(t, y):
        return jnp.sum(jnp.where(one_hot(k, coordinates), event.fn(t, y, args), 0))

    drift = smooth_drift(terms, tau, left, args)
    value = along(tau, left)
    speed = jax.lax.stop_gradient(jax.jvp(along, (tau, left), (jnp.ones_like(tau), drift))[1])
    safe = jnp.where(speed > 0, speed, 1)
    return -(value - jax.lax.stop_gradient(value)) / safe


def _jump(terms, event: Event, tau, left: State, args, k, u, shift) -> State:
    """The state after the jump, with its derivative at the held time."""
    move = lambda y, f, x: jax.tree.map(lambda a, b: a + b * x, y, f)
    there = move(left, smooth_drift(terms, tau, left, args), shift)
    right = event.transition(tau + shift, there, args, k, u)
    return move(right, smooth_drift(terms, tau, right, args), -shift)
