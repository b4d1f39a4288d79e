"""The first crossing of a vector of event functions on one step."""

import abc
from collections.abc import Callable
from typing import TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
import optimistix as optx
from jaxtyping import Array, Bool, Float, Int

from .._misc import one_hot, stop_gradients
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
    """Where a step is first crossed: offset, coordinate, and dE/dr of it there."""

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
        at r = 0. On a step without a crossing the result is finite, and unused.
        """


class QuadraticCrossing(AbstractCrossing):
    r"""The closed form, for events that are at most quadratic along the dense output.

    Exact where the event function is affine in the state and the interpolant affine
    (Euler) or quadratic (the integrated hazard of
    [`roughsnn.ExponentialTrapezoid`][]). With $E(r) = e_0 + br + ar^2$ the first root is
    $-2e_0/(b + \sqrt{b^2 - 4ae_0})$, or $(-b + \sqrt{b^2 - 4ae_0})/2a$ where $b < 0$.
    """

    def first(self, along, length, e0, e1):
        """See [`roughsnn.AbstractCrossing`][]."""
        zero = jnp.zeros_like(length)
        b = jax.jvp(along, (zero,), (jnp.ones_like(zero),))[1]
        above = fires_at_once(e0)
        crosses = rises(e0, e1) & (length > 0)
        # Which coordinate is first is not differentiated; only its own root is.
        h, starts, slopes, ends = stop_gradients((length, e0, b, e1))
        roots, _ = _first_root(crosses, h, starts, slopes, ends)
        candidates = jnp.where(above, zero, jnp.where(crosses, roots, jnp.inf))
        # What argmin does, in two reductions that vectorise.
        numbers = jnp.arange(e0.shape[0], dtype=jnp.int32)
        is_first = candidates == jnp.min(candidates)
        index = jnp.min(jnp.where(is_first, numbers, e0.shape[0] - 1))
        chosen = one_hot(index, e0.shape[0])
        start, slope, end = (jnp.sum(jnp.where(chosen, x, 0)) for x in (e0, b, e1))
        offset, slope = _first_root(jnp.any(chosen & crosses), length, start, slope, end)
        at_once = jnp.any(chosen & above)
        return Crossing(jnp.where(at_once, zero, offset), index, jnp.where(at_once, jnp.inf, slope))


def _first_root(crosses, length, e0, b, e1):
    """The root in [0, length] of e0 + b r + a r^2 with value e1 at `length`; its slope there.

    Where it does not cross, (0, 0) with zero derivatives.
    """
    h = jnp.where(crosses, length, 1)
    start, b = jnp.where(crosses, e0, -1), jnp.where(crosses, b, 1)
    a = (jnp.where(crosses, e1, 0) - start - b * h) / h**2
    discriminant = b**2 - 4 * a * start
    positive = discriminant > 0
    slope = jnp.where(positive, jnp.sqrt(jnp.where(positive, discriminant, 1)), 0)
    dips = b < 0
    top = jnp.where(dips, slope - b, -2 * start)
    bottom = jnp.where(dips, 2 * a, b + slope)
    root = top / jnp.where(bottom > 0, bottom, 1)
    return jnp.where(crosses, root, 0), jnp.where(crosses, slope, 0)


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

    def first(self, along, length, e0, e1):
        """See [`roughsnn.AbstractCrossing`][]."""
        zero = jnp.zeros_like(length)
        starts_above = jnp.any(fires_at_once(e0))
        brackets = jnp.any(rises(e0, e1)) & ~starts_above & (length > 0)
        rising = rises(e0, e1)
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
        return Crossing(jnp.where(brackets, offset, zero), index, slope)

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
