"""The signature kernel against truncated signatures, closed forms, differences and laws."""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

import roughsnn as rs

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
    return jax.tree.map(lambda *z: np.stack(z), *trains)


plain_kernel = jax.jit(lambda x, y: PLAIN(x, y))
plain_spikes = jax.jit(lambda x: PLAIN.spikes(x))


@functools.cache
def signature(name: str, depth: int) -> list[np.ndarray]:
    """Levels of e^{a e_0} (1 + w e_m) ..., by multiplication of tensors."""
    times, heights, marks = (np.asarray(z)[0] for z in plain_spikes(batch_of(TRAINS[name])))
    dim = 1 + TRAINS[name].num_neurons
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
    for t, w, m in zip(times * PLAIN.time_scale, heights, marks, strict=True):
        levels = times_letters(0, [(t - now) ** k / math.factorial(k) for k in range(depth + 1)])
        if m >= 0:
            levels = times_letters(m + 1, [1.0, w])
        now = t
    rest = PLAIN.time_scale - now
    return times_letters(0, [rest**k / math.factorial(k) for k in range(depth + 1)])


@pytest.mark.parametrize("b", TRAINS)
@pytest.mark.parametrize("a", ["silent", "both", "many", "coincident", "ends"])
def test_it_is_the_inner_product_of_all_levels(a, b):
    depth = 11
    left, right = (signature(z, depth) for z in (a, b))
    expected = sum(float(x @ y) for x, y in zip(left, right, strict=True))
    np.testing.assert_allclose(plain_kernel(TRAINS[a], TRAINS[b]), expected, rtol=1e-12)


@pytest.mark.parametrize("scale", [1.0, 15.0])
@pytest.mark.parametrize("dtype, tolerance", [(jnp.float64, 3e-14), (jnp.float32, 2e-6)])
def test_closed_forms(scale, dtype, tolerance):
    """Time alone gives I_0; one spike of a neuron on each side adds one matched pair."""
    bessel = lambda a, b: scipy.special.iv(0, 2 * np.sqrt(a * b))
    kernel = rs.SignatureKernel(0.6, time_scale=scale, taper=0.0, scaling="none")
    lists = (([], []), ([0.7], []), ([1.2], []), ([], [1.2]))
    trains = [train(*z, dtype=dtype) for z in lists]
    silent, one, unmatched = jax.jit(
        lambda n, x, same, other: (kernel(n, n), kernel(x, same), kernel(x, other))
    )(*trains)
    assert silent.dtype == dtype
    np.testing.assert_allclose(silent, bessel(scale, scale), rtol=tolerance)
    s, t = 0.35 * scale, 0.6 * scale
    matched = bessel(scale, scale) + 0.36 * bessel(s, t) * bessel(scale - s, scale - t)
    np.testing.assert_allclose(one, matched, rtol=tolerance)
    np.testing.assert_allclose(unmatched, bessel(scale, scale), rtol=tolerance)


@pytest.mark.parametrize("dtype, tolerance", [(jnp.float64, 3e-14), (jnp.float32, 2e-6)])
def test_a_dilation_needs_its_own_order(dtype, tolerance):
    """It is the same as longer time and higher jumps."""
    plain: Any = dict(taper=0.0, scaling="none")
    x, y = (train(*z, dtype=dtype) for z in (([0.3, 1.1], [0.5]), ([0.2], [])))

    @jax.jit
    def values(x, y, dilation):
        kernels = (
            rs.SignatureKernel(0.2, dilation=3.0, **plain),
            rs.SignatureKernel(0.6, time_scale=3.0, order=24, **plain),
            rs.SignatureKernel(0.2, dilation=dilation, longest=4.0, **plain),
        )
        longer = rs.SignatureKernel(0.6, time_scale=3.0, **plain)
        return [kernel(x, y) for kernel in kernels], longer(x, y)

    found, longer = values(x, y, 3.0)
    np.testing.assert_allclose(found, np.full(3, longer), rtol=tolerance)
    with pytest.raises(ValueError, match="pass `longest`"):
        jax.eval_shape(lambda r: rs.SignatureKernel(0.2, dilation=r, **plain)(x, y), 3.0)
    with pytest.raises(ValueError, match="longest=None"):
        rs.SignatureKernel(dilation=3.0, longest=2.0)


@pytest.mark.slow
@pytest.mark.parametrize("lift", [rs.ItoLift(), rs.MarcusLift()])
def test_second_derivatives(lift):
    """In spike times of both sides: the first ones, differentiated again."""
    kernel, x, y = rs.SignatureKernel(0.4, order=3, lifting=lift), TRAINS["both"], TRAINS["many"]

    def move(z, shift):
        times = jnp.where(z.marks >= 0, z.times + shift, z.times)
        return rs.SpikeTrain(times, z.marks, z.count, z.overflow, z.t0, z.t1, z.num_neurons)

    rng = np.random.default_rng(1)
    dx, dy = (jnp.asarray(rng.normal(size=6)) for _ in range(2))
    slope, h = jax.grad(lambda s: kernel(move(x, s * dx), move(y, s * dy))), 1e-5

    @jax.jit
    def derivatives():
        _, forward = jax.linearize(slope, 0.0)
        (backward,) = jax.linear_transpose(forward, 0.0)(1.0)
        return jax.lax.map(slope, jnp.array([h, -h])), forward(1.0), backward

    (above, below), *second = jax.device_get(derivatives())
    for found in second:
        np.testing.assert_allclose(found, (above - below) / (2 * h), rtol=1e-6, atol=1e-8)


def test_bad_input():
    with pytest.raises(ValueError, match="same window"):
        rs.gram_matrix(PLAIN, batch_of(train([0.1], [])), batch_of(train([0.1])))
    with pytest.raises(ValueError, match=r"batch of trains"):
        rs.gram_matrix(PLAIN, train([0.1], []), train([0.2], []))
    wrong: Any = (dict(height=-0.1), dict(taper=1.5), dict(time_scale=0.0), dict(time_scale=1e3))
    for bad in wrong:
        with pytest.raises(ValueError, match=next(iter(bad))):
            rs.SignatureKernel(**bad)
