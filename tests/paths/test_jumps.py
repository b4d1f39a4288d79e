"""Drivers that jump: Marcus solutions, Poisson laws."""

import functools
from typing import Any

import diffrax as dfx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from scipy.linalg import expm

import roughsnn as rs

NEVER = rs.Event(lambda t, y, args: jnp.array([-1.0]) + 0 * t, lambda t, y, args, k, u: y, "waive")
LAWS: dict[str, Any] = {
    "normal": lambda key: 0.4 * jr.normal(key),
    "exponential": lambda key: 0.5 * jr.exponential(key),
    "fixed": lambda key: jnp.asarray(-0.3),
}


def solve(terms, y0, solver: Any = None, dt=0.05, jump_ts: Any = None, **options: Any):
    solver = dfx.Tsit5() if solver is None else solver
    return rs.eventsolve(
        terms,
        rs.Window(0.0, 1.0, dt),
        y0,
        event=NEVER,
        max_events=1,
        key=jr.key(0),
        engine=rs.EventByEvent(solver=solver, **options),
        jump_ts=jump_ts,
    )


@functools.partial(jax.jit, static_argnames=("law", "t1", "room"))
def poisson(key, law="normal", intensity: Any = 8.0, t1=1.0, room=40):
    return rs.compound_poisson_path(
        0.0, t1, intensity=intensity, jump=LAWS[law], max_jumps=room, key=key
    )


@jax.jit
def geometric(path):
    """The logarithm of dY = Y o dX at the end by two solvers, and X there."""
    term = dfx.ControlTerm(lambda t, y, args: y, path)
    ends = [
        jnp.log(solve(term, jnp.asarray(2.0), solver).y1 / 2)
        for solver in (dfx.Tsit5(), dfx.Heun())
    ]
    return *ends, path.evaluate(1.0)


@pytest.mark.parametrize("law", LAWS)
def test_geometric_process(law):
    """dY = Y o dX has Y = Y_0 exp X, where an Ito solution would be a product of 1 + jumps."""
    path = poisson(jr.key(3), law)
    assert np.sum(np.isfinite(path.jump_times)) > 3
    end, rough, expected = jax.device_get(geometric(path))
    np.testing.assert_allclose(end, expected, atol=1e-7)
    assert 1e-7 < abs(rough - expected) < 2e-2


def test_change_of_variables():
    """Y = tan X: the flow of 1 + y^2, with a Brownian driver beside the jumps."""
    jumps = rs.JumpPath([0.2, 0.55, 0.8], [0.3, -0.5, 0.4], t0=0.0, t1=1.0)
    field = lambda t, y, args: 1 + y**2

    @functools.partial(jax.jit, static_argnums=0)
    def error(dt):
        noise = rs.BrownianPath(0.0, 1.0, dt, shape=(), key=jr.key(1))
        noise = rs.GridPath(0.3 * noise.increments, t0=0.0, t1=1.0, dt=dt)
        terms = dfx.MultiTerm(dfx.ControlTerm(field, noise), dfx.ControlTerm(field, jumps))
        total = noise.evaluate(1.0) + jumps.evaluate(1.0)
        return jnp.abs(jnp.arctan(solve(terms, jnp.asarray(0.0), dt=dt).y1) - total)

    assert max(error(0.1), error(0.025)) < 1e-5


def test_jumps_at_one_time_are_applied_together():
    """With fields that do not commute: the exponential of the sum, not a product."""
    a, b = np.array([[0.0, 1.0], [0.0, 0.0]]), np.array([[0.0, 0.0], [0.7, 0.2]])
    make = lambda m: dfx.ControlTerm(
        lambda t, y, args: jnp.asarray(m) @ y, rs.JumpPath([0.33], [1.0], t0=0.0, t1=1.0)
    )
    y0 = np.array([1.0, -2.0])

    @jax.jit
    def ends(y0):
        twice = rs.JumpPath([0.33, 0.33], [0.4, 0.6], t0=0.0, t1=1.0)
        term = dfx.ControlTerm(lambda t, y, args: jnp.asarray(a + b) @ y, twice)
        return solve(dfx.MultiTerm(make(a), make(b)), y0).y1, solve(term, y0).y1

    found, of_twice = ends(y0)
    np.testing.assert_allclose(found, expm(a + b) @ y0, rtol=1e-8)
    assert np.max(np.abs(found - expm(b) @ expm(a) @ y0)) > 1e-2
    np.testing.assert_allclose(of_twice, expm(a + b) @ y0, rtol=1e-8)


SIZES = np.array([[1.0, 0.0], [0.5, -1.0], [0.0, 2.0]])


