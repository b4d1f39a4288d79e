r"""One cell of the Goursat problem $\partial_s\partial_t k = c\,k$ with a constant coefficient.

On a cell k is an entire function of its values on two sides. These are carried as derivatives at
their common corner: $e_i = \partial_s^i k$ along the bottom, $e_{-j} = \partial_t^j k$ along the
left, $e_0 = k$. As $\partial_s^i\partial_t^j k = c^{\min(i,j)} e_{i-j}$, on the other two sides of
a cell that is a wide and b high

$$\partial_s^i k = \sum_j \tfrac{b^j}{j!}\,c^{\min(i,j)} e_{i-j}, \qquad
\partial_t^j k = \sum_i \tfrac{a^i}{i!}\,c^{\min(i,j)} e_{i-j},$$

sums of positive terms where c and the data are. (The problem is that of Salvi, Cass, Foster, Lyons,
Yang, *The signature kernel is the solution of a Goursat PDE*, SIAM J. Math. Data Sci. 3 (2021).)
"""

import itertools
import math
from collections.abc import Iterable, Sequence

import jax.numpy as jnp
from jaxtyping import Array


def powers(x: Array, order: int) -> list[Array]:
    """x^j / j! for j = 1 ... order."""
    out, last = [], jnp.ones_like(x)
    for j in range(1, order + 1):
        last = last * x / j
        out.append(last)
    return out


def total(terms: Iterable[Array]) -> Array:
    """Their sum."""
    first, *rest = terms
    for term in rest:
        first = first + term
    return first


def taylor(start: Array, derivatives: Sequence[Array], steps: Sequence[Array | float]) -> Array:
    """start + sum of derivatives times powers."""
    return total([start, *(s * d for s, d in zip(steps, derivatives, strict=False))])


def far_sides(
    corner: Array,
    bottom: Sequence[Array],
    left: Sequence[Array],
    across: Sequence[Array | float],
    up: Sequence[Array | float],
    coefficient: Sequence[Array] | None = None,
) -> tuple[list[Array], list[Array]]:
    """Value and derivatives along the top at its left end, and derivatives along the right at its
    lower end.

    - `bottom`, `left`: derivatives 1 ... order.
    - `across`, `up`: $a^i/i!$ and $b^j/j!$.
    - `coefficient`: powers 1 ... order of c; `None` for c = 1.
    """
    order = len(bottom)
    e = {0: corner}
    e.update({i + 1: z for i, z in enumerate(bottom)})
    e.update({-1 - j: z for j, z in enumerate(left)})

    def side(steps, sign: int) -> list[Array]:
        """Derivatives along a side: the terms with c^j up to j = n, then those with c^n."""
        scaled = steps
        if coefficient is not None:
            scaled = [c * step for c, step in zip(coefficient, steps, strict=True)]
        derivatives = []
        for n in range(order + 1):
            near = [scaled[j - 1] * e[sign * (n - j)] for j in range(1, n + 1)]
            far = [steps[j - 1] * e[sign * (n - j)] for j in range(n + 1, order + 1)]
            if coefficient is not None and far and n > 0:
                far = [coefficient[n - 1] * total(far)]
            derivatives.append(total([e[sign * n], *near, *far]))
        return derivatives

    top, right = side(up, 1), side(across, -1)[1:]
    return top, right


# A number of spikes for which orders are chosen.
_SPIKES = 32


def enough(area: float, eps: float) -> int:
    """The smallest order that is exact to `eps` where a cell's width times the other path's length
    is `area`: the tail of I_0(2 sqrt(area))."""
    return next(p for p in itertools.count(1) if _pieces(area, p, eps) == 1)


def cheapest(area: float, eps: float) -> tuple[int, int]:
    """The order, and the number of cuts of both paths in pieces of equal length, that are exact to
    `eps` with least work: about order^2 for each of (spikes + cuts)^2 cells."""
    pieces = {p: _pieces(area, p, eps) for p in range(1, enough(area, eps) + 1)}
    order = min(pieces, key=lambda p: (p + 1) * (_SPIKES + pieces[p]))
    return order, pieces[order] - 1


def _pieces(area: float, order: int, eps: float) -> int:
    """The smallest number q of pieces for which q tails (area/q)^(p+1) / (p+1)!^2 are below eps."""
    log_tail = (order + 1) * math.log(area) - 2 * math.lgamma(order + 2)
    return max(1, math.ceil(math.exp((log_tail - math.log(eps)) / order)))
