"""The functions that the exponential step is made of."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from roughsnn._engine.phis import matrix_phis, phis

POINTS = np.concatenate([[0.0], np.logspace(-9, -0.302, 30), np.logspace(-0.3, 1.5, 40)])


def exact(k: int, derivatives: int, x: float) -> float:
    """The n-th derivative of phi_k(-x), phi_k(z) = int_0^1 e^((1-s) z) s^(k-1) ds / (k-1)!.

    By Gauss-Legendre quadrature of that integral, differentiated under the sign.
    """
    nodes, weights = np.polynomial.legendre.leggauss(60)
    s, w = (nodes + 1) / 2, weights / 2
    kernel = (s - 1) ** derivatives * np.exp(-(1 - s) * x) * s ** (k - 1)
    return float(np.sum(w * kernel)) / math.factorial(k - 1)


@pytest.mark.parametrize("order, k", [(1, 1), (2, 1), (2, 2), (3, 1), (3, 2), (3, 3)])
@pytest.mark.parametrize("derivatives", [0, 1, 2])
@pytest.mark.parametrize("dtype, tolerance", [(jnp.float64, 2e-14), (jnp.float32, 5e-6)])
def test_phi_and_its_derivatives(order, k, derivatives, dtype, tolerance):
    fn = lambda x: phis(order, x)[k]
    for _ in range(derivatives):
        fn = jax.grad(fn)
    got = np.asarray(jax.jit(jax.vmap(fn))(jnp.asarray(POINTS, dtype)))
    wanted = np.array([exact(k, derivatives, x) for x in np.asarray(jnp.asarray(POINTS, dtype))])
    # phi_k = O(1/k!) is a difference of numbers up to 1, divided k times by x >= 1/2; each
    # derivative goes one order up. The quadrature itself is off by some 1e-15.
    lost = 3.0 ** (k + derivatives)
    np.testing.assert_allclose(got, wanted, rtol=tolerance * lost, atol=5e-15)


def test_phi_in_reverse_mode():
    fn = functools.partial(phis, 2)
    for x in (0.0, 0.05, 0.3, 4.0):
        reverse = jax.jacrev(jax.jacrev(fn))(jnp.asarray(x))
        forward = jax.jacfwd(jax.jacfwd(fn))(jnp.asarray(x))
        for a, b in zip(reverse, forward, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12)


@pytest.mark.parametrize("scale", [0.01, 1.0, 30.0])
def test_phi_of_matrices(scale):
    """Of full matrices, one for each of two neurons, by their eigenvectors."""
    rng = np.random.default_rng(0)
    matrices = scale * (rng.normal(size=(2, 3, 3)) - 2 * np.eye(3))
    found = matrix_phis(jnp.asarray(matrices), np.ones((3, 3), bool).tolist(), jnp.ones(()), 3)
    for n, matrix in enumerate(matrices):
        values, vectors = np.linalg.eig(matrix)
        inverse = np.linalg.inv(vectors)
        phi = np.exp(values)
        for k, entries in enumerate(found):
            exact = (vectors * phi @ inverse).real
            got = np.array([[np.asarray(x)[n] for x in row] for row in entries])
            slack = 1e-9 * scale**-k if scale < 1 else 1e-11
            np.testing.assert_allclose(got, exact, rtol=1e-9, atol=slack)
            phi = (phi - 1 / math.factorial(k)) / values
