"""The first crossing of a vector of event functions on one step."""

import abc
import functools as ft
import itertools
from collections.abc import Callable, Sequence
from typing import TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
import optimistix as optx
from jaxtyping import Array, Bool, Float, Int

from .._check import check_kind
from .._misc import check_positive_int, entry, one_hot, stop_gradients
from .._types import Scalar

# r -> E(t + r, y(t + r)), the event functions along the dense output of a step.
Along: TypeAlias = Callable[[Scalar], Float[Array, " events"]]


def fires_at_once(e0: Float[Array, " events"]) -> Bool[Array, " events"]:
    """Which coordinates are above 0 already."""
    return e0 > 0


def rises(e0: Float[Array, " events"], e1: Float[Array, " events"]) -> Bool[Array, " events"]:
    """Which coordinates rise through 0 on a step; leaving 0 downwards is no event."""
    return ((e0 < 0) & (e1 >= 0)) | ((e0 == 0) & (e1 > 0))


class Crossing(eqx.Module):
    """Whether a step is crossed and where first: offset, coordinate, and dE/dr of it there.

    Only `offset` carries derivatives.
    """

    hit: Bool[Array, ""]
    offset: Scalar
    index: Int[Array, ""]
    slope: Scalar


class AbstractCrossing(eqx.Module):
    """A way to find the first crossing on a step that has one."""

    @abc.abstractmethod
    def first(
        self,
        along: Along,
        length: Scalar,
        e0: Float[Array, " events"],
        e1: Float[Array, " events"],
    ) -> Crossing:
        """The first r in [0, length] at which a coordinate of `along` reaches 0.

        `e0 = along(0)`, `e1 = along(length)`. A coordinate that starts above 0 fires
        at r = 0. On a step without a crossing the offset is finite, and unused.
        """


class QuadraticCrossing(AbstractCrossing):
    r"""The closed form, for events that are quadratic along pieces of the dense output.

    Exact where the event function is affine in the state and the interpolant affine
    (Euler) or quadratic (the integrated hazard of
    networks of linear neurons with noise). With $E(r) = e_0 + br + ar^2$ the first root is
    $-2e_0/(b + \sqrt{b^2 - 4ae_0})$, or $(-b + \sqrt{b^2 - 4ae_0})/2a$ where $b < 0$.

    **Arguments:**

    - `pieces`: of equal length, into which the interpolant divides a step.
    """

    pieces: int = eqx.field(static=True, default=1)

    def __check_init__(self):
        check_positive_int("pieces", self.pieces)

    def first(self, along, length, e0, e1):
        """See [`roughsnn.AbstractCrossing`][]."""
        one = jnp.ones_like(length)
        at = [length * (k / self.pieces) for k in range(self.pieces)]
        slopes = [jax.jvp(along, (r,), (one,))[1] for r in at]
        levels = [e0, *(along(r) for r in at[1:]), e1]
        return earliest(e0, *first_of_pieces(length, levels, slopes))


def earliest(e0: Array, crosses: Array, roots: Array, speed: Array) -> Crossing:
    """The first of the crossings of all coordinates, from what `first_of_pieces` returns."""
    # What argmin does, in two reductions that vectorise.
    fixed = jax.lax.stop_gradient(roots)
    candidates = jnp.where(crosses | fires_at_once(e0), fixed, jnp.inf)
    first = jnp.min(candidates)
    hit = first < jnp.inf
    numbers = jnp.arange(e0.shape[0], dtype=jnp.int32)
    index = jnp.min(jnp.where(candidates == first, numbers, e0.shape[0] - 1))
    offset = jnp.sum(jnp.where(one_hot(index, e0.shape[0]), roots, 0))
    slope = jnp.where(entry(e0, index) > 0, jnp.inf, entry(speed, index))
    return Crossing(hit, offset, index, jax.lax.stop_gradient(slope))


def first_of_pieces(
    length: Scalar | Float[Array, " events"],
    levels: Sequence[Float[Array, " events"]],
    slopes: Sequence[Float[Array, " events"]],
) -> tuple[Bool[Array, " events"], Float[Array, " events"], Float[Array, " events"]]:
    """Which coordinates cross on a step, where first, and how fast.

    The step has equal pieces, E is quadratic on each: `levels` at their borders, `slopes` at
    their starts. Where nothing crosses the root is 0.
    """
    pieces = len(slopes)
    here = [rises(a, b) & (length > 0) for a, b in itertools.pairwise(levels)]
    piece = jnp.where(length > 0, length, 1) / pieces
    crosses, e0, b, e1 = here[-1], levels[-2], slopes[-1], levels[-1]
    before = jnp.full_like(e0, pieces - 1)
    for k in reversed(range(pieces - 1)):
        choose = ft.partial(jnp.where, here[k])
        e0, b, e1 = choose(levels[k], e0), choose(slopes[k], b), choose(levels[k + 1], e1)
        before, crosses = choose(k, before), crosses | here[k]
    root = first_root(crosses, piece, e0, b, e1)
    speed = b + 2 * _curvature(piece, e0, b, e1) * root
    return crosses, jnp.where(crosses, before * piece, 0) + root, speed


