"""One training step of a recurrent network of 200 neurons on 50 trials of one second, compiled.

python -m pytest benchmarks/test_fitting.py --benchmark-columns=min,median,rounds
"""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import roughsnn as rs

NEURONS, TRIALS = 200, 50
T1 = 1.0
TS, TAU = jnp.linspace(0.02, 1.0, 50), 0.02


def network(weights):
    firing = rs.StochasticFiring(rs.ExponentialIntensity(5.0, 1.0, 0.02))
    ports = {"syn": rs.synapses.Exponential(0.01)}
    population = rs.Population(NEURONS, rs.neurons.LIF(0.02), firing, ports)
    return rs.SpikingNetwork(population, weights=weights)


def drive(t):
    return 0.5 + 0.3 * jnp.sin(2 * jnp.pi * 2 * t + jnp.arange(float(NEURONS)))


def simulate(weights, key, dt):
    one = lambda key: (
        rs.simulate(
            network(weights), drive, rs.Window(0.0, T1, dt), max_spikes=3000, key=key
        ).spikes
    )
    return jax.vmap(one)(jr.split(key, TRIALS))


def likelihood(weights, data, key, dt):
    del key
    one = lambda train: (
        rs.clamp(network(weights), drive, train, rs.Window(0.0, T1, dt)).log_likelihood
    )
    return -jnp.sum(jax.vmap(one)(data)) / TRIALS


def measure(weights, data, key, dt):
    x = simulate(weights, key, dt)
    covariance = rs.losses.covariance_distance(x, data, TS, TAU)
    return rs.losses.psth_distance(x, data, TS, TAU) + covariance


LOSSES = {
    "likelihood": [likelihood],
    "sample_and_measure": [measure],
    "both": [likelihood, measure],
}


@pytest.mark.parametrize("dt", [2e-3, 1e-3])
@pytest.mark.parametrize("name", LOSSES)
def test_training_step(benchmark, name, dt):
    rng = np.random.default_rng(0)
    weights = rng.normal(size=(NEURONS, NEURONS)) * 0.1
    weights *= (rng.uniform(size=weights.shape) < 0.2) & ~np.eye(NEURONS, dtype=bool)
    weights = jnp.asarray(weights, jnp.float32)
    data = jax.jit(simulate, static_argnums=2)(weights, jr.key(0), dt)
    loss = lambda w, key: sum(loss(w, data, key, dt) for loss in LOSSES[name])
    step = jax.jit(jax.value_and_grad(loss))
    run = lambda: jax.block_until_ready(step(weights, jr.key(1)))
    run()
    benchmark.pedantic(run, rounds=5)
