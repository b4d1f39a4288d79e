"""The signature kernel against truncated signatures, closed forms, differences and laws."""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
import scipy.special

import roughsnn as rs

from ..helpers import constant, single_neuron

WINDOW = 2.0


def train(*neurons, room=6, dtype=jnp.float64):
    made = rs.SpikeTrain.from_lists(neurons, t0=0.0, t1=WINDOW, max_spikes=room)
    return jax.tree.map(lambda x: x.astype(dtype) if x.dtype == jnp.float64 else x, made)


TRAINS = {
    "silent": train([], []),
    "one": train([0.7], []),
    "other": train([], [1.2]),
    "both": train([0.3, 1.1], [0.5, 1.7]),
    "many": train([0.1, 0.2, 0.9], [0.4, 1.0, 1.9]),
    "coincident": train([0.5, 0.5], [0.5, 1.2]),
    "ends": train([0.0, 1.0], [2.0]),
}
PLAIN = rs.SignatureKernel(0.3, time_scale=0.7, taper=0.0, scaling="none")


def batch_of(*trains):
    return rs.SpikeTrain.stack(trains)


def signature(x: rs.SpikeTrain, kernel: rs.SignatureKernel, depth: int) -> list[np.ndarray]:
    """Levels of e^{a e_0} (1 + w e_m) ..., by multiplication of tensors."""
    times, heights, marks = (np.asarray(z)[0] for z in kernel.spikes(batch_of(x)))
    dim = 1 + x.num_neurons
    levels = [np.ones(1)] + [np.zeros(dim**n) for n in range(1, depth + 1)]

    def times_letters(letter, coefficients):
        out = [level.copy() for level in levels]
        for n in range(depth + 1):
            word = np.zeros(1)
            for k in range(1, min(n, len(coefficients) - 1) + 1):
                word = np.zeros(dim**k)
                word[sum(letter * dim**j for j in range(k))] = coefficients[k]
                out[n] += np.kron(levels[n - k], word)
        return out

    now = 0.0
    for t, w, m in zip(times * kernel.time_scale, heights, marks, strict=True):
        levels = times_letters(0, [(t - now) ** k / math.factorial(k) for k in range(depth + 1)])
        if m >= 0:
            levels = times_letters(m + 1, [1.0, w])
        now = t
    rest = kernel.time_scale - now
    return times_letters(0, [rest**k / math.factorial(k) for k in range(depth + 1)])


@pytest.mark.parametrize("b", TRAINS)
@pytest.mark.parametrize("a", ["silent", "both", "many", "coincident", "ends"])
def test_it_is_the_inner_product_of_all_levels(a, b):
    depth = 11
    left, right = (signature(TRAINS[z], PLAIN, depth) for z in (a, b))
    expected = sum(float(x @ y) for x, y in zip(left, right, strict=True))
    np.testing.assert_allclose(PLAIN(TRAINS[a], TRAINS[b]), expected, rtol=1e-12)


@pytest.mark.parametrize("scale", [1.0, 15.0])
@pytest.mark.parametrize("dtype, tolerance", [(jnp.float64, 3e-14), (jnp.float32, 2e-6)])
def test_closed_forms(scale, dtype, tolerance):
    """Time alone gives I_0; one spike of a neuron on each side adds one matched pair."""
    bessel = lambda a, b: scipy.special.iv(0, 2 * np.sqrt(a * b))
    kernel = rs.SignatureKernel(0.6, time_scale=scale, taper=0.0, scaling="none")
    cast = functools.partial(train, dtype=dtype)
    silent = kernel(cast([], []), cast([], []))
    assert silent.dtype == dtype
    np.testing.assert_allclose(silent, bessel(scale, scale), rtol=tolerance)
    s, t = 0.35 * scale, 0.6 * scale
    matched = bessel(scale, scale) + 0.36 * bessel(s, t) * bessel(scale - s, scale - t)
    one = kernel(cast([0.7], []), cast([1.2], []))
    np.testing.assert_allclose(one, matched, rtol=tolerance)
    np.testing.assert_allclose(
        kernel(cast([0.7], []), cast([], [1.2])), bessel(scale, scale), rtol=tolerance
    )


