import functools

import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
import pytest

import roughsnn as rs

CROSSINGS = {
    "closed form": rs.QuadraticCrossing(),
    "closed form on halves": rs.QuadraticCrossing(pieces=2),
    "Chandrupatla": rs.BracketedCrossing(rs.Chandrupatla()),
    "bisection": rs.BracketedCrossing(optx.Bisection(rtol=1e-14, atol=1e-14, flip=False)),
    "Newton": rs.BracketedCrossing(optx.Newton(rtol=1e-12, atol=1e-12)),
}


def first(name, coefficients, length=1.0):
    """The first crossing of rows a + b r + c r^2."""
    return _first(name, np.array(coefficients, float), length)


@functools.partial(jax.jit, static_argnums=0)
def _first(name, coefficients, length):
    a, b, c = coefficients.T

    def along(r):
        return a + b * r + c * r**2

    return CROSSINGS[name].first(along, length, along(jnp.zeros(())), along(length))


@pytest.mark.parametrize("name", CROSSINGS)
def test_offset_index_and_slope(name):
    # Roots at 0.8, 0.5 (first), and none.
    found = first(name, [[-0.8, 1, 0], [-0.75, 1, 1], [-1, 0.5, 0]])
    np.testing.assert_allclose(found.offset, 0.5, rtol=1e-14)
    assert int(found.index) == 1
    np.testing.assert_allclose(found.slope, 2.0, rtol=1e-12)


@functools.cache
def derivatives(name):
    """First and second ones of the root of a + r + r^2, by each mode."""

    def offset(a):
        coefficients = jnp.stack([a, jnp.ones(()), jnp.ones(())])[None]
        b, c = coefficients[:, 1], coefficients[:, 2]

        def along(r):
            return coefficients[:, 0] + b * r + c * r**2

        one = jnp.ones(())
        return CROSSINGS[name].first(along, one, along(0 * one), along(one)).offset

    modes = (jax.jacfwd, jax.jacrev)
    both = jax.jit(lambda a: [(d(offset)(a), d(d(offset))(a)) for d in modes])(-0.75)
    return dict(zip(modes, jax.device_get(both), strict=True))


@pytest.mark.parametrize("name", CROSSINGS)
@pytest.mark.parametrize("transform", [jax.jacfwd, jax.jacrev])
def test_first_and_second_derivatives(name, transform):
    """r(a) = (-1 + sqrt(1 - 4a))/2."""
    slope, curvature = derivatives(name)[transform]
    root = (1 - 4 * -0.75) ** 0.5
    np.testing.assert_allclose(slope, -1 / root, rtol=1e-10)
    np.testing.assert_allclose(curvature, -2 / root**3, rtol=1e-8)


@pytest.mark.parametrize("name", CROSSINGS)
def test_a_coordinate_above_zero_fires_at_once(name):
    found = first(name, [[-0.8, 1, 0], [0.1, 1, 0]])
    assert float(found.offset) == 0 and int(found.index) == 1


@pytest.mark.parametrize("name", CROSSINGS)
def test_no_crossing_is_finite_with_finite_derivative(name):
    def offset(a):
        return first_of(a).offset

    def first_of(a):
        one = jnp.ones(())

        def along(r):
            return jnp.stack([a - 0.1 * r])

        return CROSSINGS[name].first(along, one, along(0 * one), along(one))

    value, slope = jax.jit(jax.value_and_grad(offset))(-1.0)
    assert np.isfinite(value) and np.isfinite(slope)


@pytest.mark.parametrize("name", CROSSINGS)
def test_leaving_zero_downwards_is_no_event(name):
    """From 0, down, and up again through 0.5: only the closed form sees the second root."""
    down = first(name, [[-0.8, 1, 0], [0.0, -1, 0]])
    assert int(down.index) == 0
    np.testing.assert_allclose(down.offset, 0.8, rtol=1e-14)
    if name == "closed form":
        np.testing.assert_allclose(first(name, [[0.0, -1, 2]]).offset, 0.5)


@pytest.mark.parametrize("level, root", [(-0.3, 0.3), (-0.75, (3**0.5 + 1) / 4)])
def test_pieces_have_quadratics_of_their_own(level, root):
    """Straight up to the middle, curved behind it; also for the derivative in the level."""

    def offset(level):
        one = jnp.ones(())

        def along(r):
            return (level + r + 2 * jnp.maximum(r - 0.5, 0) ** 2)[None]

        return rs.QuadraticCrossing(pieces=2).first(along, one, along(0 * one), along(one)).offset

    value, slope = jax.jit(jax.value_and_grad(offset))(level)
    np.testing.assert_allclose(value, root, rtol=1e-14)
    speed = 1.0 if root < 0.5 else 3**0.5
    np.testing.assert_allclose(slope, -1 / speed, rtol=1e-14)


@pytest.mark.parametrize("name", CROSSINGS)
def test_a_double_root_has_no_slope(name):
    found = first(name, [[-0.25, 1.0, -1.0]], length=0.5)
    assert float(found.slope) < 1e-6
