"""Noise that depends on the potential and vanishes at the reset."""

from typing import Any

import diffrax as dfx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import roughsnn as rs

from ..equations import equation_of
from ..helpers import ENGINES, constant, smooth, standard_error

PARAMETERS = {
    "tau": np.array([1 / 5, 1 / 3]),
    "sigma": np.array([[0.5, 0.2], [0.0, 0.3]]),
    "reset_to": np.array(0.1),
    "weights": np.array([[0.0, 0.6], [-0.4, 0.0]]),
    "input": np.array([1.4, 1.2]),
}


def network(p):
    firing = rs.StochasticFiring(rs.ExponentialIntensity(5.0, 1.0, 0.3), 0.03)
    neuron = rs.neurons.MultiplicativeLIF(p["tau"][0], p["sigma"][0], p["reset_to"])
    ports = {"syn": rs.synapses.Exponential(p["tau"][1], p["sigma"][1])}
    return rs.SpikingNetwork(rs.Population(2, neuron, firing, ports), weights=p["weights"])


def outcome(p, key, dt0=0.01, t1=0.8, interpolation: Any = "linear"):
    """Spike times, 0 where padded, and the state at the end."""
    sim = rs.simulate(
        network(p),
        lambda t: p["input"],
        rs.Window(0.0, t1, dt0),
        max_spikes=30,
        key=key,
        noise=rs.Brownian(interpolation),
        engine=rs.EventByEvent(saveat=dfx.SaveAt(t1=True)),
    )
    train, sol = sim.spikes, sim.states
    return jnp.where(train.marks >= 0, train.times, 0), sol.y1["v"], sol.y1["syn"]


def quiet(solver, noise, dt0, key, drive=0.0):
    """The potential at time 1 of a neuron that does not fire, from 1 on."""
    never = rs.StochasticFiring(rs.ExponentialIntensity(1.0, 100.0, 1.0))
    neuron = rs.neurons.MultiplicativeLIF(0.5, 0.8)
    sol = rs.simulate(
        rs.SpikingNetwork(rs.Population(1, neuron, never)),
        constant(drive),
        rs.Window(0.0, 1.0, dt0),
        max_spikes=1,
        key=key,
        initial={"v": jnp.ones(1)},
        noise=noise,
        engine=rs.EventByEvent(saveat=dfx.SaveAt(t1=True), solver=solver),
    ).states
    return sol.y1["v"][0]


def test_without_spikes_it_is_geometric_brownian_motion():
    """dv = -v dt / tau + sigma v o dB: v = exp(-t / tau + sigma B), Stratonovich."""

    @jax.jit
    def run(key):
        draw = lambda kind: rs.BrownianPath(
            0.0, 1.0, 1 / 64, shape=(1, 1), key=key, interpolation=kind
        )
        paths = [draw("linear"), draw("parabola")]
        found = [quiet(dfx.Dopri8(), path, 1 / 64, key) for path in paths]
        return paths[0].evaluate(1.0)[0, 0], found

    b, found = run(jr.key(3))
    np.testing.assert_allclose(found, np.exp(-2.0 + 0.8 * b), rtol=2e-5)


def test_strong_order_of_the_state():
    """Order one with the defaults: Heun on the chord, Tsit5 on the parabola, closer."""
    keys = jr.split(jr.key(0), 200)

    def run(interpolation, n):
        one = lambda k: quiet(None, rs.Brownian(interpolation), 1 / n, k, drive=1.0)
        return np.asarray(jax.jit(jax.vmap(one))(keys))

    exact, errors = run("parabola", 1024), {}
    for interpolation in ("linear", "parabola"):
        runs = [run(interpolation, n) for n in (8, 32, 128)]
        errors[interpolation] = np.array([np.mean((r - exact) ** 2) ** 0.5 for r in runs])
        slopes = np.log2(errors[interpolation][:-1] / errors[interpolation][1:]) / 2
        assert np.all(slopes > 0.85), (errors, slopes)
    assert np.all(errors["parabola"] < errors["linear"] / 3)


