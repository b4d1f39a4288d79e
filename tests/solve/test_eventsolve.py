"""The general solver on problems that are not networks."""

from typing import Any

import diffrax as dfx
import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
import pytest

import roughsnn as rs
from roughsnn._solve.adjoint import _budgeted

HEUN = rs.EventByEvent(solver=dfx.Heun())
KEY = jax.random.key(0)
NINE: Any = dict(max_events=9, key=KEY)
SOLVERS = {
    "Euler": dfx.Euler(),
    "Heun": dfx.Heun(),
    "Midpoint": dfx.Midpoint(),
    "Ralston": dfx.Ralston(),
    "Bosh3": dfx.Bosh3(),
    "Tsit5": dfx.Tsit5(),
    "Dopri8": dfx.Dopri8(),
    "ReversibleHeun": dfx.ReversibleHeun(),
    "LeapfrogMidpoint": dfx.LeapfrogMidpoint(),
    "Kvaerno3": dfx.Kvaerno3(root_finder=dfx.VeryChord(rtol=1e-10, atol=1e-10)),
}


def ball(bounce=0.8, gravity=1.0):
    """A bouncing ball: state (height, speed), event at height 0."""
    drift = lambda t, y, args: {"x": y["w"], "w": -gravity * jnp.ones(())}
    event = rs.Event(
        fn=lambda t, y, args: -y["x"][None],
        transition=lambda t, y, args, k, u: {"x": jnp.zeros(()), "w": -bounce * y["w"]},
    )
    return dfx.ODETerm(drift), event


BALL = ball()


def drop(
    solver,
    height: Any = 1.0,
    bounce: Any = None,
    *,
    stop_after=None,
    max_events=4,
    throw=True,
    **options: Any,
):
    # The same functions each time: what was compiled before is not compiled again.
    terms, event = BALL if bounce is None else ball(bounce)
    y0 = {"x": jnp.asarray(height), "w": jnp.zeros(())}
    return rs.eventsolve(
        terms,
        rs.Window(0.0, 4.0, 0.01, stop_after=stop_after),
        y0,
        event=event,
        max_events=max_events,
        key=KEY,
        engine=rs.EventByEvent(solver=solver, **options),
        throw=throw,
    )


def bounces(height, bounce, n):
    first = (2 * height) ** 0.5
    return first * (1 + 2 * np.cumsum(np.r_[0, bounce ** np.arange(1, n)]))


@pytest.mark.parametrize("name", SOLVERS)
def test_bouncing_ball(name):
    sol = drop(SOLVERS[name])
    # Each step starts afresh, so the first step of the leapfrog, Euler's, is every step.
    tolerance = 4e-2 if name in ("Euler", "LeapfrogMidpoint") else 1e-4
    np.testing.assert_allclose(sol.event_times[:2], bounces(1.0, 0.8, 2), atol=tolerance)
    assert int(sol.event_count) == 2 and bool(sol.result == rs.RESULTS.successful)
    np.testing.assert_array_equal(sol.event_marks, [0, 0, -1, -1])
    assert np.all(np.isinf(sol.event_times[2:]))


def test_an_exact_solver_gives_the_closed_form_to_rounding():
    sol = drop(dfx.Midpoint(), root_finder=optx.Bisection(rtol=1e-15, atol=1e-15, flip=False))
    exact = drop(dfx.Heun())
    np.testing.assert_allclose(exact.event_times[:2], bounces(1.0, 0.8, 2), rtol=1e-12)
    assert abs(float(sol.event_times[0]) - 2**0.5) < 1e-4