def _curvature(length, e0, b, e1):
    """a of E(r) = e0 + b r + a r^2 with E(length) = e1."""
    return (e1 - e0 - b * length) / length**2


@jax.custom_jvp
def first_root(crosses, length, e0, b, e1):
    """The root in [0, length] of e0 + b r + a r^2 with value e1 at `length`.

    Where it does not cross, 0 with zero derivatives.
    """
    a = _curvature(length, e0, b, e1)
    square = b**2 - 4 * a * e0
    # Where a program differentiates this in place of the rule below, nothing is infinite either.
    real = crosses & (square > 0)
    slope = jnp.where(real, jnp.sqrt(jnp.where(real, square, 1)), 0)
    dips = b < 0
    top = jnp.where(dips, slope - b, -2 * e0)
    bottom = jnp.where(dips, 2 * a, b + slope)
    return jnp.where(crosses, top / jnp.where(bottom > 0, bottom, 1), 0)


@first_root.defjvp
def first_root_jvp(primals, tangents):
    """The implicit function theorem: dr = -dE / E'."""
    crosses, length, e0, b, e1 = primals
    _, dlength, de0, db, de1 = tangents
    root = first_root(*primals)
    a = _curvature(length, e0, b, e1)
    slope = b + 2 * a * root
    x = root / length
    de = (1 - x**2) * de0 + x * (length - root) * db + x**2 * (de1 - (b + 2 * a * length) * dlength)
    usable = crosses & (slope > 0)
    return root, jnp.where(usable, -de, 0) / jnp.where(usable, slope, 1)


class BracketedCrossing(AbstractCrossing):
    r"""The first crossing found by an optimistix root finder on $\max_k E_k$.

    The search itself is not differentiated. It is followed by two Newton steps that are:
    the root is a fixed point of Newton's map $r - E/\dot E$, whose derivative there is
    that of the implicit function theorem, $\partial r = -\partial E/\dot E$; two steps
    make the second derivative right as well.

    **Arguments:**

    - `root_finder`: any `optimistix.AbstractRootFinder` for scalar functions. It is given
        `options=dict(lower=..., upper=...)` and starts at the secant.
    - `max_steps`: when to give up.
    """

    root_finder: optx.AbstractRootFinder
    max_steps: int = 100

    def __check_init__(self):
        check_kind(
            "root_finder", self.root_finder, optx.AbstractRootFinder, "an optimistix root finder"
        )
        check_positive_int("max_steps", self.max_steps)

    def first(self, along, length, e0, e1):
        """See [`roughsnn.AbstractCrossing`][]."""
        zero = jnp.zeros_like(length)
        starts_above = jnp.any(fires_at_once(e0))
        rising = rises(e0, e1)
        brackets = jnp.any(rising) & ~starts_above & (length > 0)
        found = jax.lax.stop_gradient(self._search(along, length, e0, e1, rising, brackets))
        values = jnp.where(rising, along(found), -jnp.inf)
        index = jnp.where(starts_above, jnp.argmax(e0), jnp.argmax(values)).astype(jnp.int32)
        chosen = one_hot(index, e0.shape[0])

        def coordinate(r):
            return jnp.sum(jnp.where(chosen, along(r), 0))

        offset, slope = found, zero
        for _ in range(2):
            value, slope = jax.jvp(coordinate, (offset,), (jnp.ones_like(zero),))
            usable = brackets & (slope > 0)
            step = jnp.where(usable, value, 0) / jnp.where(usable, slope, 1)
            moved = offset - step
            clipped = jax.lax.stop_gradient(jnp.clip(moved, zero, length) - moved)
            offset = jnp.where(usable, moved + clipped, offset)
        slope = jnp.where(starts_above, jnp.inf, slope)
        offset, slope = jnp.where(brackets, offset, zero), jax.lax.stop_gradient(slope)
        return Crossing(jnp.any(rising) | starts_above, offset, index, slope)

    def _search(self, along, length, e0, e1, rising, brackets):
        def highest_of(values):
            return jnp.max(jnp.where(rising, values, -jnp.inf))

        start, end = highest_of(e0), highest_of(e1)
        gap = jnp.where(brackets, end - start, 0)
        guess = length * jnp.where(brackets, -start, 0) / jnp.where(gap > 0, gap, 1)

        def highest(r, _):
            # Without a crossing: an affine function with its root at the guess.
            return jnp.where(brackets, highest_of(along(r)), r - guess)

        # Constants are stopped, not the output, so that no derivative rule is entered.
        highest = eqx.filter_closure_convert(highest, guess, None)
        highest, guess, length = stop_gradients((highest, guess, length))
        return optx.root_find(
            highest,
            self.root_finder,
            guess,
            options=dict(lower=jnp.zeros_like(length), upper=length),
            max_steps=self.max_steps,
            throw=False,
        ).value
