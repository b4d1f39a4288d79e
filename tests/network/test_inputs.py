"""Spikes as input of a network."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import roughsnn as rs

WINDOW: Any = dict(t0=0.0, t1=1.0)
MU, DRIVE = jnp.array([15.0, 6.0]), jnp.array([0.9, 0.7])
LINKS = np.array([[0.0, 0.4], [-0.3, 0.0]])
FEED = jnp.array([[0.6, 0.2], [0.0, 0.5], [-0.4, 0.3]])


@functools.partial(jax.jit, static_argnames=("method", "dt", "sigma"))
def spike_times(z, method: Any, dt, sigma=0.3):
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
        rs.LIF(z["mu"], ((sigma,), (0.0,)), 1.2),
        rs.StochasticFiring(rs.ExponentialIntensity(5.0, 1.0, 1.0), 0.03),
        z["links"],
    )
    return rs.simulate(
        network,
        lambda t: DRIVE,
        **WINDOW,
        dt0=dt,
        max_spikes=20,
        key=jr.key(5),
        method=method,
        spike_input=rs.SpikeInput(train, z["feed"]),
    )


AT = {
    "times": jnp.array([0.013, 0.0999, 0.25, 0.3001, 0.41, 0.55, 0.69, 0.71]),
    "mu": MU,
    "links": jnp.asarray(LINKS),
    "feed": FEED,
}


@pytest.mark.parametrize("method", ["event", "lockstep"])
def test_gradients_through_input_spikes(method):
    """In times, weights and rates, against differences on the same noise."""

    @jax.jit
    def value(z):
        found = spike_times(z, method, 0.02)
        return jnp.sum(jnp.where(found.marks >= 0, found.times, 0))

    assert int(spike_times(AT, method, 0.02).count) >= 3
    gradient = jax.jit(jax.grad(value))(AT)
    h = 1e-6
    for name in AT:
        way = jnp.asarray(np.random.default_rng(0).normal(size=AT[name].shape))
        if name == "links":
            way = jnp.where(LINKS != 0, way, 0)
        up, down = (value(AT | {name: AT[name] + s * h * way}) for s in (1, -1))
        slope = float(jnp.sum(gradient[name] * way))
        assert abs(slope) > 1e-3
        np.testing.assert_allclose(slope, (up - down) / (2 * h), rtol=1e-5, err_msg=name)


@pytest.mark.parametrize("method", ["event", "lockstep"])
def test_input_spikes_cross_the_border_of_a_cell(method):
    """Spike times are continuous there, and the difference across it is the mean of the
    derivatives on both sides, which agree as dt falls."""

    @functools.partial(jax.jit, static_argnums=1)
    def last(t, dt):
        found = spike_times(AT | {"times": AT["times"].at[2].set(t)}, method, dt)
        return jnp.sum(jnp.where(found.marks >= 0, found.times, 0))

    gaps = []
    for dt in (0.02, 0.005):
        border, h = 0.24, 1e-7
        left, right = (last(border + s * h, dt) for s in (-1, 1))
        slopes = [float(jax.grad(last)(border + s * h, dt)) for s in (-1, 1)]
        np.testing.assert_allclose((right - left) / (2 * h), np.mean(slopes), rtol=1e-4)
        gaps.append(abs(slopes[1] - slopes[0]) / abs(slopes[0]))
    assert gaps[1] < gaps[0] / 4


def test_engines_agree_on_input_spikes():
    gaps = []
    for dt in (0.04, 0.0025, 0.00125):
        a, b = (spike_times(AT, m, dt, sigma=0.0) for m in ("event", "lockstep"))
        assert jnp.array_equal(a.counts(), b.counts()) and int(a.count) >= 3
        there = jnp.isfinite(a.times)
        gaps.append(float(jnp.max(jnp.abs(jnp.where(there, a.times - b.times, 0)))))
    # Second order and more.
    assert gaps[1] < gaps[0] / 16**2 and gaps[2] < gaps[1] / 4


@pytest.mark.parametrize("method", ["event", "lockstep"])
def test_one_input_spike_moves_the_threshold_crossing_as_it_must(method):
    """Hard threshold, one input spike at s: i = w e^{-mu2 (t - s)}, v in closed form."""
    mu1, mu2, w, s = 5.0, 2.0, 6.0, 0.21
    train = rs.SpikeTrain.from_lists([[s]], t0=0.0, t1=1.0)
    network = rs.SpikingNetwork(rs.LIF((mu1, mu2), None, 1.0), rs.ThresholdFiring(1.0))
    found = rs.simulate(
        network,
        lambda t: jnp.zeros(1),
        **WINDOW,
        dt0=0.001,
        max_spikes=1,
        key=jr.key(0),
        stop_after=1,
        spike_input=rs.SpikeInput(train, [[w]]),
        method=method,
    )
    x = float(found.times[0]) - s
    v = mu1 * w * (np.exp(-mu2 * x) - np.exp(-mu1 * x)) / (mu1 - mu2)
    np.testing.assert_allclose(v, 1.0, atol=1e-4)


def test_an_input_spike_in_a_last_cell_that_is_shorter():
    """Its effect on the hazard until t1 = 33 1/3 cells."""
    z = AT | {"times": jnp.array([0.9901]), "feed": 5 * jnp.ones((3, 2))}
    boundaries = [spike_times(z, method, 0.03, 0.0).boundary for method in ("event", "lockstep")]
    none = spike_times(z | {"feed": jnp.zeros((3, 2))}, "event", 0.03, 0.0).boundary
    assert none is not None and boundaries[0] is not None and boundaries[1] is not None
    effects = [b.excess - none.excess for b in boundaries if b is not None]
    assert np.all(effects[0] > 5e-4)
    np.testing.assert_allclose(effects[1], effects[0], rtol=0.5)


@pytest.mark.parametrize("method", ["event", "lockstep"])
@pytest.mark.parametrize("traced", [False, True])
def test_float32(method, traced):
    """The same spikes to rounding, whatever the precision of the input and the noise is."""

    def run(dtype, times):
        train = rs.SpikeTrain(
            times=times,
            marks=jnp.arange(8, dtype=jnp.int32) % 3,
            count=jnp.asarray(8, jnp.int32),
            overflow=jnp.array(False),
            **WINDOW,
            num_neurons=3,
        )
        network = rs.SpikingNetwork(
            rs.LIF(MU.astype(dtype), jnp.array([[0.3], [0.0]], dtype), jnp.asarray(1.2, dtype)),
            rs.StochasticFiring(
                rs.ExponentialIntensity(jnp.asarray(5.0, dtype), jnp.asarray(1.0, dtype)),
                jnp.asarray(0.03, dtype),
            ),
            jnp.asarray(LINKS, dtype),
        )
        noise = rs.fractional_path(0.0, 1.0, 0.02, hurst=0.4, shape=(2, 1), key=jr.key(3))
        return rs.simulate(
            network,
            lambda t: DRIVE.astype(dtype),
            **WINDOW,
            dt0=0.02,
            max_spikes=20,
            key=jr.key(5),
            method=method,
            spike_input=rs.SpikeInput(train, FEED),
            noise=noise,
        )

    single, double = (
        jax.jit(functools.partial(run, d))(AT["times"])
        if traced
        else jax.jit(functools.partial(run, d, AT["times"]))()
        for d in (jnp.float32, jnp.float64)
    )
    assert single.times.dtype == jnp.float32 and int(single.count) >= 3
    np.testing.assert_array_equal(single.marks, double.marks)
    there = np.isfinite(double.times)
    np.testing.assert_allclose(single.times[there], double.times[there], atol=2e-5)


def test_a_network_feeds_another():
    """Gradients go through the first network's spikes into the second."""
    network = rs.SpikingNetwork(
        rs.LIF(MU, None, 1.2), rs.StochasticFiring(rs.ExponentialIntensity(5.0, 1.0, 1.0), 0.03)
    )
    room: Any = dict(t0=0.0, t1=1.0, dt0=0.02, max_spikes=10)

    @jax.jit
    def value(c):
        drive = jnp.stack([c, c])
        first = rs.simulate(network, lambda t: drive, key=jr.key(0), **room)
        second = rs.simulate(
            network,
            lambda t: DRIVE,
            key=jr.key(1),
            spike_input=rs.SpikeInput(first, FEED[:2]),
            **room,
        )
        return jnp.sum(jnp.where(second.marks >= 0, second.times, 0)), second.count

    slope, count = jax.grad(value, has_aux=True)(jnp.asarray(1.3))
    difference = (value(1.3 + 1e-6)[0] - value(1.3 - 1e-6)[0]) / 2e-6
    assert int(count) >= 2 and abs(slope) > 1e-3
    np.testing.assert_allclose(slope, difference, rtol=1e-5)