@jax.jit
def additive(times):
    """All that a solve of dY = dX saves, its end, and both limits of X at the first jump."""
    path = rs.JumpPath(times, SIZES, t0=0.0, t1=1.0)
    term = dfx.ControlTerm(lambda t, y, args: jnp.eye(2), path)
    sol = solve(term, jnp.zeros(2), saveat=dfx.SaveAt(t1=True, steps=True))
    return sol.ts, sol.ys, sol.y1, *(path.evaluate(times[0], left=side) for side in (True, False))


@pytest.mark.parametrize("times", [[0.1, 0.2, 1.0], [1e-9, 0.05, 0.999], [0.3, 0.3, 0.30001]])
def test_additive_jumps_are_exact_wherever_they_are(times):
    """At borders of cells, together, at the end; the limits on both sides are saved."""
    ts, ys, end, left, right = jax.device_get(additive(np.array(times)))
    np.testing.assert_allclose(end, SIZES.sum(0))
    there = np.isfinite(ts)
    ts, ys = ts[there], ys[there]
    for t in times:
        both = ys[np.abs(ts - t) < 1e-12]
        jump = SIZES[np.array(times) == t].sum(0)
        np.testing.assert_allclose(both.max(0) - both.min(0), np.abs(jump), atol=1e-12)
    np.testing.assert_allclose(right - left, SIZES[np.array(times) == times[0]].sum(0))


def test_drivers_that_take_turns():
    """Each jump is that of its own driver, and the solver stops at the others' too."""
    make = lambda times, sizes: dfx.ControlTerm(
        lambda t, y, args: jnp.ones(()), rs.JumpPath(times, sizes, t0=0.0, t1=1.0)
    )
    terms = dfx.MultiTerm(
        dfx.ODETerm(lambda t, y, args: -2 * y),
        make([0.1, 0.5, 0.8, np.inf], [1.0, 2.0, 3.0, 50.0]),
        make([0.2, 0.5, 0.6], [-0.5, 4.0, 0.25]),
    )
    found = jax.jit(lambda: solve(terms, jnp.asarray(0.0), jump_ts=[0.15, 0.7]).y1)()
    times = np.array([0.1, 0.5, 0.8, 0.2, 0.5, 0.6])
    sizes = np.array([1.0, 2.0, 3.0, -0.5, 4.0, 0.25])
    np.testing.assert_allclose(found, np.sum(sizes * np.exp(-2 * (1 - times))), rtol=1e-8)


def test_shot_noise_has_its_mean_and_variance():
    """Campbell: dV = -a V dt + dX has mean r E[z] (1 - e^{-aT}) / a and variance
    r E[z^2] (1 - e^{-2aT}) / (2a)."""
    a, rate, samples = 3.0, 8.0, 4000

    @jax.vmap
    def run(key):
        path = poisson(key, "exponential", rate)
        terms = dfx.MultiTerm(
            dfx.ODETerm(lambda t, y, args: -a * y),
            dfx.ControlTerm(lambda t, y, args: jnp.ones(()), path),
        )
        return solve(terms, jnp.asarray(0.0)).y1

    v = np.asarray(jax.jit(lambda: run(jr.split(jr.key(0), samples)))())
    mean = rate * 0.5 * (1 - np.exp(-a)) / a
    variance = rate * 0.5 * (1 - np.exp(-2 * a)) / (2 * a)
    assert abs(v.mean() - mean) < 4 * (variance / samples) ** 0.5
    assert abs(v.var() - variance) < 4 * ((v - v.mean()) ** 2).std() / samples**0.5


def test_poisson_laws():
    samples, rates = 4000, np.array([3.0, 0.0, 20.0])

    @jax.vmap
    def run(key):
        train = rs.poisson_spikes(0.5, 2.5, rates=rates, max_spikes=90, key=key)
        return train.overflow, train.times, train.counts()

    overflow, times, counts = jax.device_get(jax.jit(lambda: run(jr.split(jr.key(0), samples)))())
    assert not np.any(overflow)
    counts = counts.astype(float)
    mean = 2 * rates
    assert np.all(np.abs(counts.mean(0) - mean) <= 4 * (mean / samples) ** 0.5)
    error = ((2 * mean**2 + mean) / samples) ** 0.5
    assert np.all(np.abs(counts.var(0) - mean) <= 4 * error)
    assert abs(np.corrcoef(counts[:, 0], counts[:, 2])[0, 1]) < 4 / samples**0.5
    known = times[np.isfinite(times)]
    assert known.min() >= 0.5 and known.max() <= 2.5
    assert abs(known.mean() - 1.5) < 4 * (4 / 12 / len(known)) ** 0.5
    assert np.all(times[:, 1:] >= times[:, :-1])


