"""Spikes as input of a network."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import roughsnn as rs

from ..helpers import ENGINES, constant, fed, lif_network

MU, DRIVE = np.array([15.0, 6.0]), np.array([0.9, 0.7])
LINKS = np.array([[0.0, 0.4], [-0.3, 0.0]])
FEED = np.array([[0.6, 0.2], [0.0, 0.5], [-0.4, 0.3]])


@functools.partial(jax.jit, static_argnames=("method", "dt"))
def spike_times(z, method: Any, dt, sigma=((0.3,), (0.0,))):
    """The network with the spikes of three inputs."""
    count = z["times"].shape[0]
    train = rs.SpikeTrain(
        times=z["times"],
        marks=jnp.arange(count, dtype=jnp.int32) % 3,
        count=jnp.asarray(count, jnp.int32),
        overflow=jnp.array(False),
        t0=0.0,
        t1=1.0,
        num_neurons=3,
    )
    firing = rs.StochasticFiring(rs.ExponentialIntensity(5.0, 1.0, 1.0), 0.03)
    network = lif_network(firing, z["links"], mu=z["mu"], sigma=sigma, reset=1.2)
    room: Any = dict(max_spikes=20, key=jr.key(5), engine=ENGINES[method])
    network, window = fed(network, z["feed"]), rs.Window(0.0, 1.0, dt)
    return rs.simulate(network, constant(*DRIVE), window, inputs={"in": train}, **room).spikes


AT = {
    "times": np.array([0.013, 0.0999, 0.25, 0.3001, 0.41, 0.55, 0.69, 0.71]),
    "mu": MU,
    "links": LINKS,
    "feed": FEED,
}


@functools.partial(jax.jit, static_argnames=("method", "dt"))
def value_and_gradient(z, method, dt):
    """Of the sum of all spike times; and how many spikes there are."""

    def value(z):
        found = spike_times(z, method, dt)
        return jnp.sum(jnp.where(found.marks >= 0, found.times, 0)), found.count

    return jax.value_and_grad(value, has_aux=True)(z)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["event", "lockstep"])
def test_gradients_through_input_spikes(method):
    """In times, weights and rates, against differences on the same noise."""
    (_, count), gradient = value_and_gradient(AT, method, 0.02)
    assert count >= 3
    h = 1e-6
    for name in AT:
        way = np.random.default_rng(0).normal(size=AT[name].shape)
        if name == "links":
            way = np.where(LINKS != 0, way, 0)
        moved = (AT | {name: AT[name] + s * h * way} for s in (1, -1))
        up, down = (value_and_gradient(z, method, 0.02)[0][0] for z in moved)
        slope = np.sum(np.asarray(gradient[name]) * way)
        assert abs(slope) > 1e-3
        np.testing.assert_allclose(slope, (up - down) / (2 * h), rtol=1e-5, err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["event", "lockstep"])
def test_input_spikes_cross_the_border_of_a_cell(method):
    """Spike times are continuous there, and the difference across it is the mean of the
    derivatives on both sides, which agree as dt falls."""
    border, h, gaps = 0.24, 1e-7, []
    for dt in (0.02, 0.00125):
        values, slopes = [], []
        for s in (-1, 1):
            times = np.where(np.arange(8) == 2, border + s * h, AT["times"])
            (value, _), gradient = value_and_gradient(AT | {"times": times}, method, dt)
            values.append(value)
            slopes.append(np.asarray(gradient["times"])[2])
        np.testing.assert_allclose((values[1] - values[0]) / (2 * h), np.mean(slopes), rtol=1e-4)
        gaps.append(abs(slopes[1] - slopes[0]) / abs(slopes[0]))
    # First order and more.
    assert gaps[1] < gaps[0] / 12


@pytest.mark.parametrize("method", ["event", "lockstep"])
def test_an_input_spike_on_the_border_of_a_cell(method):
    """Its derivative, with noise, is between those just before and just behind."""
    slopes = []
    for place in (0.24 - 1e-7, 0.24, 12 * 0.02, 0.24 + 1e-7):
        times = np.where(np.arange(8) == 2, place, AT["times"])
        _, gradient = value_and_gradient(AT | {"times": times}, method, 0.02)
        slopes.append(float(gradient["times"][2]))
    low, high = sorted((slopes[0], slopes[3]))
    slack = 1e-5 * abs(low)
    assert all(low - slack <= slope <= high + slack for slope in slopes[1:3]), slopes


@pytest.mark.slow
def test_engines_agree_on_input_spikes():
    gaps = []
    for dt in (0.04, 0.0025, 0.00125):
        a, b = (spike_times(AT, m, dt, None) for m in ("event", "lockstep"))
        np.testing.assert_array_equal(a.counts(), b.counts())
        assert int(a.count) >= 3
        there = np.isfinite(a.times)
        gaps.append(np.max(np.abs(np.asarray(a.times)[there] - np.asarray(b.times)[there])))
    # Second order: without noise, that of lockstep alone.
    assert gaps[1] < gaps[0] / 16**2 and gaps[2] < gaps[1] / 3.9


@pytest.mark.parametrize("method", ["event", "lockstep"])
def test_one_input_spike_moves_the_threshold_crossing_as_it_must(method):
    """Hard threshold, one input spike at s: i = w e^{-mu2 (t - s)}, v in closed form."""
    mu1, mu2, w, s = 5.0, 2.0, 6.0, 0.21
    train = rs.SpikeTrain.from_lists([[s]], t0=0.0, t1=1.0)
    network = fed(lif_network(rs.HardThreshold(1.0), mu=(mu1, mu2)), [[w]])
    window = rs.Window(0.0, 1.0, 0.001, stop_after=1)
    room: Any = dict(max_spikes=1, key=jr.key(0), engine=ENGINES[method])
    found = rs.simulate(network, constant(0.0), window, inputs={"in": train}, **room).spikes
    x = float(found.times[0]) - s
    v = mu1 * w * (np.exp(-mu2 * x) - np.exp(-mu1 * x)) / (mu1 - mu2)
    np.testing.assert_allclose(v, 1.0, atol=1e-4)


@pytest.mark.slow
def test_an_input_spike_in_a_last_cell_that_is_shorter():
    """Its effect on the hazard until t1 = 33 1/3 cells."""
    z = AT | {"times": np.array([0.9901])}

    @functools.partial(jax.jit, static_argnums=1)
    def excess(feed, method):
        boundary = spike_times(z | {"feed": feed}, method, 0.03, None).boundary
        assert boundary is not None
        return boundary.excess

    strong, none = np.full((3, 2), 0.5), np.zeros((3, 2))
    effects = [excess(strong, m) - excess(none, m) for m in ("event", "lockstep")]
    assert np.all(effects[0] > 4e-4)
    np.testing.assert_allclose(effects[1], effects[0], rtol=0.2)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["event", "lockstep"])
def test_float32(method):
    """The same spikes to rounding, whatever the precision of the input and the noise is."""

    def run(dtype, times):
        cast = lambda x: np.asarray(x, dtype)
        train = rs.SpikeTrain(
            times=times,
            marks=jnp.arange(8, dtype=jnp.int32) % 3,
            count=jnp.asarray(8, jnp.int32),
            overflow=jnp.array(False),
            t0=0.0,
            t1=1.0,
            num_neurons=3,
        )
        firing = rs.StochasticFiring(rs.ExponentialIntensity(cast(5.0), cast(1.0)), cast(0.03))
        noisy: Any = dict(sigma=cast([[0.3], [0.0]]), reset=cast(1.2))
        network = fed(lif_network(firing, cast(LINKS), mu=cast(MU), **noisy), cast(FEED))
        noise = rs.fractional_path(0.0, 1.0, 0.02, hurst=0.4, shape=(2, 1), key=jr.key(3))
        room: Any = dict(max_spikes=20, key=jr.key(5), noise=noise, engine=ENGINES[method])
        drive, window = constant(*DRIVE, dtype=dtype), rs.Window(0.0, 1.0, 0.02)
        return rs.simulate(network, drive, window, inputs={"in": train}, **room).spikes

    times = AT["times"]
    # Known input spikes, and traced ones.
    double = jax.jit(lambda: run(jnp.float64, jnp.asarray(times)))()
    there = np.isfinite(double.times)
    for single in (
        jax.jit(lambda: run(jnp.float32, jnp.asarray(times)))(),
        jax.jit(functools.partial(run, jnp.float32))(times),
    ):
        assert single.times.dtype == jnp.float32 and int(single.count) >= 3
        np.testing.assert_array_equal(single.marks, double.marks)
        found, expected = np.asarray(single.times)[there], np.asarray(double.times)[there]
        np.testing.assert_allclose(found, expected, atol=2e-5)


@pytest.mark.slow
def test_a_network_feeds_another():
    """Gradients go through the first network's spikes into the second."""
    firing = rs.StochasticFiring(rs.ExponentialIntensity(5.0, 1.0, 1.0), 0.03)
    network = lif_network(firing, mu=MU, reset=1.2, size=2)
    second_network = fed(network, FEED[:2])
    room: Any = dict(window=rs.Window(0.0, 1.0, 0.02), max_spikes=10, engine=rs.EventByEvent())

    @jax.jit
    @functools.partial(jax.value_and_grad, has_aux=True)
    def value_and_slope(c):
        drive = jnp.stack([c, c])
        first = rs.simulate(network, lambda t: drive, key=jr.key(0), **room).spikes
        given: Any = dict(inputs={"in": first}, **room)
        second = rs.simulate(second_network, constant(*DRIVE), key=jr.key(1), **given).spikes
        return jnp.sum(jnp.where(second.marks >= 0, second.times, 0)), second.count

    (_, count), slope = value_and_slope(1.3)
    up, down = (value_and_slope(1.3 + h)[0][0] for h in (1e-6, -1e-6))
    difference = (up - down) / 2e-6
    assert int(count) >= 2 and abs(slope) > 1e-3
    np.testing.assert_allclose(slope, difference, rtol=1e-5)