CASES = [(name, rs.CheckpointAdjoint()) for name in ("Euler", "Heun", "Tsit5", "Kvaerno3")]
CASES += [("Heun", rs.CheckpointAdjoint(7)), ("Heun", rs.DirectAdjoint())]
# One level of blocks, and two (`test_a_budget_of_memory`).
ONE_LEVEL, TWO_LEVELS = (rs.CheckpointAdjoint(megabytes=size) for size in (0.1, 0.0045))
CASES += [("Heun", ONE_LEVEL), ("Heun", TWO_LEVELS)]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "adjoint"), CASES)
def test_gradients_agree_with_differences(name, adjoint):
    def outcome(p):
        sol = drop(SOLVERS[name], p[0], p[1], adjoint=adjoint)
        found = jnp.array([*sol.event_times[:2], sol.y1["x"], sol.y1["w"]])
        return found, found

    p, h = np.array([1.03, 0.77]), 1e-6
    slope_and_value = jax.jit(jax.jacfwd(outcome, has_aux=True))
    forward, _ = slope_and_value(p)
    reverse, _ = jax.jit(jax.jacrev(outcome, has_aux=True))(p)
    np.testing.assert_allclose(forward, reverse, rtol=1e-9, atol=1e-9)
    value = lambda p: np.asarray(slope_and_value(p)[1])
    columns = [(value(p + d) - value(p - d)) / (2 * h) for d in np.eye(2) * h]
    np.testing.assert_allclose(forward, np.stack(columns, 1), rtol=2e-6, atol=1e-7)