@pytest.mark.slow
def test_times_and_sizes_move_with_the_parameters():
    def end(intensity, scale):
        path = rs.compound_poisson_path(
            0.0,
            1.0,
            intensity=intensity,
            jump=lambda k: scale * jr.normal(k),
            max_jumps=30,
            key=jr.key(2),
        )
        terms = dfx.MultiTerm(
            dfx.ODETerm(lambda t, y, args: -2 * y),
            dfx.ControlTerm(lambda t, y, args: 1 + y**2 / 9, path),
        )
        return solve(terms, jnp.asarray(0.3), dt=0.1).y1

    h, at = 1e-5, np.array([6.0, 0.5])

    @jax.jit
    def differentiated(points):
        along = lambda p: end(p[0], p[1])
        return jax.grad(along)(jnp.asarray(at)), jax.lax.map(along, points)

    e = h * np.eye(2)
    gradient, values = jax.device_get(differentiated(np.concatenate([at + e, at - e])))
    np.testing.assert_allclose(gradient, (values[:2] - values[2:]) / (2 * h), rtol=1e-6)
    assert np.all(np.abs(gradient) > 1e-3)


@pytest.mark.slow
def test_a_driver_that_jumps_at_an_event_is_reported():
    functions = lambda t, y, args: y - 1.0, lambda t, y, args, k, u: y - 2.0
    path = rs.JumpPath([0.4], [[2.0]], t0=0.0, t1=1.0)
    terms = dfx.ControlTerm(lambda t, y, args: jnp.eye(1), path)

    def run(conditions: Any = "check", throw=True):
        return rs.eventsolve(
            terms,
            rs.Window(0.0, 1.0, 0.1),
            jnp.zeros(1),
            event=rs.Event(*functions, conditions),
            max_events=3,
            key=jr.key(0),
            throw=throw,
            engine=rs.EventByEvent(solver=dfx.Heun()),
        ).result

    with pytest.raises(ValueError, match="C1"):
        run()
    assert jax.jit(lambda: run(conditions="waive", throw=False))() == rs.RESULTS.driver_jumped
    with pytest.raises(RuntimeError, match="A jump of a driver"):
        jax.block_until_ready(jax.jit(lambda: run(conditions="waive"))())


def test_too_many_jumps():
    with pytest.raises(RuntimeError, match="more than `max_jumps` = 2"):
        jax.block_until_ready(poisson(jr.key(0), intensity=50.0, room=2).jump_times)
    train = jax.jit(
        lambda: rs.poisson_spikes(0.0, 1.0, rates=np.array([50.0]), max_spikes=2, key=jr.key(0))
    )()
    assert bool(train.overflow) and int(train.count) == 2


times_of_a_path = jax.jit(lambda t: rs.JumpPath(t, np.ones(2), t0=0.0, t1=1.0).jump_times)


@pytest.mark.parametrize(
    "times", [[-0.1, 0.5], [0.5, 1.1], [0.5, 0.4], [np.nan, 0.5], [np.inf, 0.5]]
)
def test_bad_times(times):
    with pytest.raises(ValueError, match="`jump_times` must be in increasing order and in"):
        rs.JumpPath(times, np.ones(2), t0=0.0, t1=1.0)
    with pytest.raises(RuntimeError, match="`jump_times` must be in increasing order"):
        jax.block_until_ready(times_of_a_path(np.array(times)))


@pytest.mark.parametrize("intensity", [0.0, -1.0, np.inf, np.nan])
def test_bad_intensity(intensity):
    with pytest.raises(ValueError, match="`intensity` must"):
        rs.compound_poisson_path(
            0.0, 1.0, intensity=intensity, jump=jr.normal, max_jumps=40, key=jr.key(0)
        )


def test_bad_input():
    with pytest.raises(ValueError, match="`sizes` "):
        rs.JumpPath([0.1, 0.2], np.ones(3), t0=0.0, t1=1.0)
    with pytest.raises(ValueError, match="`rates` must be of shape"):
        rs.poisson_spikes(0.0, 1.0, rates=3.0, max_spikes=3, key=jr.key(0))
    term = dfx.ControlTerm(lambda t, y, args: y, rs.StepPath([0.5], [[1.0], [2.0]]))
    with pytest.raises(ValueError, match=r"Use a roughsnn\.JumpPath"):
        solve(term, jnp.asarray(1.0))
    term = dfx.ControlTerm(lambda t, y, args: y, rs.JumpPath([0.5], [1.0], t0=0.0, t1=1.0))
    options: Any = dict(event=NEVER, max_events=1, key=jr.key(0))
    with pytest.raises(ValueError, match="smear a jump"):
        rs.reference_solve(
            term, rs.Window(0.0, 1.0, 0.1), jnp.asarray(1.0), solver=dfx.Heun(), **options
        )
    with pytest.raises(ValueError, match="does not take drivers that jump"):
        rs.online_gradient(
            lambda p: (term, NEVER, p, None),
            jnp.asarray(1.0),
            jnp.asarray(1.0),
            rs.Window(0.0, 1.0, 0.1),
            max_events=1,
            key=jr.key(0),
            engine=rs.EventByEvent(solver=dfx.Heun()),
        )
