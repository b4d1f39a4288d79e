"""How neurons come to spikes that are given, and the density of these."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from .._misc import at_least, at_most
from .._model.layout import Group, Layout
from .cell_hazard import CellHazard, Nodes, ellipse


class SpikeCells(NamedTuple):
    """The cell of each spike, and the place of its neuron, group after group; when it happens after
    the start of the cell, how long that is, and what the clock shows there."""

    cell: Int[Array, " spikes"]
    place: Int[Array, " spikes"]
    offset: Float[Array, " spikes"]
    length: Float[Array, " spikes"]
    clock: Float[Array, " spikes"]


class Approach(eqx.Module):
    """What the density of a spike in a cell is made of, as it is without the spike.

    It is kept of all cells, and read where there are spikes: hazards take longer than all else.
    """

    # The hidden state at the start of the cell.
    s: Float[Array, "*cells neurons"]
    # The potentials at the start of what is not refractory, in the middle of that, and at the end;
    # how far apart hazards are read, see `apart_of`.
    v: tuple[Array, Array, Array]
    apart: Float[Array, "*cells neurons"]
    # When the neurons may fire, after the cell's start; `None` without refractoriness.
    hold: Float[Array, "*cells neurons"] | None

    @classmethod
    def of(cls, s: Array, nodes: Nodes, apart: Array | None, hold: Array | None) -> "Approach":
        """In one cell."""
        zero = jnp.zeros_like(s)
        return cls(s, nodes.v, zero if apart is None else zero + apart, hold)

    @classmethod
    def nowhere(cls, s: Array, hold: Array | None) -> "Approach":
        """Of a cell that is left out."""
        return cls(s, (s, s, s), s, hold)

    def at(self, cell: Int[Array, " spikes"], k: Int[Array, " spikes"]) -> "Approach":
        """That of spikes in these cells, of these neurons."""
        return jax.tree.map(lambda x: x[cell, k], self)

    def density(self, group: Group, spikes: SpikeCells, dt0: float) -> tuple[Array, Array]:
        """The hazard integrated since the last spike, and its logarithm, at each of these spikes,
        by the cell; where a spike is late, by the potential. The group has a neuron for each."""
        offset, length = spikes.offset, spikes.length
        rate = lambda r, v: group.rate(spikes.clock + r, v)
        log_rate = lambda r, v: group.log_rate(spikes.clock + r, v)
        begin = jnp.zeros_like(offset)
        if self.hold is not None:
            begin = at_most(at_least(self.hold, 0), length)
        times = begin, (begin + length) / 2, length
        nodes = Nodes(times, self.v, self.apart * ellipse(times[1], dt0))
        hazard = CellHazard(begin, nodes.length, *nodes.rates(rate))
        logarithm = hazard.log_at(offset, nodes.logs(log_rate))
        logarithm = jnp.where(offset < begin, log_rate(offset, nodes.parabola(offset)), logarithm)
        if self.hold is not None:
            logarithm = jnp.where(offset < self.hold, -jnp.inf, logarithm)
        # Not below 0 by rounding, in a refractory time, or by the error of a second spike in a
        # cell.
        return at_least(self.s + hazard.until(offset), 0), logarithm


def densities(
    layout: Layout, approach: tuple[Approach | None, ...], at: SpikeCells, dt0: float
) -> tuple[Array, Array]:
    """The hazard integrated since the last spike of its neuron, and its logarithm, at each spike;
    of all groups, how they came to them."""
    ahead = logarithm = jnp.zeros_like(at.offset)
    first = 0
    for group, own in zip(layout.groups, approach, strict=True):
        assert own is not None
        here, k = (at.place >= first) & (at.place < first + group.size), at.place - first
        k = jnp.clip(k, 0, group.size - 1)
        found = own.at(at.cell, k).density(group.neurons(k), at, dt0)
        ahead, logarithm = (
            jnp.where(here, a, b) for a, b in zip(found, (ahead, logarithm), strict=True)
        )
        first += group.size
    return ahead, logarithm
