"""Times of the Gram matrix of 128 x 128 trains and of its gradient in the spike times, float32.

python -m pytest benchmarks/test_kernels.py --benchmark-columns=min,median,rounds
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import roughsnn as rs

SAMPLES, NEURONS = 128, 22


def trains(seed: int, spikes: int) -> rs.SpikeTrain:
    """Trains of random times and neurons."""
    rng = np.random.default_rng(seed)
    return rs.SpikeTrain(
        times=jnp.asarray(np.sort(rng.uniform(size=(SAMPLES, spikes)), axis=1), jnp.float32),
        marks=jnp.asarray(rng.integers(0, NEURONS, (SAMPLES, spikes)), jnp.int32),
        count=jnp.full(SAMPLES, spikes, jnp.int32),
        overflow=jnp.zeros(SAMPLES, bool),
        t0=0.0,
        t1=1.0,
        num_neurons=NEURONS,
    )


@pytest.mark.parametrize("mode", ["forward", "value and grad"])
@pytest.mark.parametrize("spikes", [10, 20, 40])
def test_gram(benchmark, spikes, mode):
    x, y = trains(0, spikes), trains(1, spikes)
    kernel = rs.SignatureKernel(0.5, taper=0.0, scaling="none")
    weights = jnp.asarray(np.random.default_rng(2).normal(size=(SAMPLES, SAMPLES)), jnp.float32)

    def weighted(times):
        moved = rs.SpikeTrain(times, x.marks, x.count, x.overflow, 0.0, 1.0, NEURONS)
        return jnp.sum(weights * rs.gram_matrix(kernel, moved, y))

    fn = jax.jit(weighted if mode == "forward" else jax.value_and_grad(weighted))
    compiled = fn.lower(x.times).compile()
    analysis = compiled.memory_analysis()
    memory = float("nan") if analysis is None else analysis.temp_size_in_bytes / 2**20
    benchmark.extra_info["temporary memory (MiB)"] = memory
    benchmark.group = f"{spikes} spikes"
    run = functools.partial(compiled, x.times)
    benchmark.pedantic(lambda: jax.block_until_ready(run()), rounds=5, warmup_rounds=1)