@pytest.mark.slow
def test_many_small_input_spikes_are_noise():
    """The diffusion limit: Poisson spikes at a rate r of weight w act like a current of mean
    r w / mu2 with white noise w sqrt(r), in rate and in the CV of the intervals."""
    rate, w, mu2, samples = 2000.0, 0.4, 40.0, 512
    room: Any = dict(window=rs.Window(0.0, 2.0, 0.00125), max_spikes=60)

    def network(noise):
        firing = rs.StochasticFiring(rs.ExponentialIntensity(5.0, 1.0, 0.05), 0.02)
        return lif_network(firing, mu=(10.0, mu2), sigma=((0.0,), (noise,)) if noise else None)

    def poisson(key):
        spikes_key, key = jr.split(key)
        train = rs.poisson_spikes(0.0, 2.0, rates=np.array([rate]), max_spikes=4500, key=spikes_key)
        return rs.simulate(
            fed(network(0.0), [[w]]),
            lambda t: jnp.full(1, 0.9 - rate * w / mu2),
            key=key,
            inputs={"in": train},
            initial=at_rest(rate * w / mu2),
            **room,
        ).spikes

    def brownian(key):
        initial = at_rest(0.0)
        return rs.simulate(
            network(w * rate**0.5), lambda t: jnp.full(1, 0.9), key=key, initial=initial, **room
        ).spikes

    def at_rest(current):
        return {"v": jnp.full(1, 0.5), "syn": jnp.full(1, current)}

    def statistics(run, seed):
        trains = jax.jit(jax.vmap(run))(jr.split(jr.key(seed), samples))
        counts = np.asarray(trains.count).astype(float)
        times = np.asarray(trains.times)
        gaps = np.where(
            np.isfinite(times[:, 1:]), np.diff(np.where(np.isfinite(times), times, 0)), 0
        )
        number = np.isfinite(times[:, 1:]).sum(1)
        mean = gaps.sum() / number.sum()
        square = (gaps**2).sum() / number.sum()
        # The error of a ratio of means over independent samples.
        cv = (square / mean**2 - 1) ** 0.5
        influence = ((gaps**2).sum(1) / mean**2 - 2 * square / mean**3 * gaps.sum(1)) / (2 * cv)
        influence += number * square / mean**2 / (2 * cv)
        error = influence.std() / number.mean() / samples**0.5
        return (counts.mean(), counts.std() / samples**0.5), (cv, error)

    for a, b in zip(statistics(poisson, 0), statistics(brownian, 1), strict=True):
        print(a, b)
        assert abs(a[0] - b[0]) < 3.5 * (a[1] ** 2 + b[1] ** 2) ** 0.5
        assert a[1] < 0.03 * a[0]


