r"""The hazard along a cell, or a part of one: a parabola.

Its integral is Simpson's rule, $h(\lambda_0 + 4\lambda_m + \lambda_1)/6$, of fourth order in the
length h, by the hazard at the start, the middle and the end. Where the parabola through them would
come close to 0, it bends less, times the factor that makes the integral the same. So the hazard
stays positive, the hidden state rises, and the density of a spike in the cell is that hazard times
the exponential of minus its integral. The hazard in the middle sees the variance of the noise (see
`apart_of`), so that what is unresolved of it does not bias the mean of the integral.
"""

import functools
import math
import operator
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from .._event.crossing import AbstractCrossing, earliest, first_root, rises
from .._misc import at_least, at_most

# So often a parabola is put through the cubic near its root: exact to rounding, but in float32 for
# a hazard that changes by more than a factor of three in a cell, to 1e-3 of its integral.
_STEPS = {8: 4, 4: 1, 2: 1}


class Nodes(NamedTuple):
    """The times since a cell's start, and the potentials, at the start, the middle and the end of a
    part of it; in the middle the hazard is the mean of those at potentials that are so far `apart`
    from it."""

    r: tuple[Array, Array, Array]
    v: tuple[Array, Array, Array]
    apart: Array | None = None

    @property
    def length(self) -> Array:
        """How long the part is."""
        return self.r[2] - self.r[0]

    def parabola(self, r: Array) -> Array:
        """The potential at a time since the cell's start, also before the part."""
        start, middle, end = self.v
        x = (r - self.r[0]) / jnp.where(self.length > 0, self.length, 1)
        return _rate(x, start, end, 2 * (start - 2 * middle + end))

    def rates(self, rate: Callable[[Array, Array], Array]) -> list[Array]:
        """The hazards, by `rate(r, v)`."""
        return self._each(rate, lambda a, b: (a + b) / 2)

    def logs(self, log_rate: Callable[[Array, Array], Array]) -> list[Array]:
        """Their logarithms, by `log_rate(r, v)`."""
        return self._each(log_rate, lambda a, b: jnp.logaddexp(a, b) - math.log(2))

    def _each(self, fn: Callable[[Array, Array], Array], mean) -> list[Array]:
        start, middle, end = zip(self.r, self.v, strict=True)
        if self.apart is None:
            return [fn(*x) for x in (start, middle, end)]
        r, v = middle
        return [fn(*start), mean(fn(r, v - self.apart), fn(r, v + self.apart)), fn(*end)]


class CellHazard(NamedTuple):
    """The hazard at the start and the end of a part of a cell, and in the middle where it may be as
    low as that; it goes on before the part as at its start."""

    begin: Array
    length: Array
    start: Array
    middle: Array
    end: Array

    @property
    def total(self) -> Array:
        """Its integral."""
        return self.length * simpson(*self[2:])

    def crossing(self, s: Array) -> tuple[Array, Array, Array]:
        """Whether a hidden state that begins with s rises through 0, how long after the start, and
        how fast it rises there."""
        return _crossing(self.length, s, s + self.total, *self[2:])

    def until(self, r: Array) -> Array:
        """Its integral up to a time since the cell's start."""
        # A part of no length has a derivative in its end.
        return (r - self.begin) * _mean(at_least(self._place(r), 0), *_shape(*self[2:]))

    def rate(self, r: Array) -> Array:
        """What it is at a time since the cell's start."""
        return _rate(at_least(self._place(r), 0), *_shape(*self[2:]))

    def log_at(self, r: Array, logs: list[Array]) -> Array:
        """Its logarithm at a time since the cell's start; where it is too small or too large for a
        number, the parabola through those of the three hazards."""
        rate = self.rate(r)
        usual = (rate > jnp.finfo(rate.dtype).tiny) & (rate < jnp.inf)
        known = jnp.isfinite(logs[0]) & jnp.isfinite(logs[1]) & jnp.isfinite(logs[2])
        start, middle, end = (jnp.where(known, x, 0) for x in logs)
        rare = _rate(at_least(self._place(r), 0), start, end, 2 * (start - 2 * middle + end))
        rare = jnp.where(known, rare, -jnp.inf)
        return jnp.where(usual, jnp.log(jnp.where(usual, rate, 1)), rare)

    def _place(self, r: Array) -> Array:
        """The time since the start of the part, in units of its length."""
        return (r - self.begin) / jnp.where(self.length > 0, self.length, 1)


