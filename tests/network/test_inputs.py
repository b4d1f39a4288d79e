"""Spikes as input of a network."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import roughsnn as rs

from ..helpers import ENGINES, constant

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
    network = rs.SpikingNetwork(
        rs.LIF(z["mu"], sigma, 1.2),
        rs.StochasticFiring(rs.ExponentialIntensity(5.0, 1.0, 1.0), 0.03),
        z["links"],
    )
    room: Any = dict(max_spikes=20, key=jr.key(5), engine=ENGINES[method])
    inputs, window = rs.SpikeInput(train, z["feed"]), rs.Window(0.0, 1.0, dt)
    return rs.simulate(network, constant(*DRIVE), window, inputs=inputs, **room).spikes


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


def test_engines_agree_on_input_spikes():
    gaps = []
    for dt in (0.04, 0.0025, 0.00125):
        a, b = (spike_times(AT, m, dt, None) for m in ("event", "lockstep"))
        np.testing.assert_array_equal(a.counts(), b.counts())
        assert int(a.count) >= 3
        there = np.isfinite(a.times)
        gaps.append(np.max(np.abs(np.asarray(a.times)[there] - np.asarray(b.times)[there])))
    # Second order and more.
    assert gaps[1] < gaps[0] / 16**2 and gaps[2] < gaps[1] / 4


@pytest.mark.parametrize("method", ["event", "lockstep"])
def test_one_input_spike_moves_the_threshold_crossing_as_it_must(method):
    """Hard threshold, one input spike at s: i = w e^{-mu2 (t - s)}, v in closed form."""
    mu1, mu2, w, s = 5.0, 2.0, 6.0, 0.21
    train = rs.SpikeTrain.from_lists([[s]], t0=0.0, t1=1.0)
    network = rs.SpikingNetwork(rs.LIF((mu1, mu2), None, 1.0), rs.ThresholdFiring(1.0))
    window = rs.Window(0.0, 1.0, 0.001, stop_after=1)
    room: Any = dict(max_spikes=1, key=jr.key(0), engine=ENGINES[method])
    inputs = rs.SpikeInput(train, [[w]])
    found = rs.simulate(network, constant(0.0), window, inputs=inputs, **room).spikes
    x = float(found.times[0]) - s
    v = mu1 * w * (np.exp(-mu2 * x) - np.exp(-mu1 * x)) / (mu1 - mu2)
    np.testing.assert_allclose(v, 1.0, atol=1e-4)


def test_an_input_spike_in_a_last_cell_that_is_shorter():
    """Its effect on the hazard until t1 = 33 1/3 cells."""
    z = AT | {"times": np.array([0.9901])}

    @functools.partial(jax.jit, static_argnums=1)
    def excess(feed, method):
        boundary = spike_times(z | {"feed": feed}, method, 0.03, None).boundary
        assert boundary is not None
        return boundary.excess

    strong, none = np.full((3, 2), 5.0), np.zeros((3, 2))
    effects = [excess(strong, m) - excess(none, "event") for m in ("event", "lockstep")]
    assert np.all(effects[0] > 5e-4)
    np.testing.assert_allclose(effects[1], effects[0], rtol=0.5)


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
        network = rs.SpikingNetwork(
            rs.LIF(cast(MU), cast([[0.3], [0.0]]), cast(1.2)),
            rs.StochasticFiring(rs.ExponentialIntensity(cast(5.0), cast(1.0)), cast(0.03)),
            cast(LINKS),
        )
        noise = rs.fractional_path(0.0, 1.0, 0.02, hurst=0.4, shape=(2, 1), key=jr.key(3))
        room: Any = dict(max_spikes=20, key=jr.key(5), noise=noise, engine=ENGINES[method])
        inputs, drive = rs.SpikeInput(train, FEED), constant(*DRIVE, dtype=dtype)
        return rs.simulate(network, drive, rs.Window(0.0, 1.0, 0.02), inputs=inputs, **room).spikes

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


def test_a_network_feeds_another():
    """Gradients go through the first network's spikes into the second."""
    network = rs.SpikingNetwork(
        rs.LIF(MU, None, 1.2), rs.StochasticFiring(rs.ExponentialIntensity(5.0, 1.0, 1.0), 0.03)
    )
    room: Any = dict(window=rs.Window(0.0, 1.0, 0.02), max_spikes=10, engine=rs.EventByEvent())

    @jax.jit
    @functools.partial(jax.value_and_grad, has_aux=True)
    def value_and_slope(c):
        drive = jnp.stack([c, c])
        first = rs.simulate(network, lambda t: drive, key=jr.key(0), **room).spikes
        inputs = rs.SpikeInput(first, FEED[:2])
        second = rs.simulate(network, constant(*DRIVE), key=jr.key(1), inputs=inputs, **room).spikes
        return jnp.sum(jnp.where(second.marks >= 0, second.times, 0)), second.count

    (_, count), slope = value_and_slope(1.3)
    up, down = (value_and_slope(1.3 + h)[0][0] for h in (1e-6, -1e-6))
    difference = (up - down) / 2e-6
    assert int(count) >= 2 and abs(slope) > 1e-3
    np.testing.assert_allclose(slope, difference, rtol=1e-5)


