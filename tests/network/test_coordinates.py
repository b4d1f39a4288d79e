"""The coordinates of neurons with peaks: inverses, and derivatives by their values."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from roughsnn._model.coordinates import from_bounded, from_circle, to_bounded, to_circle

PAIRS = {"circle": (to_circle, from_circle), "bounded": (to_bounded, from_bounded)}
# The largest is beyond what is told from the end of the circle, or of the exponentials, in float32.
POINTS = np.array([-1e3, -30.0, -2.0, -1e-3, 0.0, 0.4, 3.0, 12.0, 25.0])


def far(name: str, dtype) -> np.ndarray:
    """Points at which the coordinate is well told from its bound."""
    return POINTS.astype(dtype) if name == "bounded" else np.append(POINTS, 1e3).astype(dtype)


@pytest.mark.parametrize("name", PAIRS)
def test_they_are_inverses(name):
    to, back = PAIRS[name]
    x = far(name, np.float64)
    np.testing.assert_allclose(back(to(x)), x, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", PAIRS)
def test_slopes(name, dtype):
    """Those of the formulas, in closed form, in float64."""
    to, back = PAIRS[name]
    x = far(name, dtype)
    wide = x.astype(np.float64)
    root = np.sqrt(1 + wide**2)
    exact = 1 / (root * (1 + root)) if name == "circle" else 1 / (1 + np.exp(wide))
    found = jax.vmap(jax.grad(to))(jnp.asarray(x))
    assert found.dtype == dtype
    rtol = 2e-6 if dtype == np.float32 else 1e-13
    np.testing.assert_allclose(found, exact, rtol=rtol)
    # At a coordinate as it is rounded.
    z = np.asarray(to(x), np.float64)
    inverse = 2 * (1 + z**2) / (1 - z**2) ** 2 if name == "circle" else -1 / np.expm1(z)
    np.testing.assert_allclose(jax.vmap(jax.grad(back))(to(x)), inverse, rtol=4 * rtol)


@pytest.mark.parametrize("name", PAIRS)
def test_second_derivatives(name):
    """By differences of the slopes."""
    x, (to, back) = jnp.asarray(POINTS[2:-1]), PAIRS[name]
    z = to(x)
    # Small beside the distance from where the coordinate ends.
    ahead = 1 - jnp.abs(z) if name == "circle" else -z
    for fn, at, step in ((to, x, 1e-5 * (1 + jnp.abs(x))), (back, z, 1e-5 * ahead)):
        slope = jax.vmap(jax.grad(fn))
        difference = (slope(at + step) - slope(at - step)) / (2 * step)
        second = jax.vmap(jax.grad(jax.grad(fn)))(at)
        np.testing.assert_allclose(second, difference, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", PAIRS)
def test_they_stay_finite(name, dtype):
    """Far beyond a peak."""
    most = np.finfo(dtype).max
    to, back = PAIRS[name]
    for x in (most, most**0.5, -(most**0.5)):
        z, slope = jax.value_and_grad(to)(jnp.asarray(x, dtype))
        assert np.isfinite(z) and np.isfinite(slope)
    v, slope = jax.value_and_grad(from_bounded)(jnp.asarray(5.0, dtype))
    assert np.isfinite(v) and slope == 0
