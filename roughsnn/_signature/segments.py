r"""The signature kernel of piecewise linear paths, segment by segment.

With segments $\Delta x_i$ and $\Delta y_j$ run through in unit time, the kernel solves
$\partial_s\partial_t k = \langle\Delta x_i, \Delta y_j\rangle k$ on cell (i, j): a constant
coefficient, for which `cell.py` has the solution. Exact for the linear static kernel, up to the
order that is carried.
"""

import functools as ft
import math
from typing import Literal, TypeAlias, get_args

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._misc import matmul
from .cell import far_sides, taylor

Sweep: TypeAlias = Literal["rows", "diagonals"]
SWEEPS = get_args(Sweep)


@ft.partial(jax.jit, static_argnums=(1, 2))
def goursat(
    coefficients: Float[Array, "segments other_segments *batch"],
    order: int,
    sweep: Sweep = "rows",
) -> Float[Array, " *batch"]:
    """k at the far corner, for the coefficients of all cells; 1 on the two near sides.

    - `sweep`: cell by cell along rows, or all cells of a diagonal at once: fewer and wider steps,
        for a GPU.
    """
    return {"rows": _rows, "diagonals": _diagonals}[sweep](coefficients, order)


@ft.partial(jax.checkpoint, prevent_cse=False)
def _cell(c, corner, bottom, left):
    order = len(bottom)
    powers = [c]
    for _ in range(order - 1):
        powers.append(powers[-1] * c)
    steps = _steps(order)
    top, right = far_sides(corner, bottom, left, steps, steps, powers)
    return (top[0], tuple(top[1:])), tuple(right)


def _steps(order: int) -> list[float]:
    return [1 / math.factorial(j) for j in range(1, order + 1)]


def in_blocks(step, state, xs):
    """The last state of a scan over `xs`, in blocks of about the square root of their number.

    A derivative keeps the states between blocks, and makes the inside of each once more. Rows of
    zeros come first that fill the first block: they must leave the state as it is.
    """
    n = jax.tree.leaves(xs)[0].shape[0]
    size = max(1, math.isqrt(n))

    def blocks(z):
        z = jnp.pad(z, [(-n % size, 0)] + [(0, 0)] * (z.ndim - 1))
        return z.reshape(-1, size, *z.shape[1:])

    @jax.checkpoint
    def block(state, rows):
        return jax.lax.scan(lambda s, x: (step(s, x), None), state, rows)[0], None

    return jax.lax.scan(block, state, jax.tree.map(blocks, xs))[0]


def _rows(coefficients, order):
    zero = jnp.zeros(coefficients.shape[2:], coefficients.dtype)

    def cell(left, column):
        c, (corner, bottom) = column
        top, right = _cell(c, corner, bottom, left)
        return right, top

    def row(state, c):
        return jax.lax.scan(cell, (zero,) * order, (c, state))[1]

    corner, bottom = in_blocks(row, _start(coefficients.shape[1:], order, zero), coefficients)
    return taylor(corner[-1], [z[-1] for z in bottom], _steps(order))


def _diagonals(coefficients, order):
    n, m = coefficients.shape[:2]
    zero = jnp.zeros((), coefficients.dtype)
    # Entry (d, i) is the cell (i, d - i); where there is none, both paths stand still.
    flat = jnp.pad(coefficients, [(0, 0), (0, n)] + [(0, 0)] * (coefficients.ndim - 2))
    flat = flat.reshape(-1, *coefficients.shape[2:])[: n * (n + m - 1)]
    skewed = jnp.swapaxes(flat.reshape(n, n + m - 1, *coefficients.shape[2:]), 0, 1)

    def diagonal(state, c):
        (corner, bottom), right = _cell(c, *state[0], state[1])
        # The top of a cell is the bottom of the next row's.
        down = lambda z, first: jnp.concatenate([jnp.full_like(z[:1], first), z[:-1]])
        return (down(corner, 1), tuple(down(z, 0) for z in bottom)), right

    shape = (n, *coefficients.shape[2:])
    below = _start(shape, order, zero)
    state = in_blocks(diagonal, (below, below[1]), skewed[:-1])
    (corner, bottom), _ = _cell(skewed[-1], *state[0], state[1])
    return taylor(corner[-1], [z[-1] for z in bottom], _steps(order))


def _start(shape, order: int, zero):
    one, nil = jnp.ones(shape, zero.dtype), jnp.zeros(shape, zero.dtype)
    return one, (nil,) * order


def coefficients_of(
    x: Float[Array, "*batch segments coordinates"],
    y: Float[Array, "*others other_segments coordinates"],
) -> Float[Array, "segments other_segments *both"]:
    """Inner products of segments; batches broadcast, and come last."""
    products = matmul(x, jnp.swapaxes(y, -1, -2))
    return jnp.moveaxis(products, (-2, -1), (0, 1))


@ft.partial(jax.checkpoint, static_argnums=2)
def segment_kernel(x, y, order: int) -> Float[Array, " *both"]:
    """The kernel of pairs of piecewise linear paths, from their segments."""
    return goursat(coefficients_of(x, y), order)


def segments_workspace(segments: int, order: int) -> int:
    """How many numbers a pair takes: coefficients and their derivatives, and the states that a
    sweep in blocks keeps."""
    return 3 * segments**2 + 4 * (order + 1) * math.isqrt(segments**3)
