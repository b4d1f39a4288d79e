r"""Coordinates in which the upstroke of a spike is smooth and slow, and drifts that stay finite.

Where the potential runs away in finite time, a coordinate that is bounded above turns this into
motion at a finite speed: $2\arctan u$ for $u' = u^2$, $-\log(1 + e^{-x})$ for $x' = e^x$.
"""

import math

import jax
import jax.numpy as jnp

from .._types import Scalar


def square(u: Scalar) -> Scalar:
    """u², and constant from some 4e9 on in float32, 1e77 in float64: a step that goes beyond the
    peak stays finite."""
    most = float(jnp.finfo(u.dtype).max) ** 0.25
    return jnp.square(jnp.clip(u, -most, most))


def to_angle(u: Scalar) -> Scalar:
    """The angle $2\\arctan u$, from -π to π; constant where rounding does not tell it from them,
    from some 2e6 on in float32, 1e15 in float64."""
    most = 0.25 / float(jnp.finfo(u.dtype).eps)
    return 2 * jnp.arctan(jnp.clip(u, -most, most))


def from_angle(z: Scalar) -> Scalar:
    """Its inverse. Beyond π it comes from below, as the motion on the circle does."""
    return jnp.tan(z / 2)


def exponential(x: Scalar) -> Scalar:
    """exp(x), and constant from `largest_exponent` on: a step that goes beyond the peak stays
    finite."""
    return jnp.exp(jnp.minimum(x, largest_exponent(x)))


def largest_exponent(x: Scalar) -> float:
    """From where on exponentials are constant: 59 in float32, 300 in float64."""
    return min(0.67 * math.log(jnp.finfo(x.dtype).max), 300.0)


def to_bounded(x: Scalar) -> Scalar:
    """$-\\log(1 + e^{-x})$: x where that is far below 0, $-e^{-x}$ where it is far above."""
    return -jax.nn.softplus(-x)


def from_bounded(z: Scalar) -> Scalar:
    """Its inverse, $-\\log(e^{-z} - 1)$; `largest_exponent` where z is above what it has there."""
    s = jnp.maximum(-z, math.exp(-largest_exponent(z)))
    return -(s + jnp.log(-jnp.expm1(-s)))