@pytest.mark.slow
def test_many_neurons_with_rates_of_their_own():
    """Past the size at which the gradient in the weights is summed over spikes, which must leave
    the input in; against the event engine, and against differences."""
    n, rng = 70, np.random.default_rng(0)
    draw = functools.partial(rs.poisson_spikes, 0.0, 0.4, rates=np.full(5, 60.0), max_spikes=60)
    train = jax.jit(lambda: draw(key=jr.key(3)))()
    mu = rng.uniform(0.8, 1.2, (2, n)) * np.array([[15.0], [6.0]])
    at = {
        "links": rng.normal(size=(n, n)) * 0.1 * (1 - np.eye(n)),
        "feed": rng.normal(0.02, 0.1, (5, n)),
    }

    def value(z, method: Any = "lockstep", dt=0.01):
        firing = rs.StochasticFiring(rs.ExponentialIntensity(5.0, 1.0, 1.0), 0.03)
        found = rs.simulate(
            fed(lif_network(firing, z["links"], mu=mu, reset=1.2), z["feed"]),
            lambda t: jnp.full(n, 0.3),
            rs.Window(0.0, 0.4, dt),
            max_spikes=300,
            key=jr.key(5),
            inputs={"in": train},
            engine=ENGINES[method],
        ).spikes
        return jnp.sum(jnp.where(found.marks >= 0, found.times - 0.4, 0))

    other = jax.jit(value, static_argnums=(1, 2))
    value_and_gradient = jax.jit(jax.value_and_grad(value))
    middle, gradient = value_and_gradient(at)
    gaps = [
        abs(other(at, "event", 0.01) - middle),
        abs(other(at, "event", 0.0025) - other(at, "lockstep", 0.0025)),
    ]
    assert gaps[1] < gaps[0] / 4 and abs(middle) > 1
    for name in at:
        way = rng.normal(size=at[name].shape)
        if name == "links":
            way = way * (1 - np.eye(n))
        moved = (at | {name: at[name] + step * way} for step in (1e-6, -1e-6))
        up, down = (value_and_gradient(z)[0] for z in moved)
        slope = np.sum(np.asarray(gradient[name]) * way)
        assert abs(slope) > 1e-3
        np.testing.assert_allclose(slope, (up - down) / 2e-6, rtol=1e-5, err_msg=name)


