r"""The first crossing of event functions that are polynomials on a step.

**Search.** Let $E(x) = \sum_k c_k x^k$ on $[0, 1]$ and $M = \sum_k k (k - 1) |c_k| \ge |E''|$. From
a point x with $E(x) < 0$ there is no root before $x + \delta$, where $\delta > 0$ solves
$E(x) + E'(x)\,\delta + M \delta^2/2 = 0$. So a search that goes from the left by $\delta$ never
passes the first root, wherever E goes afterwards, and comes to it quadratically. A maximum that
stays below 0 by g takes it some $\log(M/g)$ steps; one that reaches 0 by no more than rounding may
be taken or left.

**Derivative.** $\partial x = -\sum_k x^k \partial c_k/E'(x)$, by the implicit function theorem.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from .._types import Scalar

# So many steps take the search past a maximum that is below 0 by a rounding.
_STEPS = 100


class Search(NamedTuple):
    """Below `x` there is no root; `found` where there is one at it, `open` where the search may go
    on."""

    x: Float[Array, " events"]
    found: Bool[Array, " events"]
    open: Bool[Array, " events"]
    steps: Array


def value_and_slope(c: Float[Array, " terms *events"], x: Array) -> tuple[Array, Array]:
    """Those of polynomials, by Horner's rule."""
    value, slope = c[-1], jnp.zeros_like(c[-1])
    for k in reversed(range(c.shape[0] - 1)):
        slope = slope * x + value
        value = value * x + c[k]
    return value, slope


def search(
    c: Float[Array, "terms events"],
    e1: Float[Array, " events"],
    there: Bool[Array, " events"],
    *,
    every: bool = False,
) -> Search:
    """The first roots of polynomials with the values `e1` at 1, of those that are `there`.
    Those behind the first of all may be left open, unless `every` one is wanted."""
    degrees = jnp.arange(c.shape[0], dtype=c.dtype)
    bend = jnp.sum((degrees * (degrees - 1))[:, None] * jnp.abs(c), 0)
    tolerance = 0.1 * float(jnp.finfo(c.dtype).eps) ** 0.5

    def moved(search: Search, value: Array, slope: Array) -> Search:
        gap = jnp.where(value < 0, -value, 0)
        root = jnp.sqrt(slope**2 + 2 * bend * gap)
        up = slope > 0
        top, bottom = jnp.where(up, 2 * gap, root - slope), jnp.where(up, slope + root, bend)
        step = jnp.where(bottom > 0, top / jnp.where(bottom > 0, bottom, 1), jnp.inf)
        x = search.x + step
        ends = x >= 1
        # What is above 0 at the end has a root before it, whatever the rounding.
        found = search.open & jnp.where(ends, e1 >= 0, step <= tolerance)
        x = jnp.where(search.open, jnp.where(ends, 1, x), search.x)
        return Search(x, search.found | found, search.open & ~found & ~ends, search.steps + 1)

    # From 0 only upwards is an event.
    at_0, level = c[0] == 0, c[1] == 0
    found = at_0 & ((c[1] > 0) | (level & (e1 > 0))) & there
    start = ((c[0] < 0) | (at_0 & ~level)) & ~found & there
    search = Search(jnp.zeros_like(c[0]), found, start, jnp.zeros((), jnp.int32))

    def wanted(search: Search) -> Array:
        best = jnp.inf if every else jnp.min(jnp.where(search.found, search.x, jnp.inf))
        return jnp.any(search.open & (search.x < best)) & (search.steps < _STEPS)

    return jax.lax.while_loop(
        wanted,
        lambda search: moved(search, *value_and_slope(c, search.x)),
        moved(search, c[0], c[1]),
    )


@jax.custom_jvp
def polished(usable: Bool[Array, ""], c: Float[Array, " terms"], x: Scalar):
    """The root of a polynomial near x, and the slope there; x with derivatives 0 where it is not
    usable. Of these, only the root carries derivatives."""
    near = x
    for _ in range(2):
        value, slope = value_and_slope(c, x)
        usable = usable & (slope > 0)
        step = value / jnp.where(usable, slope, 1)
        x = jnp.where(usable, jnp.clip(x - step, 0, 1), x)
    # Where the slope all but vanishes a step may lead anywhere.
    x = jnp.where(jnp.abs(x - near) < 1e-3, x, near)
    return x, value_and_slope(c, x)[1]


@polished.defjvp
def _polished_jvp(primals, tangents):
    """The implicit function theorem: dx = -dE/E'."""
    usable, c, x = primals
    x, slope = polished(usable, c, x)
    moved, _ = value_and_slope(tangents[1], x)
    usable = usable & (slope > 0)
    _, inside = value_and_slope(c, x)
    dx = jnp.where(usable, -moved, 0) / jnp.where(usable, inside, 1)
    return (x, slope), (dx, jnp.zeros_like(slope))