def simpson(start: Array, middle: Array, end: Array) -> Array:
    """The mean of a hazard."""
    return (start + 4 * middle + end) / 6


def ellipse(r: Array, length: float) -> Array:
    """Half an ellipse over a cell: next to 0 at both ends, and before it, and 1 in the middle. Its
    square, which is what a mean on both sides depends on, is as steep at the ends as it should be,
    while it has a finite slope itself."""
    arc, least = 4 * r * (length - r) / length**2, 1e-8 if r.dtype.itemsize == 8 else 1e-4
    return jnp.sqrt((at_least(arc, -least / 2) + least) / (1 + least))


class HazardCrossing(AbstractCrossing):
    """The first crossing on a step of hidden states that rise as a `CellHazard` lets them, and of
    what is linear."""

    def first(self, along, length, e0, e1):
        """See [`roughsnn.AbstractCrossing`][]."""
        one, zero = jnp.ones_like(length), jnp.zeros_like(length)
        start, end = (jax.jvp(along, (r,), (one,))[1] for r in (zero, length))
        mean = (e1 - e0) / jnp.where(length > 0, length, 1)
        middle = (6 * mean - start - end) / 4
        return earliest(e0, *_crossing(length, e0, e1, start, middle, end))


def _crossing(
    length: Array, level: Array, last: Array, *hazards: Array
) -> tuple[Array, Array, Array]:
    """Which states that rise from `level` to `last` cross 0, how long after the start, how fast."""
    unit, crosses = jnp.where(length > 0, length, 1), rises(level, last) & (length > 0)
    x = _root(crosses, level / unit, *hazards)
    return crosses, x * unit, _rate(x, *_shape(*hazards))


def _shape(start: Array, middle: Array, end: Array) -> tuple[Array, Array, Array]:
    """The parabola: its values at the start and the end, and by how much, times 4, it is less in
    the middle than on the straight line."""
    ends = (start + end) / 2
    kept = at_most(2 * (start - 2 * middle + end), ends)
    there = ends + middle > 0
    by = simpson(start, middle, end) / jnp.where(there, ends - kept / 6, 1)
    by = jnp.where(there, by, 1)
    return by * start, by * end, by * kept


def _rate(x: Array, start: Array, end: Array, bend: Array) -> Array:
    """The hazard at a time x in units of the length."""
    return start + x * (end - start - bend + bend * x)


def _mean(x: Array, start: Array, end: Array, bend: Array) -> Array:
    """Its mean until then."""
    return start + x * ((end - start - bend) / 2 + bend / 3 * x)


def _integral(x: Array, *shape: Array) -> Array:
    """Its integral, in the same units."""
    return x * _mean(x, *shape)


@jax.custom_jvp
def _root(crosses: Array, level: Array, *hazards: Array) -> Array:
    """Where a level plus the integral is 0, in units of the length; 0 where it does not cross."""
    shape = _shape(*hazards)
    last = level + simpson(*hazards)
    x = first_root(crosses, jnp.ones_like(level), level, shape[0], last)
    for _ in range(_STEPS[x.dtype.itemsize]):
        value, slope = level + _integral(x, *shape), _rate(x, *shape)
        rise = shape[1] - shape[0] + shape[2] * (2 * x - 1)
        square = slope**2 - 2 * rise * value
        # As in `first_root`: nothing is infinite where this is differentiated itself.
        real = crosses & (square > 0)
        below = slope + jnp.where(real, jnp.sqrt(jnp.where(real, square, 1)), 0)
        step = 2 * value / jnp.where(below > 0, below, 1)
        x = jnp.where(crosses & (below > 0), jnp.clip(x - step, 0, 1), x)
    return x


@_root.defjvp
def _root_jvp(primals, tangents):
    """The implicit function theorem: dx = -dE / E', by a number for each of what E is made of."""
    crosses, level, *hazards = primals
    x = _root(*primals)
    slope, value = _rate(x, *_shape(*hazards)), lambda *hazards: _integral(x, *_shape(*hazards))
    usable = crosses & (slope > 0)
    by = jnp.where(usable, -1, 0) / jnp.where(usable, slope, 1)
    shares = by, *jax.vjp(value, *hazards)[1](by)
    return x, functools.reduce(operator.add, map(operator.mul, shares, tangents[1:]))