def test_many_small_input_spikes_are_noise():
    """The diffusion limit: Poisson spikes at a rate r of weight w act like a current of mean
    r w / mu2 with white noise w sqrt(r), in rate and in the CV of the intervals."""
    rate, w, mu2, samples = 2000.0, 0.4, 40.0, 512
    room: Any = dict(window=rs.Window(0.0, 2.0, 0.00125), max_spikes=60)

    def network(noise):
        return rs.SpikingNetwork(
            rs.LIF((10.0, mu2), ((0.0,), (noise,)) if noise else None, 1.0),
            rs.StochasticFiring(rs.ExponentialIntensity(5.0, 1.0, 0.05), 0.02),
        )

    def poisson(key):
        spikes_key, key = jr.split(key)
        train = rs.poisson_spikes(0.0, 2.0, rates=np.array([rate]), max_spikes=4500, key=spikes_key)
        return rs.simulate(
            network(0.0),
            lambda t: jnp.full(1, 0.9 - rate * w / mu2),
            key=key,
            inputs=rs.SpikeInput(train, [[w]]),
            initial=at_rest(rate * w / mu2),
            **room,
        ).spikes

    def brownian(key):
        initial = at_rest(0.0)
        return rs.simulate(
            network(w * rate**0.5), lambda t: jnp.full(1, 0.9), key=key, initial=initial, **room
        ).spikes

    def at_rest(current):
        return rs.NeuronState(jnp.full(1, 0.5), jnp.full(1, current), None)

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
        network = rs.SpikingNetwork(
            rs.LIF(mu, None, 1.2),
            rs.StochasticFiring(rs.ExponentialIntensity(5.0, 1.0, 1.0), 0.03),
            z["links"],
        )
        found = rs.simulate(
            network,
            lambda t: jnp.full(n, 0.3),
            rs.Window(0.0, 0.4, dt),
            max_spikes=300,
            key=jr.key(5),
            inputs=rs.SpikeInput(train, z["feed"]),
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
    with pytest.raises(ValueError, match=r"shape \(2, neurons\)"):
        rs.SpikeInput(train, np.ones((3, 2)))
    with pytest.raises(TypeError, match="must be a roughsnn.SpikeTrain"):
        rs.SpikeInput([0.1], np.ones((1, 1)))  # pyright: ignore
    network = rs.SpikingNetwork(rs.LIF(MU, None, 1.2), rs.ThresholdFiring(1.0))
    run: Any = functools.partial(
        rs.simulate,
        network,
        constant(*DRIVE),
        max_spikes=3,
        key=jr.key(0),
        engine=ENGINES[method],
    )
    with pytest.raises(ValueError, match="on the window of the simulation"):
        run(rs.Window(0.0, 2.0, 0.05), inputs=rs.SpikeInput(train, np.ones((2, 2))))
    with pytest.raises(ValueError, match=r"shape \(inputs, 2\)"):
        run(rs.Window(0.0, 1.0, 0.05), inputs=rs.SpikeInput(train, np.ones((2, 3))))
    draw = functools.partial(rs.poisson_spikes, 0.0, 1.0, rates=np.array([50.0]), max_spikes=2)
    full = jax.jit(lambda: draw(key=jr.key(0)))()
    with pytest.raises(ValueError, match="spikes missing"):
        rs.SpikeInput(full, np.ones((1, 1)))


class ResetToZero(rs.AbstractLinearMembrane):
    """Without noise, and with a reset that reads the potential."""

    @property
    def rates(self):
        return jnp.asarray(15.0), jnp.asarray(6.0)

    def drift(self, v, i, drive):
        return 15.0 * (i + drive - v), -6.0 * i

    def noise(self, v, i, dx):
        return jnp.zeros_like(v), jnp.zeros_like(i)

    def reset(self, v):
        return jnp.zeros_like(v)

    @property
    def channels(self):
        return 0

    def noisy_potential(self, v):
        return jnp.array(False)


@pytest.mark.parametrize(("hard", "bound"), [(True, 3.5e-5), (False, 4.1e-4)])
def test_neurons_that_fire_in_the_cell_of_an_input(hard, bound):
    """Second order, whatever the reset makes of the potential there.

    (A reset that does not see the input of its cell has 4.7e-5 and 4.5e-4.)
    """
    firing: Any = rs.ThresholdFiring(1.0)
    if not hard:
        firing = rs.StochasticFiring(rs.ExponentialIntensity(8.0, 0.9, 0.05), 0.03)
    rng = np.random.default_rng(1)
    lists = [sorted(rng.uniform(0.01, 0.99, 40)) for _ in range(2)]
    train = rs.SpikeTrain.from_lists(lists, t0=0.0, t1=1.0)
    feed = np.array([[0.2, 0.1], [0.1, 0.2]])

    @functools.partial(jax.jit, static_argnums=(1, 2))
    def times(train, method, dt):
        network = rs.SpikingNetwork(ResetToZero(), firing)
        room: Any = dict(max_spikes=400, key=jr.key(0), engine=ENGINES[method])
        inputs, window = rs.SpikeInput(train, feed), rs.Window(0.0, 1.0, dt)
        found = rs.simulate(network, constant(0.6, 0.5), window, inputs=inputs, **room).spikes
        return found.per_neuron(6)

    exact = times(train, "event", 1 / 1024)
    assert np.all(np.isfinite(exact))
    found = (times(train, "lockstep", 1 / n) for n in (64, 256))
    gaps = [float(np.sqrt(np.mean((x - exact) ** 2))) for x in found]
    assert gaps[0] / gaps[1] > 8 and gaps[1] < bound, gaps
