r"""The signature kernel of Marcus lifts: time and jumps by turns, each a straight segment.

The signature is $e^{a_0 e_0}e^{w_1 e_{m_1}}e^{a_1 e_0}\cdots e^{a_n e_0}$ (Chevyrev & Friz,
*Canonical RDEs and general semimartingales as rough paths*, Ann. Probab. 47 (2019)). Of the four
cells of a gap and the jump behind it against another such pair, that of the gaps has the
coefficient 1, that of the jumps 1 if they are of one neuron, and the other two 0: there k is what
it is on the two near sides together.
"""

import functools as ft
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .cell import far_sides, powers, taylor, total
from .steps import Gradient, Steps, batch_shape, padded, with_gradient


class _Pair(NamedTuple):
    """Something of two segments of a path, one behind the other."""

    first: tuple[Array, ...]
    second: tuple[Array, ...]


def _turn(segments: _Pair, others: _Pair, coefficients, below: _Pair, left: _Pair):
    """Two segments of x against two of y, which run along the bottom.

    - `segments`, `others`: powers of lengths.
    - `coefficients`: of the first against the first, and of the second against the second.
    - `below`: value and derivatives along the first segment, derivatives along the second.
    - `left`: derivatives.

    Returns the same at the top and the right; and value and derivatives along the segments of y at
    the end of the first segment of x.
    """
    near, right = far_sides(
        below.first[0], below.first[1:], left.first, others.first, segments.first, coefficients[0]
    )
    behind = taylor(near[0], near[1:], others.first)
    far, right_second = far_sides(
        behind, below.second, left.second, others.second, segments.second, coefficients[1]
    )
    above = taylor(near[0], left.second, segments.second)
    return (
        _Pair((above, *near[1:]), tuple(far[1:])),
        _Pair(tuple(right), tuple(right_second)),
        _Pair(tuple(near), (behind, *below.second)),
    )


def _prepare(x: Steps, y: Steps, order: int):
    """Powers and marks of the steps of both; what is below the first row and left of the first
    column."""
    shape, dtype = batch_shape(x, y), x.gaps.dtype
    # The jumps behind the last gaps are none.
    x, y = padded(x, -1), padded(y, -2)
    xs, ys = (
        (_Pair(tuple(powers(z.gaps, order)), tuple(powers(z.heights, order))), z.marks)
        for z in (x, y)
    )
    along = (y.gaps.shape[0], *shape)
    nil, none = (jnp.zeros(along, dtype),) * order, (jnp.zeros(shape, dtype),) * order
    return xs, ys, _Pair((jnp.ones(along, dtype), *nil), nil), _Pair(none, none)


def _same(m, n, like) -> Array:
    return jnp.where(m == n, 1, 0).astype(like.dtype)


@ft.partial(jax.jit, static_argnums=(2, 3))
def _forward(x: Steps, y: Steps, order: int, edges: bool):
    """The kernel; and what it is along y at the end of each gap of x, if that is wanted."""
    xs, ys, below, none = _prepare(x, y, order)

    def row(state, step):
        def cell(left, column):
            (segments, m), ((others, n), below) = step, column
            same = [_same(m, n, below.first[0])] * order
            top, right, found = _turn(segments, others, (None, same), below, left)
            return right, (top, found if edges else None)

        return jax.lax.scan(cell, none, (ys, state))[1]

    top, found = jax.lax.scan(row, below, xs)
    last = lambda z: jax.tree.map(lambda q: q[-1], z)
    corner, *gap = last(top.first)
    return taylor(corner, gap, last(ys[0].first)), found


def _product(ahead, back, steps) -> Array:
    r"""$\int_0^b u v$ for $u = \sum_k e_k t^k/k!$ and $v = \sum_l f_l (b - t)^l/l!$; `steps` are
    $b^n/n!$."""
    return total(
        f * total(e * steps[k + n] for k, e in enumerate(ahead)) for n, f in enumerate(back)
    )


@ft.partial(jax.jit, static_argnums=2)
def _in_first(x: Steps, y: Steps, order: int) -> tuple[Array, Gradient]:
    r"""The kernel and its derivatives in x.

    With u the kernel of the paths up to a point and v that of what comes behind it, at any place s
    of a gap of x the derivative in its length is $\int u(s, t)\,v(s, t)\,dt$ over the gaps of y;
    the derivative in the height of a jump is the integral over the jumps of its neuron. One sweep
    forwards finds u, one backwards v, and adds up on the way.
    """
    value, ahead = _forward(x, y, order, True)
    xs, ys, below, none = _prepare(x, y, order)
    zero = none.first[0]
    long = tuple(powers(z, 2 * order + 1) for z in (y.gaps, padded(y, -2).heights))
    # Backwards the jump comes before the gap.
    swapped = lambda z: (_Pair(z[0].second, z[0].first), z[1])

    def row(state, step_and_ahead):
        (segments, m), ahead = step_and_ahead

        def cell(carry, column):
            left, in_gap, in_jump = carry
            (others, n), below, u, (gaps, jumps) = column
            same = _same(m, n, zero)
            top, right, v = _turn(segments, others, ([same] * order, None), below, left)
            in_gap = in_gap + _product(u.first, v.second, gaps)
            in_jump = in_jump + same * _product(u.second, v.first, jumps)
            return (right, in_gap, in_jump), top

        start = (none, zero, zero)
        (_, *found), top = jax.lax.scan(cell, start, (ys, state, ahead, long), reverse=True)
        return top, found

    ys = swapped(ys)
    _, (gaps, jumps) = jax.lax.scan(row, below, (swapped(xs), ahead), reverse=True)
    return value, Gradient(gaps, jumps[:-1])


def _gradient(x: Steps, y: Steps, order: int, dx: bool, dy: bool):
    """The kernel, and its derivatives where they are wanted."""
    value, of_x, of_y = None, None, None
    if dx:
        value, of_x = _in_first(x, y, order)
    if dy:
        value, of_y = _in_first(y, x, order)
    return _forward(x, y, order, False)[0] if value is None else value, of_x, of_y


def _value(x: Steps, y: Steps, order: int) -> Float[Array, " *batch"]:
    return _forward(x, y, order, False)[0]


turns_kernel = with_gradient(_value, _gradient)


def turns_workspace(spikes: int, order: int) -> int:
    """How many numbers a pair takes: value and derivatives at each pair of spikes."""
    return (2 * order + 2) * (spikes + 1) ** 2
