"""Laws of simulated spikes against formulas; fixed keys, bounds from standard errors."""

import diffrax as dfx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
import scipy.linalg
import scipy.stats

import roughsnn as rs
from roughsnn._random import seeds, threefry_2x32, uniform

from ..helpers import constant, lif_network, single_neuron


def flat_network(rate: float, alpha: float = 0.0):
    """Neurons that fire at a constant rate."""
    intensity = rs.ExponentialIntensity(0.0, 0.0, 1 / rate)
    firing = rs.StochasticFiring(intensity, alpha)
    return rs.SpikingNetwork(rs.Population(1, rs.neurons.LIF(1.0), firing))


def simulate_many(network, drive, samples, window, max_spikes: int):
    run = lambda key: (
        rs.simulate(
            network, drive, window, max_spikes=max_spikes, key=key, engine=rs.EventByEvent()
        ).spikes
    )
    return jax.jit(jax.vmap(run))(jr.split(jr.key(0), samples))


def test_threefry_is_that_of_jax():
    from jax.extend.random import threefry_2x32 as reference

    words = jnp.array([0x13198A2E, 0x03707344], jnp.uint32)
    counter = jnp.array([0x243F6A88, 0x85A308D3], jnp.uint32)
    ours = jnp.stack(threefry_2x32((words[0], words[1]), (counter[0], counter[1])))
    np.testing.assert_array_equal(ours, reference(words, counter))


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_thresholds_are_uniform_independent_and_inside(dtype):
    words = seeds(jr.key(0))
    number = jnp.arange(400, dtype=jnp.int32)
    draw = jax.vmap(lambda k: jax.vmap(lambda m: uniform(words, k, m, dtype))(number))
    u = np.asarray(draw(jnp.arange(50, dtype=jnp.int32)))
    assert u.dtype == dtype and u.min() > 0 and u.max() < 1
    assert scipy.stats.kstest(u.ravel(), "uniform").pvalue > 0.01
    correlation = np.corrcoef(u)[np.triu_indices(50, 1)]
    assert np.abs(correlation).max() < 5 / 400**0.5
    np.testing.assert_allclose(u, draw(jnp.arange(50, dtype=jnp.int32)).astype(dtype))


def test_float32_and_float64_see_the_same_thresholds():
    words, one = seeds(jr.key(0)), jnp.asarray(1, jnp.int32)
    low, high = (uniform(words, one, one, d) for d in (jnp.float32, jnp.float64))
    np.testing.assert_allclose(low, high, atol=2e-7)


@pytest.mark.slow
def test_constant_intensity_is_a_poisson_process():
    rate, t1, samples = 5.0, 4.0, 2000
    window = rs.Window(0.0, t1, 0.05)
    trains = simulate_many(flat_network(rate), constant(0.0), samples, window, 60)
    counts = np.asarray(trains.count)
    mean = rate * t1
    assert abs(counts.mean() - mean) < 4 * (mean / samples) ** 0.5
    assert abs(counts.var() / mean - 1) < 4 * (2 / samples) ** 0.5
    # Given the count, the times are uniform.
    pooled = np.concatenate([t[0] for t in trains.to_lists()])
    assert scipy.stats.kstest(pooled / t1, "uniform").pvalue > 0.01
    intervals = np.asarray(trains.times[:, 1] - trains.times[:, 0])
    assert scipy.stats.kstest(intervals * rate, "expon").pvalue > 0.01


def test_refractoriness_counts_in_hazard():
    """Between spikes the hazard integrates to alpha + Exp(1)."""
    rate, alpha = 5.0, 0.7
    window = rs.Window(0.0, 6.0, 0.05)
    trains = simulate_many(flat_network(rate, alpha), constant(0.0), 2000, window, 60)
    gaps = np.asarray(trains.times[:, :3] * rate)
    gaps = np.diff(gaps, axis=1, prepend=0.0) - alpha
    assert gaps.min() > -1e-9
    assert scipy.stats.kstest(gaps.ravel(), "expon").pvalue > 0.01


