r"""The signature kernel of piecewise linear paths, segment by segment.

With segments $\Delta x_i$ and $\Delta y_j$ run through in unit time, the kernel solves
$\partial_s\partial_t k = \langle\Delta x_i, \Delta y_j\rangle k$ on cell (i, j): a constant
coefficient, for which `cell.py` has the solution. Exact for the linear static kernel, up to the
order that is carried.
"""

import functools as ft
import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .cell import far_sides, taylor


@ft.partial(jax.jit, static_argnums=1)
def goursat(
    coefficients: Float[Array, "segments other_segments *batch"], order: int
) -> Float[Array, " *batch"]:
    """k at the far corner, for the coefficients of all cells; 1 on the two near sides."""
    shape, dtype = coefficients.shape[2:], coefficients.dtype
    zero, one = jnp.zeros(shape, dtype), jnp.ones(shape, dtype)
    steps = [1 / math.factorial(j) for j in range(1, order + 1)]

    def cell(left, column):
        c, (corner, bottom) = column
        powers = [c]
        for _ in range(order - 1):
            powers.append(powers[-1] * c)
        top, right = far_sides(corner, bottom, left, steps, steps, powers)
        return tuple(right), (top[0], tuple(top[1:]))

    def row(state, c):
        return jax.lax.scan(cell, (zero,) * order, (c, state))[1], None

    fill = lambda z: jnp.broadcast_to(z, coefficients.shape[1:])  # noqa: E731
    (corner, bottom), _ = jax.lax.scan(row, (fill(one), (fill(zero),) * order), coefficients)
    return taylor(corner[-1], [z[-1] for z in bottom], steps)


def coefficients_of(
    x: Float[Array, "*batch segments coordinates"],
    y: Float[Array, "*others other_segments coordinates"],
) -> Float[Array, "segments other_segments *both"]:
    """Inner products of segments; batches broadcast, and come last."""
    products = jnp.matmul(x, jnp.swapaxes(y, -1, -2))
    return jnp.moveaxis(products, (-2, -1), (0, 1))


@ft.partial(jax.checkpoint, static_argnums=2)
def segment_kernel(x, y, order: int) -> Float[Array, " *both"]:
    """The kernel of pairs of piecewise linear paths, from their segments; for a derivative the
    sweep is made once more, and keeps what it needs of each cell."""
    return goursat(coefficients_of(x, y), order)
