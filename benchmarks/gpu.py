"""On an accelerator: agreement with the CPU in float32, and times; at most six minutes.

    python -m benchmarks.gpu

First the values and gradients of both engines and of kernels, here and on the CPU of the same
machine: the difference relative to the size of what is compared. With products of full precision
it is a few 1e-6; in TF32 it was 4e-3. Then medians of the time of a call. A row that would start
after `--seconds` is left out, and named. Where there is no accelerator the CPU is compared with
itself, and the largest rows are left out.
"""

import argparse
import dataclasses
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import PyTree

import roughsnn as rs

from .networks import Network
from .problems import feed_forward, mean_square
from .test_kernels import SIGNATURE, trains, with_times


@dataclasses.dataclass(frozen=True)
class Row:
    """A scalar function of parameters and of what else it takes; both made when it is run."""

    name: str
    make: Callable[[], tuple[Callable, PyTree, tuple]]
    gradient: bool = True
    compared: bool = False
    large: bool = False


def layers(engine: str, batch: int) -> Callable:
    """The network 4-16-2 of a batch."""

    def make():
        run, weights = feed_forward(engine=engine)
        return mean_square(run), weights, (jr.split(jr.key(0), batch),)

    return make


def random_network(neurons: int, dense: bool = False) -> Callable:
    """One sample of a network of 100 synapses for each neuron, 1000 cells."""

    def make():
        network = Network(neurons)
        sparse = network.sparse()

        def mean_time(values, targets):
            weights = values if dense else rs.SparseWeights(targets, values)
            found = network.simulate(weights)
            return jnp.sum(jnp.where(found.marks >= 0, found.times, 0)) / neurons

        return mean_time, sparse.to_dense() if dense else sparse.values, (network.targets,)

    return make


def gram(samples: int, default: bool = False) -> Callable:
    """A weighted sum of the kernel of all pairs of trains of 20 spikes."""

    def make():
        x, y = (trains(seed, 20, samples) for seed in (0, 1))
        kernel = rs.losses.default_kernel() if default else rs.SignatureKernel(**SIGNATURE)
        kernel = kernel.fitted(y)
        weights = np.random.default_rng(2).normal(size=(samples, samples)).astype(np.float32)

        def weighted(times, weights):
            return jnp.sum(weights * rs.gram_matrix(kernel, with_times(x, times), y))

        return weighted, x.times, (jnp.asarray(weights),)

    return make


ROWS = [
    Row("4-16-2, batch 128, lockstep", layers("lockstep", 128), compared=True),
    Row("4-16-2, batch 128, event engine", layers("event", 128), compared=True),
    Row("exact Gram matrix 128 x 128", gram(128), compared=True),
    Row("default kernel 128 x 128", gram(128, default=True), compared=True),
    Row("1000 neurons x 100 synapses", random_network(1000), compared=True),
    Row("4-16-2, batch 4096, lockstep", layers("lockstep", 4096)),
    Row("4-16-2, batch 32 768, lockstep", layers("lockstep", 32_768), large=True),
    Row("10 000 neurons x 100 synapses", random_network(10_000)),
    Row("4000 neurons, dense", random_network(4000, dense=True)),
    Row("100 000 neurons x 100 synapses", random_network(100_000), large=True),
    Row("exact Gram matrix 512 x 512", gram(512)),
    Row("default kernel 512 x 512", gram(512, default=True)),
    Row("1 000 000 neurons x 100 synapses", random_network(1_000_000), gradient=False, large=True),
]


def distance(found: PyTree, expected: PyTree) -> float:
    """|found - expected| / |expected| over all entries."""
    pairs = list(zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True))
    square = lambda z: float(np.sum(np.asarray(z, np.float64) ** 2))
    gap = sum(square(np.asarray(a, np.float64) - np.asarray(b, np.float64)) for a, b in pairs)
    return (gap / sum(square(b) for _, b in pairs)) ** 0.5


def compare(row: Row, cpu: jax.Device) -> None:
    """Value and gradient on the CPU and on the default device."""
    results = []
    for device in (jax.devices()[0], cpu):
        with jax.default_device(device):
            fn, parameters, others = row.make()
            results.append(jax.device_get(jax.jit(jax.value_and_grad(fn))(parameters, *others)))
    (value, slope), (other_value, other_slope) = results
    gaps = distance(value, other_value), distance(slope, other_slope)
    print(f"| {row.name} | value {gaps[0]:.1e}, gradient {gaps[1]:.1e} |", flush=True)


def measure(row: Row) -> str:
    """The medians of calls of the function and of its gradient, and the time of first calls."""
    fn, parameters, others = row.make()
    cells = []
    for mode in (fn, jax.value_and_grad(fn)) if row.gradient else (fn,):
        begin = time.perf_counter()
        compiled = jax.jit(mode)
        jax.block_until_ready(compiled(parameters, *others))
        first, seconds = time.perf_counter() - begin, []
        while len(seconds) < 3 or (len(seconds) < 20 and sum(seconds) < 2):
            begin = time.perf_counter()
            jax.block_until_ready(compiled(parameters, *others))
            seconds.append(time.perf_counter() - begin)
        cells.append(f"{1e3 * float(np.median(seconds)):.1f} ms (first call {first:.1f} s)")
    return " | ".join(cells if row.gradient else [*cells, "-"])


def main() -> None:
    """Prints both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=330.0, help="no row starts after this")
    arguments = parser.parse_args()
    begin, left_out = time.perf_counter(), []
    device, (cpu, *_) = jax.devices()[0], jax.devices("cpu")
    print(f"jax {jax.__version__}, {device.device_kind}, compared with {cpu.device_kind}\n")
    print("| float32 | relative difference |\n|---|---|")
    for row in ROWS:
        if row.compared:
            compare(row, cpu)
    print("\n| work | forward | value and gradient |\n|---|---|---|")
    for row in ROWS:
        late = time.perf_counter() - begin > arguments.seconds
        if late or (row.large and device.platform == "cpu"):
            left_out.append(row.name)
            continue
        print(f"| {row.name} | {measure(row)} |", flush=True)
    print(f"\n{time.perf_counter() - begin:.0f} s in all; left out: {left_out or 'nothing'}")


if __name__ == "__main__":
    main()