@pytest.mark.slow
@pytest.mark.parametrize("sigma", [0.0, 0.5])
def test_time_rescaling_of_a_coupled_noisy_network(sigma):
    """The integrated hazard between a neuron's spikes, minus alpha, is Exp(1): any noise."""
    alpha = 0.03
    firing = rs.StochasticFiring(rs.ExponentialIntensity(), alpha)
    noise, weights = ((sigma, 0.0), (0.0, sigma)), [[0.0, 2.0], [-2.0, 0.0]]
    network = lif_network(firing, weights, sigma=noise, reset=1.4)

    def hazards(key):
        sim = rs.simulate(
            network,
            constant(1.5, 1.8),
            rs.Window(0.0, 3.0, 0.005),
            max_spikes=80,
            key=key,
            engine=rs.EventByEvent(saveat=dfx.SaveAt(steps=True)),
        )
        spikes, sol = sim.spikes, sim.states
        return sol.ts, sol.ys["v"], sol.ys["s"], spikes

    ts, v, s, spikes = jax.jit(jax.vmap(hazards))(jr.split(jr.key(5), 64))
    collected = []
    for sample in range(64):
        known = np.isfinite(ts[sample])
        t, potential = np.asarray(ts[sample])[known], np.asarray(v[sample])[known]
        rate = np.exp(np.minimum(5 * (potential - 1), 10))
        total = np.r_[[[0, 0]], np.cumsum(np.diff(t)[:, None] * (rate[1:] + rate[:-1]) / 2, 0)]
        for neuron in range(2):
            mine = np.asarray(spikes.times[sample])[np.asarray(spikes.marks[sample]) == neuron]
            at = np.searchsorted(t, mine)
            collected.append(np.diff(total[at, neuron]) - alpha)
    collected = np.concatenate(collected)
    assert len(collected) > 500
    assert scipy.stats.kstest(collected, "expon").pvalue > 0.01


def test_survival_of_the_single_neuron_without_noise():
    """P(tau > t) = min(1, exp(alpha - Lambda(t))) at several times."""
    samples = 4000
    window = rs.Window(0.0, 0.6, 0.01, stop_after=1)
    trains = simulate_many(single_neuron(0.0), constant(1.5), samples, window, 1)
    tau = np.asarray(trains.times[:, 0])
    grid = np.linspace(0, 0.6, 6001)
    hazard = np.exp(5 * (1.5 * (1 - np.exp(-15 * grid)) - 1))
    total = np.r_[0, np.cumsum((hazard[1:] + hazard[:-1]) / 2) * 1e-4]
    for t in (0.1, 0.2, 0.3, 0.5):
        expected = min(1.0, np.exp(0.03 - np.interp(t, grid, total)))
        error = max((expected * (1 - expected) / samples) ** 0.5, 1e-3)
        assert abs((tau > t).mean() - expected) < 4 * error


def test_compensator():
    """E[N_T] = E int lambda 1{Lambda > alpha} dt, here with alpha = 0."""

    def one(key):
        sim = rs.simulate(
            single_neuron(0.5, alpha=0.0),
            constant(1.5),
            rs.Window(0.0, 1.0, 0.01),
            max_spikes=30,
            key=key,
            engine=rs.EventByEvent(saveat=dfx.SaveAt(steps=True)),
        )
        spikes, sol = sim.spikes, sim.states
        known = jnp.isfinite(sol.ts)
        t = jnp.where(known, sol.ts, 1.0)
        rate = jnp.where(known, jnp.exp(jnp.minimum(5 * (sol.ys["v"][:, 0] - 1), 10)), 0)
        hazard = jnp.sum(jnp.diff(t) * (rate[1:] + rate[:-1]) / 2)
        return spikes.count.astype(hazard.dtype) - hazard

    gap = np.asarray(jax.jit(jax.vmap(one))(jr.split(jr.key(1), 2000)))
    assert abs(gap.mean()) < 3.5 * gap.std() / 2000**0.5


@pytest.mark.slow
def test_moments_of_the_noisy_membrane():
    """Potential and current without spikes are Gaussian, with moments of the linear equation."""
    mu1, mu2, t1, dt0 = 5.0, 3.0, 0.5, 0.005
    sigma = np.array([[0.4, 0.1], [0.2, 0.5]])
    firing = rs.StochasticFiring(rs.ExponentialIntensity(1.0, 50.0, 1.0))
    network = lif_network(firing, mu=(mu1, mu2), sigma=sigma)

    def one(key):
        sol = rs.simulate(
            network,
            constant(1.0),
            rs.Window(0.0, t1, dt0),
            max_spikes=1,
            key=key,
            engine=rs.EventByEvent(saveat=dfx.SaveAt(t1=True)),
        ).states
        return jnp.concatenate([sol.y1["v"], sol.y1["syn"]])

    samples = 8000
    y = np.asarray(jax.jit(jax.vmap(one))(jr.split(jr.key(0), samples)))
    a = np.array([[-mu1, mu1], [0, -mu2]])
    covariance = np.zeros((2, 2))
    for s in np.linspace(0, t1, 2001)[:-1] + t1 / 4000:
        flow = scipy.linalg.expm(a * (t1 - s)) @ sigma
        covariance += flow @ flow.T * t1 / 2000
    sd = np.sqrt(np.diag(covariance))
    mean = np.array([1 - np.exp(-mu1 * t1), 0.0])
    assert np.all(np.abs(y.mean(0) - mean) < 4 * sd / samples**0.5)
    scale = np.sqrt(np.outer(np.diag(covariance), np.diag(covariance)))
    assert np.all(np.abs(np.cov(y.T) - covariance) / scale < 4 * (2 / samples) ** 0.5)