def test_a_budget_of_memory(monkeypatch):
    """Blocks in blocks where one level is not enough; less than is needed is refused."""
    found = []
    sizes = lambda *args: found.append(_budgeted(*args)) or found[-1]
    monkeypatch.setattr("roughsnn._solve.adjoint._budgeted", sizes)
    for adjoint in (ONE_LEVEL, TWO_LEVELS):
        jax.eval_shape(lambda h, adjoint=adjoint: drop(dfx.Heun(), h, adjoint=adjoint), 1.0)
    assert [len(z) for z in found] == [1, 2]
    with pytest.raises(ValueError, match="one sample needs .* MiB at least"):
        drop(dfx.Heun(), adjoint=rs.CheckpointAdjoint(megabytes=1e-4))
    with pytest.raises(ValueError, match="not both"):
        rs.CheckpointAdjoint(3, megabytes=1.0)
    assert len(_budgeted(1000, 100, 1000, 1.0)) == 1
    least = {}
    for levels, megabytes in ((1, 0.08), (2, 0.012)):
        sizes = _budgeted(1000, 100, 1000, megabytes)
        assert len(sizes) == levels
        numbers = [-(-n // b) for n, b in zip((1000, *sizes), sizes, strict=False)]
        least[levels] = sum(numbers) * 100 + sizes[-1] * 1000
        assert least[levels] <= megabytes * 2**20
    assert least[2] < least[1]


@pytest.mark.slow
def test_second_derivative_of_an_event_time():
    def first_bounce(h):
        return drop(dfx.Heun(), h).event_times[0]

    h = 1.0
    slope = lambda h: jax.jvp(jax.jacrev(first_bounce), (h,), (1.0,))
    first, second = jax.jit(slope)(h)
    np.testing.assert_allclose(first, (2 * h) ** -0.5, rtol=1e-10)
    np.testing.assert_allclose(second, -((2 * h) ** -1.5), rtol=1e-8)


def test_saveat():
    ts = jnp.array([0.0, 0.5, 1.7, 3.0])
    saveat = dfx.SaveAt(t0=True, ts=ts, t1=True)
    sol = drop(dfx.Heun(), saveat=saveat)
    np.testing.assert_allclose(sol.ts, [0, 0, 0.5, 1.7, 3.0, 4.0])
    tau, w = 2**0.5, 0.8 * 2**0.5
    after = lambda t: w * (t - tau) - (t - tau) ** 2 / 2
    expected = [1, 1, 1 - 0.125, after(1.7), after(3.0), float(sol.y1["x"])]
    np.testing.assert_allclose(sol.ys["x"], expected, atol=1e-12)


def test_saveat_takes_left_limits_at_events_and_steps_give_both():
    tau = drop(dfx.Heun()).event_times[0]
    sol = drop(dfx.Heun(), saveat=dfx.SaveAt(ts=tau[None]))
    np.testing.assert_allclose(sol.ys["w"], -(2**0.5), rtol=1e-12)
    steps = drop(dfx.Heun(), saveat=dfx.SaveAt(steps=True))
    # Two programs round alike but for the last digit.
    there = np.flatnonzero(np.abs(np.asarray(steps.ts) - float(tau)) < 1e-14)
    np.testing.assert_allclose(steps.ys["w"][there], [-(2**0.5), 0.8 * 2**0.5], rtol=1e-12)
    finite = np.asarray(steps.ts)[np.isfinite(steps.ts)]
    assert np.all(np.diff(finite) >= 0) and len(finite) == 2 * (400 + 2)


@pytest.mark.slow
def test_saveat_fn_and_its_gradient():
    def height(h):
        saveat = dfx.SaveAt(ts=[2.0], fn=lambda t, y, args: t * y["x"])
        found = drop(dfx.Heun(), h, saveat=saveat).ys[0]
        return found, found

    h, e = 1.0, 1e-6
    slope_and_value = jax.jit(jax.jacfwd(height, has_aux=True))
    difference = (slope_and_value(h + e)[1] - slope_and_value(h - e)[1]) / (2 * e)
    reverse, _ = jax.jit(jax.grad(height, has_aux=True))(h)
    np.testing.assert_allclose(reverse, difference, rtol=1e-6)
    np.testing.assert_allclose(slope_and_value(h)[0], difference, rtol=1e-6)


def test_stop_after_ends_without_an_error():
    sol = drop(dfx.Heun(), stop_after=1, saveat=dfx.SaveAt(ts=[1.0, 3.0]))
    assert int(sol.event_count) == 1 and bool(sol.result == rs.RESULTS.successful)
    assert np.isfinite(sol.ys["x"][0]) and np.isnan(sol.ys["x"][1])
    np.testing.assert_allclose(sol.y1["w"], 0.8 * 2**0.5)


def test_simultaneous_events_take_the_lowest_first_and_both_fire():
    event = rs.Event(
        fn=lambda t, y, args: y - 1,
        transition=lambda t, y, args, k, u: jnp.where(
            jnp.arange(3, dtype=jnp.int32) == k, y - 1, y
        ),
    )
    term = dfx.ODETerm(lambda t, y, args: jnp.array([1.0, 2.0, 2.0]))
    sol = rs.eventsolve(
        term,
        rs.Window(0.0, 0.9, 0.3),
        jnp.zeros(3),
        event=event,
        **NINE,
        engine=rs.EventByEvent(solver=dfx.Euler()),
    )
    np.testing.assert_allclose(sol.event_times[:2], [0.5, 0.5])
    np.testing.assert_array_equal(sol.event_marks[:2], [1, 2])
    assert int(sol.event_count) == 2


def test_the_first_in_time_fires_when_several_cross_in_one_step():
    event = rs.Event(
        fn=lambda t, y, args: y - 1,
        transition=lambda t, y, args, k, u: jnp.where(
            jnp.arange(3, dtype=jnp.int32) == k, y - 2, y
        ),
    )
    term = dfx.ODETerm(lambda t, y, args: jnp.array([1.1, 3.0, 2.0]))
    sol = rs.eventsolve(
        term,
        rs.Window(0.0, 1.0, 1.0),
        jnp.zeros(3),
        event=event,
        **NINE,
        engine=rs.EventByEvent(solver=dfx.Euler()),
    )
    np.testing.assert_array_equal(sol.event_marks[:4], [1, 2, 0, 1])
    np.testing.assert_allclose(sol.event_times[:4], [1 / 3, 1 / 2, 1 / 1.1, 1.0])


@pytest.mark.slow
def test_declared_jumps_keep_the_order():
    """dy = 1{t >= 0.333} dt fires where y = 0.2: at 0.533, for any dt0."""
    event = rs.Event(
        fn=lambda t, y, args: y[None] - 0.2, transition=lambda t, y, args, k, u: y - 1.0
    )
    on = 0.333
    term = dfx.ODETerm(lambda t, y, args: jnp.where(t >= on, 1.0, 0.0))
    for dt0 in (0.1, 0.03, 0.007):
        sol = rs.eventsolve(
            term,
            rs.Window(0.0, 1.0, dt0),
            jnp.zeros(()),
            engine=rs.EventByEvent(solver=dfx.Heun()),
            event=event,
            max_events=2,
            key=KEY,
            jump_ts=jnp.array([on, 0.9]),
        )
        np.testing.assert_allclose(sol.event_times[0], 0.533, rtol=1e-12)


class TestFailures:
    def test_overflow_names_a_number_that_is_enough_at_the_rate_so_far(self):
        with pytest.raises(Exception, match="Got 1; at the rate so far 2 would be enough"):
            drop(dfx.Heun(), max_events=1)

    def test_overflow_under_jit_and_vmap(self):
        run = jax.jit(jax.vmap(lambda h: drop(dfx.Heun(), h, max_events=1).event_count))
        with pytest.raises(Exception, match="Got 1; at the rate so far 2 would be enough"):
            jax.block_until_ready(run(jnp.array([9.0, 0.5])))

    def test_overflow_without_throwing(self):
        sol = drop(dfx.Heun(), max_events=1, throw=False)
        assert bool(sol.result == rs.RESULTS.max_events_reached)
        assert int(sol.event_count) == 1

    def test_exactly_enough_room_is_enough(self):
        assert int(drop(dfx.Heun(), max_events=2).event_count) == 2

    @pytest.mark.parametrize("ties", ["first", "all"])
    def test_grazing(self, ties):
        jump = lambda t, y, args, k, u: y - 1.0
        event = rs.Event(lambda t, y, args: y[None], jump, ties=ties)
        # y = -(t - 1/2)^2 touches zero at the end of the fifth cell.
        term = dfx.ODETerm(lambda t, y, args: -2 * (t - 0.5))
        start: Any = (rs.Window(0.0, 1.0, 0.125), jnp.asarray(-0.25))
        rest: Any = dict(engine=HEUN, event=event, max_events=2, key=KEY)
        solve = lambda throw: rs.eventsolve(term, *start, throw=throw, **rest)
        assert bool(solve(False).result == rs.RESULTS.event_grazed)
        with pytest.raises(Exception, match="without crossing it"):
            solve(True)

    def test_retriggering(self):
        event = rs.Event(lambda t, y, args: y[None] - 1, lambda t, y, args, k, u: y, "waive")
        term = dfx.ODETerm(lambda t, y, args: jnp.ones(()))
        sol = rs.eventsolve(
            term,
            rs.Window(0.0, 2.0, 0.1),
            jnp.zeros(()),
            engine=rs.EventByEvent(solver=dfx.Heun()),
            event=event,
            max_events=5,
            key=KEY,
            throw=False,
        )
        assert bool(sol.result == rs.RESULTS.event_retriggered) and int(sol.event_count) == 1

    def test_nonfinite_state(self):
        event = rs.Event(
            fn=lambda t, y, args: -1 - 0 * y[None], transition=lambda t, y, args, k, u: y
        )
        term = dfx.ODETerm(lambda t, y, args: y**2)
        start: Any = (rs.Window(0.0, 50.0, 0.5), jnp.ones(()))
        rest: Any = dict(engine=HEUN, event=event, max_events=1, key=KEY)
        solve = lambda throw: rs.eventsolve(term, *start, throw=throw, **rest)
        assert bool(solve(False).result == rs.RESULTS.nonfinite_state)
        with pytest.raises(Exception, match="inf or nan"):
            solve(True)


@pytest.mark.slow
def test_steps_finer_than_the_path(key):
    """With the path held fixed, finer steps solve the same smooth problem."""
    path = rs.BrownianPath(0.0, 1.0, 0.1, shape=(), key=key, interpolation="linear")
    terms = dfx.MultiTerm(
        dfx.ODETerm(lambda t, y, args: -y),
        dfx.ControlTerm(lambda t, y, args: jnp.ones(()), path),
    )
    event = rs.Event(lambda t, y, a: y[None] - 9, lambda t, y, a, k, u: y - 1.0, "waive")

    def end(dt0):
        return rs.eventsolve(
            terms,
            rs.Window(0.0, 1.0, dt0),
            jnp.zeros(()),
            engine=rs.EventByEvent(solver=dfx.Tsit5()),
            event=event,
            max_events=1,
            key=key,
        ).y1

    decay = jnp.exp(-0.1)
    exact = sum((1 - decay) / 0.1 * dw * decay ** (9 - i) for i, dw in enumerate(path.increments))
    np.testing.assert_allclose(end(0.1), exact, atol=1e-9)
    np.testing.assert_allclose(end(0.0125), exact, atol=1e-13)
