"""The exact signature kernels beside pySigLib's solvers of the PDE: times and errors in one run.

pip install -e . --group benchmarks --group peers
python -m pytest benchmarks/test_kernel_peers.py --benchmark-columns=min,median,rounds

Gram matrices of 128 x 128 trains of 20 spikes of 22 neurons and the gradient in the spike times,
float32. Each row says how far values and gradients are from those in float64 at order 12.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import roughsnn as rs

from .test_kernels import NEURONS, SAMPLES, SIGNATURE, measure, trains, with_times

peer = pytest.importorskip("pysiglib.jax_api")

WEIGHTS = np.random.default_rng(2).normal(size=(SAMPLES, SAMPLES))
METHODS: dict[str, Any] = {
    "roughsnn, order 4": rs.SignatureKernel(**SIGNATURE, lifting=rs.MarcusLift(), order=4),
    "roughsnn, order 6": rs.SignatureKernel(**SIGNATURE, lifting=rs.MarcusLift(), order=6),
    "pysiglib, order 4": dict(method="polynomial", order=4),
    "pysiglib, order 6": dict(method="polynomial", order=6),
    "pysiglib, differences, dyadic order 0": dict(dyadic_order=0),
    "pysiglib, differences, dyadic order 2": dict(dyadic_order=2),
}


def gram(method, x, y):
    """Of the Marcus lifts."""
    if isinstance(method, rs.SignatureKernel):
        return rs.gram_matrix(method, x, y)
    heights = jnp.concatenate([jnp.ones(1), jnp.full(NEURONS, SIGNATURE["height"])])
    lift = jax.vmap(lambda z: rs.marcus_lift(z) * heights)
    return peer.sig_kernel_gram(lift(x), lift(y), n_jobs=-1, **method)


def loss(method, x, y, times):
    """A weighted sum of all entries."""
    return jnp.sum(jnp.asarray(WEIGHTS, times.dtype) * gram(method, with_times(x, times), y))


@functools.cache
def reference():
    """Values and gradient in float64."""
    x, y = trains(0, 20), trains(1, 20)
    with jax.enable_x64(True):
        wide = lambda z: with_times(z, jnp.asarray(np.asarray(z.times), jnp.float64))
        x, y = wide(x), wide(y)
        exact = rs.SignatureKernel(**SIGNATURE, lifting=rs.MarcusLift(), order=12)
        values = np.asarray(gram(exact, x, y))
        return values, np.asarray(jax.jit(jax.grad(lambda t: loss(exact, x, y, t)))(x.times))


@pytest.mark.parametrize("mode", ["forward", "value and grad"])
@pytest.mark.parametrize("name", METHODS)
def test_marcus_gram(benchmark, name, mode):
    """Time and error."""
    x, y, method = trains(0, 20), trains(1, 20), METHODS[name]
    values, slope = reference()
    if mode == "forward":
        error = np.max(np.abs(np.asarray(gram(method, x, y)) / values - 1))
    else:
        got = jax.jit(jax.grad(lambda t: loss(method, x, y, t)))(x.times)
        error = np.max(np.abs(np.asarray(got) - slope)) / np.max(np.abs(slope))
    benchmark.extra_info["largest relative error"] = float(error)
    benchmark.group = mode
    measure(benchmark, lambda t: loss(method, x, y, t), x.times, mode)
    print(f"\n{name}, {mode}: largest relative error {error:.1e}")