@pytest.mark.parametrize("method", ["event", "lockstep"])
def test_bad_input(method):
    train = rs.SpikeTrain.from_lists([[0.2], [0.3]], t0=0.0, t1=1.0)
    alone = lif_network(rs.HardThreshold(1.0), mu=MU, reset=1.2, size=2)
    with pytest.raises(ValueError, match=r"must have shape \(3, 2\), from 'in' onto 'neurons'"):
        fed(alone, np.ones((3, 3)))
    run: Any = functools.partial(
        rs.simulate,
        fed(alone, np.ones((2, 2))),
        constant(*DRIVE),
        max_spikes=3,
        key=jr.key(0),
        engine=ENGINES[method],
    )
    window = rs.Window(0.0, 1.0, 0.05)
    with pytest.raises(TypeError, match="must be a roughsnn.SpikeTrain"):
        run(window, inputs={"in": [0.1]})
    with pytest.raises(ValueError, match="'in'"):
        run(window)
    with pytest.raises(ValueError, match="'other'"):
        run(window, inputs={"in": train, "other": train})
    with pytest.raises(ValueError, match="2 neurons"):
        run(window, inputs={"in": train.only([0])})
    with pytest.raises(ValueError, match="on the window of the simulation"):
        run(rs.Window(0.0, 2.0, 0.05), inputs={"in": train})
    draw = functools.partial(rs.poisson_spikes, 0.0, 1.0, rates=np.full(2, 50.0), max_spikes=2)
    full = jax.jit(lambda: draw(key=jr.key(0)))()
    with pytest.raises(ValueError, match="spikes missing"):
        run(window, inputs={"in": full})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("hard", "bound", "ratio"), [(True, 2e-5, 4**1.3), (False, 4.4e-4, 4**1.8)]
)
def test_neurons_that_fire_in_the_cell_of_an_input(hard, bound, ratio):
    """Whatever the reset makes of the potential there.

    With a hard threshold a spike moves by O(h) where there is an input in its cell, so that all
    together are off by O(h^1.5).
    """
    firing: Any = rs.HardThreshold(1.0)
    if not hard:
        firing = rs.StochasticFiring(rs.ExponentialIntensity(8.0, 0.9, 0.05), 0.03)
    rng = np.random.default_rng(1)
    draw = lambda: [sorted(rng.uniform(0.01, 0.99, 40)) for _ in range(2)]
    trains = [rs.SpikeTrain.from_lists(draw(), t0=0.0, t1=1.0) for _ in range(24)]
    neuron = rs.neurons.LIF(1 / 15, rs.ResetTo(0.0))
    ports = {"syn": rs.synapses.Exponential(1 / 6)}
    alone = rs.SpikingNetwork(rs.Population(2, neuron, firing, ports))
    network = fed(alone, np.array([[0.2, 0.1], [0.1, 0.2]]))

    @functools.partial(jax.jit, static_argnums=(1, 2))
    def times(trains, method, dt):
        room: Any = dict(max_spikes=400, key=jr.key(0), engine=ENGINES[method])
        drive, window = constant(0.6, 0.5), rs.Window(0.0, 1.0, dt)
        one = lambda train: rs.simulate(network, drive, window, inputs={"in": train}, **room)
        return jax.vmap(lambda train: one(train).spikes.per_neuron(5))(trains)

    trains = rs.SpikeTrain.stack(trains)
    exact = times(trains, "event", 1 / 1024)
    assert np.all(np.isfinite(exact))
    found = (times(trains, "lockstep", 1 / n) for n in (64, 256))
    gaps = [float(np.sqrt(np.mean((x - exact) ** 2))) for x in found]
    assert gaps[0] / gaps[1] > ratio and gaps[1] < bound, gaps
