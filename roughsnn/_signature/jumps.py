r"""The signature kernel of two pure-jump paths with time, exactly, cell by cell.

A train becomes the path whose signature is
$S = e^{a_0 e_0}(1 + w_1 e_{m_1})\,e^{a_1 e_0}(1 + w_2 e_{m_2})\cdots e^{a_n e_0}$: time runs by
$a_i$, then neuron $m_{i+1}$ jumps by $w_{i+1}$. This is the signature in the sense of Ito,
$dS = S_-\otimes dX$ (the minimal jump extension; Friz & Shekhar, *General rough integration, Levy
rough paths and a Levy-Kintchine-type formula*, Ann. Probab. 45 (2017)); the Marcus lift would have
$e^{w e_m}$ in place of $1 + w e_m$. With $k(s, t)$ the kernel of the paths up to $s$ and $t$:

- time against time: a cell with coefficient 1 (`cell.py`);
- time against a jump, or jumps of two neurons: increments add up;
- a jump of size w against one of size v of the same neuron: $w v\,k$ more.
"""

import functools as ft
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .cell import far_sides, powers, taylor
from .steps import Gradient, Steps, batch_shape, padded, with_gradient


class _Corners(NamedTuple):
    """Before jump i of x and before jump j of y: k and its derivative in each time, if wanted."""

    k: Array
    dx: Array | None
    dy: Array | None


def _advance(order: int, segment, other, corner, bottom, left, rise):
    """Gap j of x against gap i of y, up to the jumps at its end.

    y runs along the bottom. Returns the top, the right, and the kernel at the far corner.
    """
    (up, _, _), (across, _, _) = segment, other
    top, right = far_sides(corner, bottom, left, across, up)
    return (top[0] + rise, tuple(top[1:])), tuple(right), taylor(top[0], top[1:], across)


def _more(segment, other, k):
    """What a jump of x against one of y adds, for each unit of its height."""
    (_, w, m), (_, v, n) = segment, other
    matched = jnp.where(m == n, k, 0)
    return matched, w * v * matched


@ft.partial(jax.jit, static_argnums=(2, 3, 4))
def _forward(x: Steps, y: Steps, order: int, dx: bool, dy: bool):
    """The kernel, its derivatives in the last gaps, and the corners if a derivative is wanted."""
    shape = batch_shape(x, y)
    zero, one = jnp.zeros(shape, x.gaps.dtype), jnp.ones(shape, x.gaps.dtype)
    x, y = padded(x, -1), padded(y, -2)
    xs = (powers(x.gaps, order), x.heights, x.marks)
    ys = (powers(y.gaps, order), y.heights, y.marks)

    def cell(carry, column):
        left, rise, segment = carry
        other, (corner, bottom) = column
        state, right, k = _advance(order, segment, other, corner, bottom, left, rise)
        corners = None
        if dx or dy:
            in_x = taylor(right[0], right[1:], segment[0]) if dx else None
            in_y = taylor(state[1][0], state[1][1:], other[0]) if dy else None
            corners = _Corners(k, in_x, in_y)
        return (right, rise + _more(segment, other, k)[1], segment), (state, corners)

    def row(carry, segment):
        state, _ = carry
        start = ((zero,) * order, zero, segment)
        (right, _, _), (state, corners) = jax.lax.scan(cell, start, (ys, state))
        return (state, right), corners

    fill = lambda z: jnp.broadcast_to(z, (y.gaps.shape[0], *shape))
    state = (fill(one), (fill(zero),) * order)
    ((corner, bottom), right), corners = jax.lax.scan(row, (state, (zero,) * order), xs)
    last = lambda z: jax.tree.map(lambda q: q[-1], z)
    up, across = last(xs[0]), last(ys[0])
    value = taylor(corner[-1], last(bottom), across)
    in_x = taylor(right[0], right[1:], up)
    in_y = taylor(bottom[0][-1], last(bottom[1:]), across)
    return value, in_x, in_y, corners


def kernel_value(x: Steps, y: Steps, order: int) -> Float[Array, " *batch"]:
    """The kernel of pairs of paths."""
    return _forward(x, y, order, False, False)[0]


@ft.partial(jax.jit, static_argnums=(2, 3, 4))
def kernel_gradient(
    x: Steps, y: Steps, order: int, dx: bool, dy: bool
) -> tuple[Float[Array, " *batch"], Gradient | None, Gradient | None]:
    r"""The kernel, and its derivatives in x and y where wanted, in two sweeps without a tape.

    With C, D the kernel and its derivative in time at corner (i, j), and C', D' those of the paths
    run backwards, moving jump i of x gives $\sum_j w_i v_j (D_{ij} C'_{ij} - C_{ij} D'_{ij})$ over
    the jumps j of its neuron; its height $\sum_j v_j C_{ij} C'_{ij}$. The last gap has the
    derivative of the kernel at the end; moving a jump adds to one gap what it takes from the next.
    """
    value, end_x, end_y, corners = _forward(x, y, order, dx, dy)
    shape = batch_shape(x, y)
    zero, one = jnp.zeros(shape, x.gaps.dtype), jnp.ones(shape, x.gaps.dtype)
    inner = jax.tree.map(lambda z: z[:-1, :-1], corners)
    # Backwards the gap behind a jump comes before it.
    xs = (powers(x.gaps[1:], order), x.heights, x.marks)
    ys = (powers(y.gaps[1:], order), y.heights, y.marks)

    def cell(carry, column):
        left, rise, segment, own = carry
        other, (corner, bottom), ahead, sums = column
        state, right, k = _advance(order, segment, other, corner, bottom, left, rise)
        matched, more = _more(segment, other, k)
        if dx:
            back = taylor(right[0], right[1:], segment[0])
            own = _collect(own, segment, other, matched, ahead.dx, ahead.k, back)
        if dy:
            back = taylor(state[1][0], state[1][1:], other[0])
            sums = _collect(sums, other, segment, matched, ahead.dy, ahead.k, back)
        return (right, rise + more, segment, own), (state, sums)

    def row(carry, step):
        state, sums = carry
        segment, ahead = step
        start = ((zero,) * order, zero, segment, (zero, zero) if dx else None)
        end, (state, sums) = jax.lax.scan(cell, start, (ys, state, ahead, sums), reverse=True)
        return (state, sums), end[-1]

    fill = lambda z: jnp.broadcast_to(z, (y.heights.shape[0], *shape))
    state = (fill(one), (fill(zero),) * order)
    sums = (fill(zero), fill(zero)) if dy else None
    (_, of_y), of_x = jax.lax.scan(row, (state, sums), (xs, inner), reverse=True)
    return value, _gradient(of_x, end_x), _gradient(of_y, end_y)


def _collect(sums, own, other, matched, derivative, k, back):
    """Adds what one pair of jumps says of moving, and of raising, the own jump."""
    (_, w, m), (_, v, n) = own, other
    moving, raising = sums
    same = jnp.where(m == n, v, 0)
    return (
        moving + w * same * (derivative * matched - k * back),
        raising + same * k * matched,
    )


def _gradient(sums, end) -> Gradient | None:
    if sums is None:
        return None
    moving, raising = sums
    behind = jnp.concatenate([moving, end[None]])
    return Gradient(jnp.cumsum(behind[::-1], 0)[::-1], raising)


jump_kernel = with_gradient(kernel_value, kernel_gradient)
