"""Lifted trains as numbers, and the derivatives of kernels of them.

Arrays have the steps of a path first; what comes behind is a batch, and broadcasts: this layout
keeps a sweep over many pairs free of transpositions.
"""

import functools as ft
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


class Steps(NamedTuple):
    """A lifted train: time runs by `gaps[i]`, then `marks[i]` jumps by `heights[i]`.

    The last gap is behind the last jump. A jump of height 0 between gaps is no jump, a gap of
    0 no time: padding is exact.
    """

    gaps: Float[Array, " gaps *batch"]
    heights: Float[Array, " spikes *batch"]
    marks: Int[Array, " spikes *batch"]


class Gradient(NamedTuple):
    """Derivatives in the gaps and heights of one path."""

    gaps: Float[Array, " gaps *batch"]
    heights: Float[Array, " spikes *batch"]


def padded(x: Steps, mark: int) -> Steps:
    """With a jump of height 0 behind the last gap."""
    pad = lambda z, fill: jnp.concatenate([z, jnp.full((1, *z.shape[1:]), fill, z.dtype)])
    return Steps(x.gaps, pad(x.heights, 0), pad(x.marks, mark))


def with_cuts(times: Array, heights: Array, marks: Array, cuts: int) -> tuple[Array, Array, Array]:
    """Trains with jumps of height 0 that cut the window 0 ... 1 in pieces of equal length."""
    if cuts == 0:
        return times, heights, marks

    def more(z, values):
        return jnp.concatenate([z, jnp.broadcast_to(values, (*z.shape[:-1], cuts))], -1)

    times = more(times, jnp.arange(1, cuts + 1, dtype=times.dtype) / (cuts + 1))
    heights, marks = more(heights, jnp.zeros((), heights.dtype)), more(marks, -1)
    order = jnp.argsort(jax.lax.stop_gradient(times), axis=-1)
    take = lambda z: jnp.take_along_axis(z, order, -1)
    return take(times), take(heights), take(marks)


def batch_shape(x: Steps, y: Steps) -> tuple[int, ...]:
    """The shape of a batch of pairs."""
    return jnp.broadcast_shapes(x.gaps.shape[1:], y.gaps.shape[1:])


def with_gradient(
    value: Callable[[Steps, Steps, int], Array],
    gradient: Callable[
        [Steps, Steps, int, bool, bool], tuple[Array, Gradient | None, Gradient | None]
    ],
) -> Callable[..., Array]:
    """The function (order, *x, *y) of which `value(x, y, order)` is the value, and
    `gradient(x, y, order, dx, dy)` value and derivatives in x and y where wanted.

    All modes of differentiation work; further derivatives differentiate `gradient`.
    """

    @ft.partial(jax.custom_jvp, nondiff_argnums=(0,))
    def kernel(order, xg, xw, xm, yg, yw, ym):
        return value(Steps(xg, xw, xm), Steps(yg, yw, ym), order)

    def rule(order, primals, tangents):
        xg, xw, xm, yg, yw, ym = primals
        given = [not isinstance(t, jax.custom_derivatives.SymbolicZero) for t in tangents]
        dx, dy = given[0] or given[1], given[3] or given[4]
        out, of_x, of_y = gradient(Steps(xg, xw, xm), Steps(yg, yw, ym), order, bool(dx), bool(dy))
        change = jnp.zeros_like(out)
        for part, first in ((of_x, 0), (of_y, 3)):
            if part is None:
                continue
            for derivative, n in zip(part, (first, first + 1), strict=True):
                if given[n]:
                    change = change + jnp.sum(derivative * tangents[n], 0)
        return out, change

    kernel.defjvp(rule, symbolic_zeros=True)
    return kernel
