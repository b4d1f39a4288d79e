"""Kernels of piecewise linear paths against truncated signatures, closed forms and a fine grid."""

from typing import Any

import diffrax as dfx
import jax
import jax.random as jr
import numpy as np
import pytest
import scipy.special
import signax

import roughsnn as rs

from ..helpers import constant, single_neuron

RNG = np.random.default_rng(0)
X: Any = RNG.normal(size=(6, 3)) * 0.3
Y: Any = RNG.normal(size=(5, 3)) * 0.3


def on_a_grid(x, y, static, cells: int):
    """The Goursat problem by the second-order explicit scheme of Salvi et al., in NumPy."""
    cut = lambda z: (
        np.array(
            [
                np.interp(np.linspace(0, len(z) - 1, cells * (len(z) - 1) + 1), range(len(z)), c)
                for c in z.T
            ]
        ).T
    )
    c = np.diff(np.diff(np.asarray(static(cut(x), cut(y))), axis=0), axis=1)
    k = np.ones((c.shape[0] + 1, c.shape[1] + 1))
    for i in range(c.shape[0]):
        for j in range(c.shape[1]):
            a = c[i, j]
            k[i + 1, j + 1] = (k[i + 1, j] + k[i, j + 1]) * (1 + a / 2 + a**2 / 12) - k[i, j] * (
                1 - a**2 / 12
            )
    return k[-1, -1]


def test_the_linear_kernel_is_the_inner_product_of_signatures():
    depth = 10
    signatures = jax.jit(lambda *paths: [signax.signature(z, depth) for z in paths])
    a, b = jax.device_get(signatures(X, Y))
    np.testing.assert_allclose(jax.jit(rs.PathKernel())(X, Y), 1 + a @ b, rtol=1e-12)


def test_two_straight_paths():
    """I_0(2 sqrt<x, y>), J_0 where the product is negative, and any refinement."""
    x, y = np.array([[0.0, 0.0], [0.8, 0.5]]), np.array([[0.0, 0.0], [0.6, 0.9]])
    product = float(x[1] @ y[1])
    for refine in (0, 2):
        kernel = jax.jit(rs.PathKernel(refine=refine, order=12))
        np.testing.assert_allclose(kernel(x, y), scipy.special.iv(0, 2 * product**0.5), rtol=1e-13)
        np.testing.assert_allclose(kernel(x, -y), scipy.special.jv(0, 2 * product**0.5), rtol=1e-13)


def test_reparametrisation_and_padding_change_nothing():
    again, between = X[1:2], (X[1:2] + X[2:3]) / 2
    doubled = np.concatenate([X[:2], again, again, between, X[2:], X[-1:]])
    kernel = jax.jit(rs.PathKernel())
    np.testing.assert_allclose(kernel(doubled, Y), kernel(X, Y), rtol=1e-12)


def test_the_rbf_kernel_converges_with_its_estimated_error():
    """To what a grid gives, with order two; the estimate is right within a factor of two."""
    static = rs.RBFStatic(0.7)

    @jax.jit
    def found(x, y):
        kernels = [rs.PathKernel(static, refine=r) for r in range(2, 6)]
        return [kernel(x, y) for kernel in kernels], kernels[0].error(x, y)

    values, error = jax.device_get(found(X, Y))
    grids = [on_a_grid(X, Y, jax.jit(lambda a, b: static.matrix(a, b)), n) for n in (16, 32)]
    limit = (4 * values[-1] - values[-2]) / 3
    np.testing.assert_allclose((4 * grids[1] - grids[0]) / 3, limit, rtol=1e-6)
    errors = np.abs(np.array(values) - limit)
    assert np.all(np.log2(errors[:-1] / errors[1:]) > 1.7)
    assert 0.5 < error / errors[0] < 2


@pytest.mark.parametrize("static", [rs.LinearStatic(), rs.RBFStatic(0.7)], ids=["linear", "rbf"])
def test_derivatives(static):
    kernel = rs.PathKernel(static, order=6, normalized=True)
    direction, h = RNG.normal(size=X.shape), 1e-4

    @jax.jit
    def derivatives(steps):
        along = lambda s: kernel(X + s * direction, Y)
        _, forward = jax.linearize(along, 0.0)
        (backward,) = jax.linear_transpose(forward, 0.0)(1.0)
        return jax.lax.map(along, steps), forward(1.0), backward

    steps = h * np.array([-3.0, -2.0, -1.0, 1.0, 2.0, 3.0])
    values, forward, backward = jax.device_get(derivatives(steps))
    numeric = values @ np.array([-1, 9, -45, 45, -9, 1]) / (60 * h)
    np.testing.assert_allclose(forward, numeric, rtol=1e-7, atol=1e-10)
    np.testing.assert_allclose(backward, forward, rtol=1e-10)


