"""Times of the Gram matrix of 128 x 128 trains and of its gradient in the spike times, float32.

python -m pytest benchmarks/test_kernels.py --benchmark-columns=min,median,rounds

See docs/speed.md for a flag of XLA with which a CPU takes about half of the time.
"""

import functools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import roughsnn as rs

SAMPLES, NEURONS = 128, 22


def trains(seed: int, spikes: int, samples: int = SAMPLES) -> rs.SpikeTrain:
    """Trains of random times and neurons."""
    rng = np.random.default_rng(seed)
    return rs.SpikeTrain(
        times=jnp.asarray(np.sort(rng.uniform(size=(samples, spikes)), axis=1), jnp.float32),
        marks=jnp.asarray(rng.integers(0, NEURONS, (samples, spikes)), jnp.int32),
        count=jnp.full(samples, spikes, jnp.int32),
        overflow=jnp.zeros(samples, bool),
        t0=0.0,
        t1=1.0,
        num_neurons=NEURONS,
    )


SIGNATURE: Any = dict(height=0.5, taper=0.0, scaling="none")
KERNELS = {
    "signature, Ito": lambda: rs.SignatureKernel(**SIGNATURE),
    "signature, Ito, order 4": lambda: rs.SignatureKernel(**SIGNATURE, order=4),
    "signature, Marcus": lambda: rs.SignatureKernel(**SIGNATURE, lifting=rs.MarcusLift()),
    "signature, ramp": lambda: rs.SignatureKernel(**SIGNATURE, lifting=rs.RampLift()),
    "default": rs.losses.default_kernel,
}
CASES = [("signature, Ito", spikes) for spikes in (10, 20, 40)]
CASES += [(name, 20) for name in KERNELS if name != "signature, Ito"]


def measure(benchmark, loss, times, mode):
    """Times a loss of spike times, or it and its gradient."""
    fn = jax.jit(loss if mode == "forward" else jax.value_and_grad(loss))
    compiled = fn.lower(times).compile()
    analysis = compiled.memory_analysis()
    memory = float("nan") if analysis is None else analysis.temp_size_in_bytes / 2**20
    benchmark.extra_info["temporary memory (MiB)"] = memory
    run = functools.partial(compiled, times)
    benchmark.pedantic(lambda: jax.block_until_ready(run()), rounds=5, warmup_rounds=1)


def with_times(x: rs.SpikeTrain, times) -> rs.SpikeTrain:
    """The trains at other times."""
    return rs.SpikeTrain(times, x.marks, x.count, x.overflow, 0.0, 1.0, NEURONS)


@pytest.mark.parametrize("mode", ["forward", "value and grad"])
@pytest.mark.parametrize(("name", "spikes"), CASES)
def test_gram(benchmark, name, spikes, mode):
    """A weighted sum of all entries."""
    x, y = trains(0, spikes), trains(1, spikes)
    kernel = KERNELS[name]().fitted(y)
    weights = jnp.asarray(np.random.default_rng(2).normal(size=(SAMPLES, SAMPLES)), jnp.float32)

    def weighted(times):
        return jnp.sum(weights * rs.gram_matrix(kernel, with_times(x, times), y))

    benchmark.group = f"{spikes} spikes"
    measure(benchmark, weighted, x.times, mode)


@pytest.mark.parametrize("mode", ["forward", "value and grad"])
@pytest.mark.parametrize("loss", ["mmd", "depth 3 by signax"])
def test_loss(benchmark, loss, mode):
    """A whole loss, with scales from both sides; the signature of depth 3 as a yardstick."""
    x, y = trains(0, 20), trains(1, 20)
    fn = rs.losses.mmd if loss == "mmd" else rs.losses.expected_signature
    benchmark.group = "losses, 20 spikes"
    measure(benchmark, lambda t: fn(with_times(x, t), y, allow_jumps=True), x.times, mode)


@pytest.mark.parametrize("block_size", [None, 32])
@pytest.mark.parametrize("samples", [128, 256, 512])
def test_growth_with_samples(benchmark, samples, block_size):
    """Value and gradient of the MMD with all pairs, and in blocks of samples."""
    x, y = trains(0, 20, samples), trains(1, 20, samples)
    kernel = KERNELS["signature, Ito"]().fitted(y)

    def loss(times):
        return rs.losses.mmd(
            with_times(x, times), y, kernel=kernel, block_size=block_size, allow_jumps=True
        )

    benchmark.group = "growth with samples"
    measure(benchmark, loss, x.times, "value and grad")


@pytest.mark.parametrize("mode", ["forward", "value and grad"])
@pytest.mark.parametrize("room", [None, 40, 30])
def test_room_per_neuron(benchmark, room, mode):
    """The MMD of 40 + 40 trains of six neurons of up to 24 spikes, with room for 140 in all."""
    counts = np.random.default_rng(3).integers(6, 25, (2, 40, 6))

    def batch(counts):
        rng = np.random.default_rng(4)
        made = [[np.sort(rng.uniform(0, 1, n)) for n in trial] for trial in counts]
        return rs.SpikeTrain.stack(
            rs.SpikeTrain.from_lists(t, t0=0.0, t1=1.0, max_spikes=140) for t in made
        )

    x, y = map(batch, counts)
    kernel = rs.PerNeuronKernel(rs.SignatureKernel(), room)
    benchmark.group = f"six neurons, {mode}"

    def loss(times):
        return rs.losses.mmd(eqx.tree_at(lambda z: z.times, x, times), y, kernel=kernel)

    measure(benchmark, loss, x.times, mode)
