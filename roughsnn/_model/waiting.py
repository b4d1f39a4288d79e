"""What will happen in a network without a spike: arrivals of spikes that travel, and the ends of
refractory times.

Both are events of the engine that takes one after the other: their times are states that run down.
"""

import dataclasses
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from .._misc import one_hot
from .connectivity import SparseWeights, onto_targets
from .layout import Layout
from .links import Link
from .state import Waiting


class Agenda(eqx.Module):
    """Which things may wait: first the end of each neuron's refractory time, then arrivals.

    An arrival is known by a number: that of its row, of all links, or of its synapse where each
    has a delay of its own.
    """

    layout: Layout
    links: tuple[Link, ...]
    refractory: tuple[Float[Array, "*neurons"] | None, ...]
    max_pending: int = eqx.field(static=True)

    @property
    def releases(self) -> int:
        """How many of the places are those of refractory times."""
        held = any(hold is not None for hold in self.refractory)
        return self.layout.size if held else 0

    @property
    def places(self) -> int:
        """How many there are in all."""
        return self.releases + (self.max_pending if self.links else 0)

    @property
    def per_spike(self) -> int:
        """How much one spike may bring about, at most."""
        return (self.releases > 0) + sum(
            _entries(link, self.layout).shape[1] for link in self.links
        )

    def empty(self, dtype: Any) -> Waiting:
        """Where nothing waits."""
        zero = jnp.zeros(self.places, dtype)
        scale = zero if any(link.plasticity is not None for link in self.links) else None
        return Waiting(zero + 1, zero, zero, jnp.zeros((), dtype), scale)

    def after_spike(
        self, waiting: Waiting, k: Int[Array, ""], amplitudes: dict[str, Array]
    ) -> Waiting:
        """With all that a spike of neuron k brings about; the same if there is no such neuron.
        `amplitudes` say how strong it is by the links with plasticity."""
        fired, left, used, what = k < self.layout.size, waiting.left, waiting.used, waiting.what
        dtype = left.dtype
        if self.releases:
            each = [
                jnp.broadcast_to(jnp.zeros((), dtype) if hold is None else hold, (group.size,))
                for hold, group in zip(self.refractory, self.layout.groups, strict=True)
            ]
            times = jnp.concatenate(each).astype(dtype)
            own = one_hot(k, self.layout.size) & (times > 0)
            left = left.at[: self.releases].set(jnp.where(own, times, left[: self.releases]))
            used = used.at[: self.releases].set(jnp.where(own, 1, used[: self.releases]))
        lost, scale, first = waiting.lost, waiting.scale, 0
        for link in self.links:
            entries = jnp.asarray(_entries(link, self.layout))[jnp.minimum(k, self.layout.size - 1)]
            there = fired & (entries >= 0) & _has_target(link, entries)
            assert link.delay is not None
            delay = jnp.broadcast_to(link.delay, _delays(link)).reshape(-1).astype(dtype)
            wanted = delay[jnp.maximum(entries, 0)]
            # The first free places, and behind the last one what is lost.
            free = jnp.cumsum(used[self.releases :] == 0, dtype=jnp.int32)
            rank = jnp.cumsum(there, dtype=jnp.int32)
            place = jnp.searchsorted(free, rank, side="left").astype(jnp.int32)
            place = jnp.where(there, place, self.max_pending) + self.releases
            put = lambda x, value, place=place: x.at[place].set(value, mode="drop")
            left, used = put(left, wanted), put(used, jnp.ones_like(wanted))
            what = put(what, (entries + first).astype(dtype))
            if scale is not None:
                scale = put(scale, _strong(link, entries, amplitudes).astype(dtype))
            lost = lost + jnp.sum(there & (rank > free[-1]), dtype=jnp.int32).astype(dtype)
            first += int(np.prod(_delays(link)))
        return Waiting(left, used, what, lost, scale)

    def after_waiting(
        self, waiting: Waiting, k: Int[Array, ""]
    ) -> tuple[Waiting, list[Float[Array, " targets"]]]:
        """Once what has the number k among the events is over, and what it brings by each link."""
        place = k - self.layout.size
        own = one_hot(place, self.places)
        number = jnp.sum(jnp.where(own, waiting.what, 0)).astype(jnp.int32)
        arrives, first, amounts = place >= self.releases, 0, []
        strong = 1 if waiting.scale is None else jnp.sum(jnp.where(own, waiting.scale, 0))
        for link in self.links:
            total = int(np.prod(_delays(link)))
            here = arrives & (number >= first) & (number < first + total)
            index = jnp.clip(number - first, 0, total - 1)
            amounts.append(jnp.where(here, strong * _amount(link, index), 0))
            first += total
        left, used = jnp.where(own, 1, waiting.left), jnp.where(own, 0, waiting.used)
        return dataclasses.replace(waiting, left=left, used=used), amounts

    def sender(self, waiting: Waiting, k: Int[Array, ""]) -> Int[Array, ""]:
        """The neuron, group after group, whose spike an event is or brings; behind the last one for
        the end of a refractory time."""
        size, place = self.layout.size, k - self.layout.size
        rows = [
            np.repeat(link.indices, np.prod(_delays(link)) // len(link.indices))
            for link in self.links
        ]
        senders = np.concatenate([*rows, [size]]).astype(np.int32)
        number = jnp.sum(jnp.where(one_hot(place, self.places), waiting.what, 0)).astype(jnp.int32)
        arrived = jnp.asarray(senders)[jnp.clip(number, 0, len(senders) - 1)]
        return jnp.where(k < size, k, jnp.where(place >= self.releases, arrived, size))


def _strong(link: Link, entries: Array, amplitudes: dict[str, Array]) -> Array:
    """How strong what arrives is."""
    if link.name not in amplitudes:
        return jnp.ones(entries.shape)
    shape = _delays(link)
    width = shape[1] if len(shape) == 2 else 1
    return amplitudes[link.name][jnp.maximum(entries, 0) // width]


def _delays(link: Link) -> tuple[int, ...]:
    """The shape of the delays, one for each row or each synapse."""
    assert link.delay is not None
    return link.delay.shape if link.delay.ndim == 2 else (len(link.indices),)


def _entries(link: Link, layout: Layout) -> Int[np.ndarray, "neurons entries"]:
    """The numbers of what arrives by a spike of each neuron; -1 for padding."""
    shape, rows = _delays(link), link.rows_of(layout.size)[:, :, None]
    width = shape[1] if len(shape) == 2 else 1
    found = np.where(rows >= 0, rows * width + np.arange(width, dtype=np.int32), -1)
    return found.astype(np.int32).reshape(layout.size, -1)


def _has_target(link: Link, entries: Int[Array, " entries"]) -> Bool[Array, "#entries"]:
    """Whether something gets what arrives: a list may have synapses without a target."""
    if len(_delays(link)) == 1 or not isinstance(link.weights, SparseWeights):
        return jnp.ones(1, bool)
    return link.weights.targets.reshape(-1)[jnp.maximum(entries, 0)] >= 0


def _amount(link: Link, index: Int[Array, ""]) -> Float[Array, " targets"]:
    """What a row, or a synapse, brings to each target."""
    shape, weights = _delays(link), link.weights
    if len(shape) == 1:
        return weights.row(index) if isinstance(weights, SparseWeights) else weights[index]
    row, column = index // shape[1], index % shape[1]
    if isinstance(weights, SparseWeights):
        zero = jnp.zeros(weights.size, weights.values.dtype)
        return onto_targets(zero, weights.targets[row, column], weights.values[row, column])
    return jnp.where(one_hot(column, shape[1]), weights[row], 0)