@pytest.mark.parametrize("points", [(6, 5), (5, 6), (2, 2), (2, 5)])
def test_diagonals_give_what_rows_give(points):
    x, y = X[: points[0]], np.concatenate([Y, Y[:1]])[: points[1]]
    both = lambda x, y: [
        jax.value_and_grad(rs.PathKernel(sweep=sweep), (0, 1))(x, y)
        for sweep in ("rows", "diagonals")
    ]
    rows, diagonals = jax.jit(both)(x, y)
    for a, b in zip(jax.tree.leaves(rows), jax.tree.leaves(diagonals), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-13, atol=1e-15)


def test_gram():
    x, y = np.stack([X, 2 * X]), np.stack([Y, -Y, Y / 2])
    for normalized in (True, False):
        kernel = rs.PathKernel(normalized=normalized)
        one = jax.jit(kernel)
        expected = [[float(one(a, b)) for b in y] for a in x]
        np.testing.assert_allclose(jax.jit(kernel.gram)(x, y), expected, rtol=1e-12)


def test_the_marcus_lift_of_a_train_is_such_a_path():
    kernel = rs.SignatureKernel(1.0, lifting=rs.MarcusLift(), taper=0.3, scaling="none", order=12)
    a = rs.SpikeTrain.from_lists([[0.2, 0.5], [0.4]], t0=0.0, t1=1.0, max_spikes=5)
    b = rs.SpikeTrain.from_lists([[0.3], [0.1, 0.9]], t0=0.0, t1=1.0)

    @jax.jit
    def found(a, b):
        lifts = [rs.marcus_lift(z, taper=0.3) for z in (a, b)]
        truncated = [signax.signature(lift, 12) for lift in lifts]
        return kernel(a, b), rs.PathKernel(order=12)(*lifts), truncated

    value, expected, truncated = jax.device_get(found(a, b))
    np.testing.assert_allclose(value, expected, rtol=1e-13)
    np.testing.assert_allclose(expected, 1 + truncated[0] @ truncated[1], rtol=1e-6)


def test_a_narrow_ramp_is_the_marcus_lift():
    make = lambda lift: rs.SignatureKernel(0.6, lifting=lift, order=8)
    a = rs.SpikeTrain.from_lists([[0.2, 0.5], [0.4]], t0=0.0, t1=1.0)
    b = rs.SpikeTrain.from_lists([[0.3], [0.1, 0.7]], t0=0.0, t1=1.0)
    lifts = (rs.MarcusLift(), rs.RampLift(0.02), rs.RampLift(0.005))
    limit, *ramps = jax.jit(lambda a, b: [make(lift)(a, b) for lift in lifts])(a, b)
    errors = [abs(float(ramp) - float(limit)) for ramp in ramps]
    assert errors[0] < 0.01 and 3 < errors[0] / errors[1] < 5


def test_membrane_paths_with_resets():
    """From `SaveAt(steps=True)`: corners with time, where each reset is a segment at one time."""

    @jax.jit
    def found():
        sim = rs.simulate(
            single_neuron(),
            constant(1.5),
            rs.Window(0.0, 1.0, 0.05),
            max_spikes=8,
            key=jr.key(0),
            engine=rs.EventByEvent(saveat=dfx.SaveAt(steps=True, t0=True)),
        )
        train, sol = sim.spikes, sim.states
        path = sol.path()
        corners = rs.marcus_lift(rs.CadlagPath(2 * path.ts, path.ys["v"]))
        return train.count, sol.ts, corners, rs.PathKernel()(corners, corners)

    count, ts, corners, value = jax.device_get(found())
    assert corners.shape == (len(ts), 2) and np.all(np.isfinite(corners))
    assert np.all(np.diff(corners[:, 0]) >= -1e-12) and corners[-1, 0] == 2.0
    steps = np.diff(corners, axis=0)
    resets = (np.abs(steps[:, 0]) < 1e-12) & (steps[:, 1] < -1)
    np.testing.assert_allclose(steps[resets, 1], -1.4)
    assert resets.sum() == count > 0
    assert np.isfinite(value) and value > 1


def test_bad_input():
    with pytest.raises(ValueError, match="same coordinates"):
        rs.PathKernel()(X, Y[:, :2])
    with pytest.raises(ValueError, match="at least two points"):
        rs.PathKernel()(X[:1], Y)
    with pytest.raises(ValueError, match="`refine`"):
        rs.PathKernel(refine=-1)
    with pytest.raises(ValueError, match="`sweep` must be 'rows' or"):
        rs.PathKernel(sweep="columns")  # pyright: ignore
