r"""The signature kernel of two pure-jump paths with time, exactly, cell by cell.

A train becomes the path whose signature is
$S = e^{a_0 e_0}(1 + w_1 e_{m_1})\,e^{a_1 e_0}(1 + w_2 e_{m_2})\cdots e^{a_n e_0}$: time runs by
$a_i$, then neuron $m_{i+1}$ jumps by $w_{i+1}$. This is the signature in the sense of Ito,
$dS = S_-\otimes dX$ (the minimal jump extension; Friz & Shekhar, *General rough integration, Levy
rough paths and a Levy-Kintchine-type formula*, Ann. Probab. 45 (2017)); the Marcus lift would have
$e^{w e_m}$ in place of $1 + w e_m$. With $k(s, t)$ the kernel of the paths up to $s$ and $t$:

- time against time: $\partial_s\partial_t k = k$ (the Goursat problem of Salvi, Cass, Foster,
  Lyons, Yang, SIAM J. Math. Data Sci. 3 (2021), with a constant coefficient);
- time against a jump, or jumps of two neurons: increments add up;
- a jump of size w against one of size v of the same neuron: $w v\,k$ more.

On a cell of the first kind k is an entire function of its data on two sides. These are carried as
derivatives at the corner: $e_l$ along the bottom, $e_{-l}$ along the left, $e_0 = k$ there. As
$\partial_s^i\partial_t^j k = e_{i-j}$, on the top
$\partial_s^i k = \sum_j \tfrac{h^j}{j!} e_{i-j}$, a sum of positive terms.
"""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from .._types import Scalar


class Steps(NamedTuple):
    """A lifted train: time runs by `gaps[i]`, then `marks[i]` jumps by `heights[i]`.

    The last gap is behind the last jump. A jump of height 0 between gaps is no jump, a gap of
    0 no time: padding is exact.
    """

    gaps: Float[Array, " spikes+1"]
    heights: Float[Array, " spikes"]
    marks: Int[Array, " spikes"]

    def reversed(self) -> "Steps":
        """The path run backwards."""
        return Steps(*(x[::-1] for x in self))


class Corners(NamedTuple):
    """At the corner before jump i of x and before jump j of y: k and its two derivatives."""

    k: Float[Array, "spikes other_spikes"]
    ds: Float[Array, "spikes other_spikes"]
    dt: Float[Array, "spikes other_spikes"]


def _powers(x: Array, order: int) -> list[Array]:
    """x^j / j! for j = 0 ... order."""
    out = [jnp.ones_like(x)]
    for j in range(1, order + 1):
        out.append(out[-1] * x / j)
    return out


def _sum(terms) -> Array:
    total, *rest = terms
    for term in rest:
        total = total + term
    return total


@functools.partial(jax.jit, static_argnums=2)
def sweep(x: Steps, y: Steps, order: int) -> tuple[Scalar, Corners]:
    """The kernel, and the corners that its derivatives need.

    `order`: how many derivatives are carried.
    """
    p = order
    one, zero = jnp.ones_like(x.gaps), jnp.zeros_like(x.gaps)
    last = lambda z, fill: jnp.append(z, jnp.asarray(fill, z.dtype))  # noqa: E731
    xs = (x.gaps, last(x.heights, 0), last(x.marks, -1))
    ys = (y.gaps, last(y.heights, 0), last(y.marks, -2))

    def cell(carry, column):
        """Time i against time j, and what follows the jumps at its end."""
        left, rise, (b, v, n) = carry
        (a, w, m), (corner, *bottom, drop) = column
        across, up = _powers(a, p), _powers(b, p)
        e = {0: corner, **{i + 1: z for i, z in enumerate(bottom)}}
        e.update({-1 - i: z for i, z in enumerate(left)})
        top = [_sum(up[j] * e[i - j] for j in range(p + 1)) for i in range(p + 1)]
        right = [_sum(across[i] * e[i - j] for i in range(p + 1)) for j in range(p + 1)]
        k = _sum(across[i] * top[i] for i in range(p + 1))
        ds = _sum(across[i] * top[i + 1] for i in range(p))
        dt = _sum(up[j] * right[j + 1] for j in range(p))
        more = jnp.where(m == n, w * v, 0) * k
        carry = (tuple(right[1:]), rise + more, (b, v, n))
        return carry, ((top[0] + rise, *top[1:], drop + more), Corners(k, ds, dt))

    def row(state, segment):
        """Time j of y against all of x; `rise` and `drop` are k over a jump of y and of x."""
        start = ((zero[0],) * p, zero[0], segment)
        _, (state, corners) = jax.lax.scan(cell, start, (xs, state))
        return state, corners

    state = (one, *(zero,) * p, zero)
    _, corners = jax.lax.scan(row, state, ys)
    value = corners.k[-1, -1]
    return value, Corners(*(z[:-1, :-1].T for z in corners))


def derivatives(x: Steps, y: Steps, order: int) -> tuple[Scalar, tuple[Array, ...]]:
    r"""The kernel, and its derivatives in the times and heights of the jumps of x, then of y.

    With C, D the kernel and its derivative at corner (i, j), and C', D' those of the paths run
    backwards, moving jump i of x gives $\sum_j w_i v_j (D_{ij} C'_{ij} - C_{ij} D'_{ij})$ over the
    jumps j of its neuron; its height $\sum_j v_j C_{ij} C'_{ij}$.
    """
    value, ahead = sweep(x, y, order)
    _, back = sweep(x.reversed(), y.reversed(), order)
    back = Corners(*(z[::-1, ::-1] for z in back))
    same = (x.marks[:, None] == y.marks[None]).astype(ahead.k.dtype)
    both = same * ahead.k * back.k
    by_time_x = same * (ahead.ds * back.k - ahead.k * back.ds)
    by_time_y = same * (ahead.dt * back.k - ahead.k * back.dt)
    return value, (
        x.heights * (by_time_x @ y.heights),
        both @ y.heights,
        y.heights * (x.heights @ by_time_y),
        x.heights @ both,
    )


def enough(length: float, eps: float) -> int:
    """The smallest order that is exact to `eps` for paths that time makes `length` long.

    The error is largest for two paths without jumps: the tail of I_0(2 length).
    """
    order = 1
    while length ** (2 * order + 2) / math.factorial(order + 1) ** 2 > eps:
        order += 1
    return order
