"""How the targets of spikes respond inside of a cell."""

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from .spread import Weights, is_small, spread


class Quadratic(NamedTuple):
    """a + b r + c r^2, for each neuron or for all."""

    a: Array
    b: Array
    c: Array

    @classmethod
    def through(cls, a, b, end, length) -> "Quadratic":
        """The one with value a and slope b at 0, and value `end` at `length`."""
        return cls(a, b, (end - a - b * length) / length**2)

    def __call__(self, r):
        return self.a + r * (self.b + r * self.c)


class Response(NamedTuple):
    """How targets respond to a unit jump of the current: v and i after a time r."""

    v: Quadratic
    i: Quadratic
    length: Array

    def sources(self, r: Float[Array, " neurons"]) -> list[Array]:
        """What is to be summed over spikes a time r before the end of the cell."""
        early = jnp.minimum(r / self.length, 1)
        if not self._own:
            v = self.v(r)
            return [v, self.i(r), v * early]
        powers = [jnp.ones_like(r), r, r**2]
        return [*powers, *(early * p for p in powers)]

    def targets(self, sums: Sequence[Array]) -> tuple[Array, Array, Array]:
        """What the sums make of v, of i, and of the potential in the hazard, where a spike counts
        with r as a part of the cell."""
        if not self._own:
            v, i, early = sums
            return v, i, early
        of = lambda q, a, b, c: q.a * a + q.b * b + q.c * c  # noqa: E731
        return of(self.v, *sums[:3]), of(self.i, *sums[:3]), of(self.v, *sums[3:])

    @property
    def _own(self) -> bool:
        """Whether each target has its own response."""
        return max(jnp.ndim(x) for x in (*self.v, *self.i)) > 0


def deliver(
    weights: Weights, hit: Bool[Array, " neurons"], r: Float[Array, " neurons"], response: Response
) -> tuple[Array, Array, Array]:
    """What the neurons that were `hit`, a time r before the cell's end, add to v, to i, and to the
    potential in the hazard."""
    sources = response.sources(r)
    if is_small(weights):
        # Stacking would cost more than the products do.
        return response.targets([jnp.where(hit, x, 0) @ weights for x in sources])
    sums = spread(weights, hit, jnp.stack(sources))
    return response.targets([sums[k] for k in range(len(sources))])
