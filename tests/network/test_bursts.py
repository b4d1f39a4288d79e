"""Networks that burst: how many spikes they have in cells that are not short, and its gradient."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import roughsnn as rs

ENGINES = {"event": rs.EventByEvent(), "lockstep": rs.Lockstep()}
EXCITES = [[0, 0.3, 0.3], [0.3, 0, 0.3], [0.3, 0.3, 0]]
INHIBITS = [[0, 0.6, -0.8], [0.6, 0, 0.4], [0.4, -0.6, 0]]
# Weights, noise on the potential, delays: some 45 spikes in 2 units of time.
NETWORKS: dict[str, tuple[Any, float, float]] = {
    "excitation": (EXCITES, 0.25, 0.0),
    "no noise": (EXCITES, 0.0, 0.0),
    "inhibition": (INHIBITS, 0.25, 0.0),
    "delays": (EXCITES, 0.25, 0.04),
}
T1, SAMPLES = 2.0, 1000


def bursting(weights, sigma, delay) -> rs.SpikingNetwork:
    firing = rs.StochasticFiring(rs.ExponentialIntensity(5.0, 1.0, 1.0), 0.03)
    noise = None if sigma == 0 else sigma
    neuron = rs.neurons.LIF(1 / 15, rs.Subtract(1.4), sigma=noise)
    ports = {"syn": rs.synapses.Exponential(1 / 6)}
    population = rs.Population(3, neuron, firing, ports)
    link = rs.Projection("a", "a", weights, "syn", delay=delay or None)
    return rs.SpikingNetwork({"a": population}, [link])


def spike_times(network, drive, key, engine, dt0):
    window = rs.Window(0.0, T1, dt0)
    fixed: Any = dict(key=key, max_spikes=300, engine=engine)
    return rs.simulate(network, jnp.full(3, drive), window, **fixed).spikes.times


@functools.cache
def means(name: str, engine: str, dt0: float):
    """Of each sample the count and the time that spikes leave until the end, and the derivative of
    that in the drive: it is continuous where a spike comes in."""
    weights, sigma, delay = NETWORKS[name]
    network = bursting(jnp.array(weights), sigma, delay)

    def one(key):
        def left(drive):
            times = spike_times(network, drive, key, ENGINES[engine], dt0)
            return jnp.sum(jnp.maximum(T1 - times, 0)), jnp.sum(times < T1)

        (total, count), slope = jax.jvp(left, (1.2,), (1.0,))
        return count.astype(total.dtype), total, slope[0]

    return np.asarray(jax.jit(jax.vmap(one))(jr.split(jr.key(0), SAMPLES)))


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", NETWORKS)
def test_counts_and_gradients_in_cells_that_are_not_short(name, engine):
    """The same noise and thresholds at every `dt0`: differences have small errors."""
    fine = means(name, engine, 0.0025)
    for dt0, bound in ((0.04, 0.03), (0.02, 0.01)):
        count, total, slope = means(name, engine, dt0) - fine
        for x, whole, most in ((count, fine[0], bound), (total, fine[1], bound)):
            error = np.std(x) / SAMPLES**0.5
            assert abs(np.mean(x)) < most * np.mean(whole) + 3 * error
            assert 3 * error < 0.02 * np.mean(whole)
        if dt0 == 0.02:
            error = np.std(slope) / SAMPLES**0.5
            assert abs(np.mean(slope)) < 0.02 * np.mean(fine[2]) + 3 * error, (error, fine[2])
