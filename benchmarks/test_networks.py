"""Times of large networks in lockstep: one sample of one second in 1000 cells, float32.

python -m pytest benchmarks/test_networks.py --benchmark-columns=min,median,rounds

The gradient is that in all weights. With --benchmark-json=FILE, draw_networks.py FILE PICTURE
draws them.
"""

import jax
import jax.numpy as jnp
import pytest

import roughsnn as rs

from .networks import Network
from .test_kernels import measure

CASES = [("dense", 1000, 100), ("dense", 4000, 100)]
CASES += [("sparse", neurons, 100) for neurons in (300, 1000, 4000, 10000, 30000, 100_000)]
CASES += [("sparse", 4000, synapses) for synapses in (10, 30, 300, 1000)]


@pytest.mark.parametrize("mode", ["forward", "value and grad"])
@pytest.mark.parametrize(("kind", "neurons", "synapses"), CASES)
def test_network(benchmark, kind, neurons, synapses, mode):
    """The mean spike time, as a stand-in for a loss."""
    network = Network(neurons, synapses)
    sparse = network.sparse()

    def spikes(weights):
        if kind == "sparse":
            weights = rs.SparseWeights(network.targets, weights)
        return network.simulate(weights)

    def mean_time(weights):
        found = spikes(weights)
        return jnp.sum(jnp.where(found.marks >= 0, found.times, 0)) / neurons

    weights = sparse.values if kind == "sparse" else sparse.to_dense()
    benchmark.extra_info["spikes"] = int(jax.jit(spikes)(weights).count)
    benchmark.group = f"{neurons} neurons"
    measure(benchmark, mean_time, weights, mode)
    memory = benchmark.extra_info["temporary memory (MiB)"]
    print(
        f"\n{kind}, {neurons} neurons, {mode}: {benchmark.extra_info['spikes']} spikes, "
        f"{memory:.0f} MiB"
    )
