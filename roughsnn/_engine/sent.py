"""What goes out by a link in a cell."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from .._model.links import Link
from .._types import Scalar
from .arrivals import SpikeArrivals
from .delivery import deliver, scaled_by


class Sent(NamedTuple):
    """What goes out by a link in a cell: with the weights that the spikes find, which of its rows
    fired, how long before the end of the cell, and how strongly."""

    link: Link
    hit: Bool[Array, " rows"]
    r: Float[Array, " rows"]
    strong: Float[Array, " rows"] | None

    def delivered(self, sources: list[Array]) -> list[Array]:
        """The sums over the spikes, for each kind of source."""
        return deliver(self.link.weights, self.hit, scaled_by(self.strong, sources))

    def each(self, length: Scalar) -> SpikeArrivals:
        """The spikes."""
        times = jnp.where(self.hit, length - self.r, jnp.inf)
        return SpikeArrivals(
            self.link.weights, times[None], None if self.strong is None else self.strong[None]
        )