@pytest.mark.parametrize("dtype, tolerance", [(jnp.float64, 3e-14), (jnp.float32, 2e-6)])
def test_a_dilation_needs_its_own_order(dtype, tolerance):
    """It is the same as longer time and higher jumps."""
    plain: Any = dict(taper=0.0, scaling="none")
    x, y = (train(*z, dtype=dtype) for z in (([0.3, 1.1], [0.5]), ([0.2], [])))
    dilated = rs.SignatureKernel(0.2, dilation=3.0, **plain)
    longer = rs.SignatureKernel(0.6, time_scale=3.0, **plain)
    np.testing.assert_allclose(dilated(x, y), longer(x, y), rtol=tolerance)
    order = rs.SignatureKernel(0.6, time_scale=3.0, order=24, **plain)
    np.testing.assert_allclose(longer(x, y), order(x, y), rtol=tolerance)
    with pytest.raises(ValueError, match="pass `longest`"):
        jax.jit(lambda r: rs.SignatureKernel(0.2, dilation=r, **plain)(x, y))(3.0)
    with pytest.raises(ValueError, match="longest=None"):
        rs.SignatureKernel(dilation=3.0, longest=2.0)
    traced = jax.jit(lambda r: rs.SignatureKernel(0.2, dilation=r, longest=4.0, **plain)(x, y))
    np.testing.assert_allclose(traced(3.0), longer(x, y), rtol=tolerance)


def coupled(neurons):
    weights = 0.4 * (1 - jnp.eye(neurons)) if neurons > 1 else None
    membrane = rs.LIF(jnp.array([15.0, 6.0]), jnp.array([[0.25], [0.0]]), 1.4)
    return rs.SpikingNetwork(membrane, single_neuron().firing, weights)


def batch(samples, key, neurons=2):
    network = coupled(neurons)
    drive = constant(*jnp.linspace(1.5, 1.3, neurons).tolist())
    run = lambda k: rs.simulate(network, drive, t0=0.0, t1=1.0, dt0=0.02, max_spikes=24, key=k)
    return jax.jit(jax.vmap(run))(jr.split(key, samples))


@pytest.mark.parametrize("lift", [rs.ItoLift(), rs.MarcusLift()])
def test_second_derivatives(lift):
    """In spike times of both sides: the first ones, differentiated again."""
    kernel, x, y = rs.SignatureKernel(0.4, order=3, lifting=lift), TRAINS["both"], TRAINS["many"]

    def move(z, shift):
        times = jnp.where(z.marks >= 0, z.times + shift, z.times)
        return rs.SpikeTrain(times, z.marks, z.count, z.overflow, z.t0, z.t1, z.num_neurons)

    rng = np.random.default_rng(1)
    dx, dy = (jnp.asarray(rng.normal(size=6)) for _ in range(2))
    along = lambda s: kernel(move(x, s * dx), move(y, s * dy))
    slope, h = jax.jit(jax.grad(along)), 1e-5
    second = (slope(h) - slope(-h)) / (2 * h)
    for twice in (jax.jacfwd(jax.jacrev(along)), jax.jacrev(jax.jacrev(along))):
        np.testing.assert_allclose(jax.jit(twice)(0.0), second, rtol=1e-6, atol=1e-8)


def test_bad_input():
    x = batch(3, jr.key(0))
    with pytest.raises(ValueError, match="same window"):
        rs.gram_matrix(PLAIN, x, batch(3, jr.key(0), 1))
    with pytest.raises(ValueError, match=r"batch of trains"):
        rs.gram_matrix(PLAIN, train([0.1], []), train([0.2], []))
    wrong: Any = (dict(height=-0.1), dict(taper=1.5), dict(time_scale=0.0), dict(time_scale=1e3))
    for bad in wrong:
        with pytest.raises(ValueError, match=next(iter(bad))):
            rs.SignatureKernel(**bad)
