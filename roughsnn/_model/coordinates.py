r"""Coordinates in which the upstroke of a spike is smooth and slow, and drifts that stay finite.

Where the potential runs away in finite time, a coordinate that is bounded above turns this into
motion at a finite speed: for $u' = u^2$ the tangent of a quarter of the angle $2\arctan u$, which
is as smooth as the angle and needs no trigonometry; $-\log(1 + e^{-x})$ for $x' = e^x$. They have
derivatives by their values, which take far less time than those by their operations.
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


@jax.custom_jvp
def to_circle(u: Scalar) -> Scalar:
    """$z = u/(1 + \\sqrt{1 + u^2})$, from -1 to 1; constant where rounding does not tell it from
    them, from some 2e6 on in float32, 1e15 in float64."""
    u, root = _on_circle(u)
    return u / (1 + root)


@to_circle.defjvp
def _(primals, tangents):
    u, root = _on_circle(*primals)
    return u / (1 + root), tangents[0] / (root * (1 + root))


def _on_circle(u: Scalar) -> tuple[Scalar, Scalar]:
    """The potential, within its limits, and $\\sqrt{1 + u^2}$."""
    most = 0.25 / float(jnp.finfo(u.dtype).eps)
    u = jnp.clip(u, -most, most)
    return u, jnp.sqrt(1 + jnp.square(u))


@jax.custom_jvp
def from_circle(z: Scalar) -> Scalar:
    """Its inverse, $2 z/(1 - z^2)$. Beyond 1 it comes from below, as motion on a circle does."""
    return 2 * z / ((1 - z) * (1 + z))


@from_circle.defjvp
def _(primals, tangents):
    (z,) = primals
    slope = 2 * (1 + jnp.square(z)) / jnp.square((1 - z) * (1 + z))
    return from_circle(z), slope * tangents[0]


def exponential(x: Scalar) -> Scalar:
    """exp(x), and constant from `largest_exponent` on: a step that goes beyond the peak stays
    finite."""
    return jnp.exp(jnp.minimum(x, largest_exponent(x)))


def largest_exponent(x: Scalar) -> float:
    """From where on exponentials are constant: 59 in float32, 300 in float64."""
    return min(0.67 * math.log(jnp.finfo(x.dtype).max), 300.0)


@jax.custom_jvp
def to_bounded(x: Scalar) -> Scalar:
    """$-\\log(1 + e^{-x})$: x where that is far below 0, $-e^{-x}$ where it is far above."""
    return jnp.minimum(x, 0) - jnp.log1p(jnp.exp(-jnp.abs(x)))


@to_bounded.defjvp
def _(primals, tangents):
    z = to_bounded(*primals)
    return z, -jnp.expm1(z) * tangents[0]


@jax.custom_jvp
def from_bounded(z: Scalar) -> Scalar:
    """Its inverse, $-\\log(e^{-z} - 1)$; `largest_exponent` where z is above what it has there."""
    s = jnp.maximum(-z, math.exp(-largest_exponent(z)))
    return -(s + jnp.log(-jnp.expm1(-s)))


@from_bounded.defjvp
def _(primals, tangents):
    (z,) = primals
    most = -math.exp(-largest_exponent(z))
    slope = jnp.where(z < most, -1 / jnp.expm1(jnp.minimum(z, most)), 0)
    return from_bounded(z), slope * tangents[0]