def test_many_small_input_spikes_are_noise():
    """The diffusion limit: Poisson spikes at a rate r of weight w act like a current of mean
    r w / mu2 with white noise w sqrt(r), in rate and in the CV of the intervals."""
    rate, w, mu2, samples = 2000.0, 0.4, 40.0, 512
    room: Any = dict(t0=0.0, t1=2.0, dt0=0.00125, max_spikes=60, method="lockstep")

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
            spike_input=rs.SpikeInput(train, [[w]]),
            initial=at_rest(rate * w / mu2),
            **room,
        )

    def brownian(key):
        initial = at_rest(0.0)
        return rs.simulate(
            network(w * rate**0.5), lambda t: jnp.full(1, 0.9), key=key, initial=initial, **room
        )

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
    train = rs.poisson_spikes(0.0, 0.4, rates=np.full(5, 60.0), max_spikes=60, key=jr.key(3))
    mu = jnp.asarray(rng.uniform(0.8, 1.2, (2, n)) * np.array([[15.0], [6.0]]))
    at = {
        "links": jnp.asarray(rng.normal(size=(n, n)) * 0.1 * (1 - np.eye(n))),
        "feed": jnp.asarray(rng.normal(0.02, 0.1, (5, n))),
    }

    @functools.partial(jax.jit, static_argnames=("method", "dt"))
    def value(z, method: Any = "lockstep", dt=0.01):
        network = rs.SpikingNetwork(
            rs.LIF(mu, None, 1.2),
            rs.StochasticFiring(rs.ExponentialIntensity(5.0, 1.0, 1.0), 0.03),
            z["links"],
        )
        found = rs.simulate(
            network,
            lambda t: jnp.full(n, 0.3),
            t0=0.0,
            t1=0.4,
            dt0=dt,
            max_spikes=300,
            key=jr.key(5),
            method=method,
            spike_input=rs.SpikeInput(train, z["feed"]),
        )
        return jnp.sum(jnp.where(found.marks >= 0, found.times - 0.4, 0))

    gaps = [abs(float(value(at, "event", dt) - value(at, "lockstep", dt))) for dt in (0.01, 0.0025)]
    assert gaps[1] < gaps[0] / 4 and abs(float(value(at))) > 1
    gradient = jax.jit(jax.grad(value))(at)
    for name in at:
        way = jnp.asarray(rng.normal(size=at[name].shape))
        if name == "links":
            way = way * (1 - jnp.eye(n))
        up, down = (value(at | {name: at[name] + step * way}) for step in (1e-6, -1e-6))
        slope = float(jnp.sum(gradient[name] * way))
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
        lambda t: DRIVE,
        t0=0.0,
        dt0=0.1,
        max_spikes=3,
        key=jr.key(0),
        method=method,
    )
    with pytest.raises(ValueError, match="on the window of the simulation"):
        run(t1=2.0, spike_input=rs.SpikeInput(train, np.ones((2, 2))))
    with pytest.raises(ValueError, match=r"shape \(inputs, 2\)"):
        run(t1=1.0, spike_input=rs.SpikeInput(train, np.ones((2, 3))))
    full = rs.poisson_spikes(0.0, 1.0, rates=np.array([50.0]), max_spikes=2, key=jr.key(0))
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
    inputs = rs.SpikeInput(train, jnp.array([[0.2, 0.1], [0.1, 0.2]]))

    @functools.partial(jax.jit, static_argnums=(0, 1))
    def times(method, dt):
        return rs.simulate(
            rs.SpikingNetwork(ResetToZero(), firing),
            lambda t: jnp.array([0.6, 0.5]),
            **WINDOW,
            dt0=dt,
            max_spikes=400,
            key=jr.key(0),
            spike_input=inputs,
            method=method,
        ).per_neuron(6)

    exact = times("event", 1 / 1024)
    assert np.all(np.isfinite(exact))
    gaps = [float(np.sqrt(np.mean((times("lockstep", 1 / n) - exact) ** 2))) for n in (64, 256)]
    assert gaps[0] / gaps[1] > 8 and gaps[1] < bound, gaps