def test_heun_does_not_converge_on_parabolas():
    """Its stages see slopes of size 6H/h: off by a factor exp(-1.5 sigma^2), however small dt."""
    with pytest.raises(ValueError, match="Heun.*does not converge.*Tsit5"):
        quiet(dfx.Heun(), rs.Brownian("parabola"), 0.1, jr.key(0))


@pytest.mark.parametrize("interpolation", ["linear", "parabola"])
def test_derivatives_agree_with_differences_on_the_same_noise(interpolation):
    rng = np.random.default_rng(0)
    direction = jax.tree.map(lambda x: rng.normal(size=x.shape), PARAMETERS)
    direction["weights"] *= 1 - np.eye(2)

    @jax.jit
    def along(steps):
        moved = lambda s: jax.tree.map(lambda a, b: a + s * b, PARAMETERS, direction)
        fn = lambda s: outcome(moved(s), jr.key(1), interpolation=interpolation)
        return jax.lax.map(lambda s: jax.jvp(fn, (s,), (1.0,)), steps)

    h = 1e-5
    values, slopes = jax.device_get(along(np.array([0.0, h, -h])))
    assert np.sum(values[0][0] > 0) >= 3
    for value, slope in zip(values, slopes, strict=True):
        expected = (value[1] - value[2]) / (2 * h)
        np.testing.assert_allclose(slope[0], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_mean_derivative_is_the_derivative_of_the_mean():
    """E[min(tau_n, T)] by the input and by the noise, on common random numbers."""

    def along(s, direction, key):
        p = PARAMETERS | {name: PARAMETERS[name] + s * x for name, x in direction.items()}
        found = outcome(p, key, 0.02)[0][:6]
        return jnp.where(found > 0, found, 0.8)

    @jax.jit
    def both(direction):
        @jax.vmap
        def one(key):
            up, down = jax.vmap(along, (0, None, None))(jnp.array([0.05, -0.05]), direction, key)
            _, exact = jax.jvp(lambda s: along(s, direction, key), (0.0,), (1.0,))
            return exact, (up - down) / 0.1

        return one(jr.split(jr.key(2), 4096))

    for name, change in (("input", [1.0, 1.0]), ("sigma", [[1.0, 0.0], [0.0, 0.0]])):
        still = {"input": np.zeros(2), "sigma": np.zeros((2, 2))}
        exact, difference = jax.device_get(both(still | {name: np.array(change)}))
        gap = exact - difference
        assert np.all(np.abs(np.mean(gap, 0)) < 4 * standard_error(gap) + 2e-3)
        assert np.all(np.abs(np.mean(exact, 0))[:4] > 5 * standard_error(exact)[:4])


def test_derivatives_converge_path_by_path():
    def slopes(dt0):
        def one(key):
            fn = lambda c: outcome({**PARAMETERS, "input": c * jnp.ones(2)}, key, dt0, 0.64)
            return jax.jvp(fn, (jnp.asarray(1.4),), (jnp.asarray(1.0),))

        (times, _, _), (d, _, _) = jax.jit(jax.vmap(one))(jr.split(jr.key(1), 256))
        return np.asarray(times)[:, :2], np.asarray(d)[:, :2]

    runs = [slopes(dt0) for dt0 in (0.01, 0.0025, 0.000625)]
    known = np.all([np.all(times > 0, 1) for times, _ in runs], 0)
    assert known.mean() > 0.9
    fine = runs[-1][1][known]
    # Of the middle path: the mean square is that of the few on which two spikes swap.
    errors = [np.median(np.abs(d[known] - fine)) / np.median(np.abs(fine)) for _, d in runs]
    assert errors[0] < 0.1 and errors[1] < 0.6 * errors[0]


def test_the_conditions_hold_and_are_seen_to_fail():
    net = network(PARAMETERS)
    path = jax.jit(lambda: rs.BrownianPath(0.0, 1.0, 0.1, shape=(4,), key=jr.key(0)))()
    half, drive = jnp.asarray([0.5, 0.5]), lambda t: jnp.array([1.4, 1.2])
    terms, event, y = equation_of(net, drive, path, v=half, syn=half, s=-half)
    report = rs.check_event(terms, event, 0.0, y)
    assert report.holds
    message = "must be 0 at 0.*condition C3"
    with pytest.raises(ValueError, match=message):
        rs.neurons.MultiplicativeLIF(0.2, 0.5, 0.1, lambda x: 1 + x)
    with pytest.raises(Exception, match=message):
        refused = jax.jit(
            lambda a: rs.neurons.MultiplicativeLIF(0.2, a, 0.1, lambda x: a + x).sigma
        )
        # On a GPU the call returns before it fails.
        jax.block_until_ready(refused(1.0))


def test_hard_thresholds_where_the_noise_vanishes_there():
    """Noise sigma v (1 - v): allowed, and right on average; any other is refused."""
    hard = rs.HardThreshold(1.0)
    with pytest.raises(ValueError, match="C1"):
        neuron = rs.neurons.MultiplicativeLIF(0.2, 0.5)
        rs.SpikingNetwork(rs.Population(1, neuron, hard))
    neuron = rs.neurons.MultiplicativeLIF(0.2, 1.5, amplitude=lambda x: x * (1 - x))
    net = rs.SpikingNetwork(rs.Population(1, neuron, hard))

    def times(c, key):
        train = rs.simulate(
            net,
            lambda t: c * jnp.ones(1),
            rs.Window(0.0, 1.28, 0.02),
            max_spikes=20,
            key=key,
            engine=rs.EventByEvent(),
        ).spikes
        return train.times[:2]

    c = jnp.asarray(1.6)

    @jax.jit
    @jax.vmap
    def both(key):
        value, exact = jax.jvp(lambda c: times(c, key), (c,), (jnp.ones(()),))
        up, down = jax.vmap(times, (0, None))(c + jnp.array([0.05, -0.05]), key)
        return value, exact, (up - down) / 0.1

    value, exact, difference = jax.device_get(both(jr.split(jr.key(0), 4096)))
    assert np.all(np.isfinite(value)) and np.all(np.std(value, 0) > 0.01)
    gap = exact - difference
    assert np.all(np.abs(np.mean(gap, 0)) < 4 * standard_error(gap) + 2e-3)


@pytest.mark.parametrize("interpolation", ["linear", "parabola"])
def test_engines_come_together(interpolation):
    """Root mean square over paths, on the same noise."""
    errors = []
    for dt in (0.01, 0.0025):

        def both(key, dt=dt):
            sims = [
                rs.simulate(
                    network(PARAMETERS),
                    constant(1.6, 1.3),
                    rs.Window(0.0, 0.5, dt),
                    max_spikes=30,
                    key=key,
                    noise=rs.Brownian(interpolation),
                    engine=engine,
                )
                for engine in ENGINES.values()
            ]
            (a, marks), (b, others) = map(smooth, sims)
            return a - b, jnp.all(marks == others)

        gap, same = jax.device_get(jax.jit(jax.vmap(both))(jr.split(jr.key(4), 128)))
        assert np.mean(same) > 0.9
        errors.append(np.sqrt(np.mean(gap[same] ** 2)))
    assert errors[0] > 1e-5 and errors[1] < errors[0] / 4**0.8, errors


@pytest.mark.slow
def test_float32():
    p = jax.tree.map(np.float32, PARAMETERS)
    run = jax.jit(lambda p: outcome(p, jr.key(1)))
    with jax.numpy_dtype_promotion("standard"):
        low, high = run(p), run(PARAMETERS)
    assert low[0].dtype == jnp.float32
    for a, b in zip(low, high, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)
