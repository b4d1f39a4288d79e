"""Times of large networks in lockstep: one sample of one second in 1000 cells, float32.

python -m pytest benchmarks/test_networks.py --benchmark-columns=min,median,rounds

Each neuron has 100 synapses, balanced; the gradient is that in all weights.
"""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import roughsnn as rs

from .test_kernels import measure

SYNAPSES = 100
CASES = [("dense", 1000), ("dense", 4000), ("sparse", 1000), ("sparse", 4000), ("sparse", 10000)]


@pytest.mark.parametrize("mode", ["forward", "value and grad"])
@pytest.mark.parametrize(("kind", "neurons"), CASES)
def test_network(benchmark, kind, neurons, mode):
    """The mean spike time, as a stand-in for a loss."""
    rng = np.random.default_rng(0)
    steps = 1 + rng.integers(0, neurons - 1, (neurons, SYNAPSES))
    targets = ((np.arange(neurons)[:, None] + steps) % neurons).astype(np.int32)
    values = jnp.asarray(rng.normal(size=targets.shape) * 0.03, jnp.float32)
    sparse = rs.SparseWeights(targets, values)
    drive = jnp.asarray(rng.uniform(0.5, 1.4, neurons), jnp.float32)
    membrane = rs.LIF(mu=(20.0, 100.0), sigma=((0.3, 0.0), (0.0, 0.0)), v_reset=1.0)
    firing = rs.StochasticFiring(rs.ExponentialIntensity(5.0, 1.0, 1.0), 0.03)

    def spikes(weights):
        if kind == "sparse":
            weights = rs.SparseWeights(targets, weights)
        return rs.simulate(
            rs.SpikingNetwork(membrane, firing, weights), lambda t: drive, t0=0.0, t1=1.0,
            dt0=0.001, max_spikes=10 * neurons, key=jr.key(0), method="lockstep",
        )  # fmt: skip

    def mean_time(weights):
        found = spikes(weights)
        return jnp.sum(jnp.where(found.marks >= 0, found.times, 0)) / neurons

    weights = values if kind == "sparse" else sparse.to_dense()
    benchmark.extra_info["spikes"] = int(jax.jit(spikes)(weights).count)
    benchmark.group = f"{neurons} neurons"
    measure(benchmark, mean_time, weights, mode)
    memory = benchmark.extra_info["temporary memory (MiB)"]
    print(f"\n{kind}, {neurons} neurons, {mode}: {benchmark.extra_info['spikes']} spikes, "
          f"{memory:.0f} MiB")  # fmt: skip
