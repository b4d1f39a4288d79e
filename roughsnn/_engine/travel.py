r"""Spikes that travel: what arrives in a cell from spikes of earlier ones.

The offsets of the spikes of the last cells are kept in a ring, a row for each cell. A delay is
$k h + d$ with $0 \le d < h$: the spikes that arrive in a cell are those of the k-th cell before it
at offsets $o < h - d$, and those of the (k+1)-th at $o \ge h - d$. As delays are not shorter than a
cell, all that arrives is known when the cell begins, and is input of its step.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from .._misc import made_once
from .._model.connectivity import SparseWeights, onto_targets
from .._model.links import Link
from .._solve.setup import compact
from .arrivals import SpikeArrivals
from .delivery import deliver, deliver_all, moments, scaled_by
from .recent import Recent
from .ring import take


def slots_of(links: tuple[Link, ...], dt0: float) -> int:
    """How many cells back a spike may be that arrives now, at most."""
    return max((int(np.floor(link.max_delay / dt0 + 1e-6)) + 2 for link in links), default=0)


class Steps(NamedTuple):
    """A delay as so many cells, at least one, and the rest."""

    cells: Int[Array, "..."]
    rest: Float[Array, "..."]

    @classmethod
    def of(cls, delay: Float[Array, "..."], dt0: float) -> "Steps":
        """Which cell it is may be rounded either way: the rest makes up for it."""
        number = jnp.floor(jax.lax.stop_gradient(delay) / dt0).astype(jnp.int32)
        number = jnp.maximum(number, 1)
        return cls(number, delay - number.astype(delay.dtype) * dt0)

    def arrival(
        self, offset: Float[Array, "..."], dt0: float
    ) -> tuple[Int[Array, "..."], Float[Array, "..."]]:
        """After how many cells a spike arrives that happens at an offset, and at which offset."""
        after = offset + self.rest
        next_one = after >= dt0
        return self.cells + next_one.astype(jnp.int32), jnp.where(next_one, after - dt0, after)


def arrivals_of(
    ring: Recent, link: Link, slot: Int[Array, ""], length: Float[Array, ""], dt0: float
) -> tuple[Recent, SpikeArrivals]:
    """The ring, and what a link brings in the cell that begins."""
    assert link.delay is not None
    all_offsets, sent = ring.offsets, ring.amplitudes.get(link.name)
    slots, dtype = all_offsets.shape[0], all_offsets.dtype
    steps = Steps.of(link.delay.astype(dtype), dt0)
    back = jnp.stack([slot - steps.cells, slot - steps.cells - 1])
    # Not by a remainder, which takes longer than all the rest.
    back = jnp.where(back < 0, back + slots, back)
    rest = steps.rest
    if link.delay.ndim == 0:
        all_offsets, rows = take(all_offsets, back)
        offsets = link.of_rows(rows)
        sent, strong = (None, None) if sent is None else take(sent, back)
    else:
        all_offsets, offsets = take(all_offsets, back, _each(link, link.indices))
        rows = _each(link, np.arange(len(link.indices), dtype=np.int32))
        sent, strong = (None, None) if sent is None else take(sent, back, rows)
    amplitudes = ring.amplitudes if sent is None else ring.amplitudes | {link.name: sent}
    ring = Recent(all_offsets, amplitudes)
    after = jnp.stack([offsets[0] + rest, offsets[1] + rest - dt0])
    there = jnp.stack([after[0] < dt0, after[1] >= 0]) & jnp.isfinite(after) & (after <= length)
    return ring, SpikeArrivals(link.weights, jnp.where(there, after, jnp.inf), strong)


def moments_of(came: SpikeArrivals, length: Float[Array, ""]) -> Float[Array, "3 targets"]:
    """The moments of what arrives in a cell."""
    times, weights = made_once(came.times, length >= 0), came.weights
    there = jnp.isfinite(times)
    left = length - jnp.where(there, times, 0)
    each = scaled_by(came.strong, moments(length, left))
    # Not by a sum over an axis, for which XLA may start threads.
    first, second = there
    each = [jnp.where(first, x[0], 0) + jnp.where(second, x[1], 0) for x in each]
    if came.times.ndim == 2:
        return jnp.stack(deliver(weights, jnp.any(there, 0), each))
    if not isinstance(weights, SparseWeights):
        return jnp.stack([jnp.sum(weights * x, 0) for x in each])
    zero = jnp.zeros(weights.size, left.dtype)
    return jnp.stack([onto_targets(zero, weights.targets, weights.values * x) for x in each])


def _each(link: Link, rows: np.ndarray) -> np.ndarray:
    """What there is for each row, for each delay of a link."""
    assert link.delay is not None
    return np.broadcast_to(rows[:, None], link.delay.shape) if link.delay.ndim == 2 else rows


def delivered_later(
    link: Link,
    change,
    history: Recent,
    lengths: Float[Array, " cells"],
    dt0: float,
    room: int,
) -> Float[Array, "cells 3 targets"]:
    """What the weights `change` bring in each cell, by the spikes of these cells and of those
    before."""
    assert link.delay is not None
    cells, (offsets, strong) = lengths.shape[0], history.of(link)
    before, rows = offsets.shape[0] - cells, offsets.shape[1]
    delay = jnp.broadcast_to(link.delay, (rows,)).astype(offsets.dtype)
    # From the last cell on, which a block may repeat, they may be shorter.
    whole, last = jnp.sum(lengths > lengths[-1], dtype=jnp.int32), lengths[-1]

    def arrival(offsets, delay, emitted):
        later, after = Steps.of(delay, dt0).arrival(offsets, dt0)
        cell = emitted + later - before
        there = (cell < whole) | ((cell < cells) & (after <= last))
        return cell, after, (cell >= 0) & there & jnp.isfinite(after)

    emitted = jnp.arange(offsets.shape[0], dtype=jnp.int32)[:, None]
    _, _, inside = jax.lax.stop_gradient(arrival(offsets, delay[None], emitted))
    numbers = jnp.arange(offsets.size, dtype=jnp.int32)
    marks = jnp.where(inside.reshape(-1), numbers, -1)
    (spikes,) = compact(marks, min(room * link.copies, offsets.size), (marks, -1))
    # Of these alone the times.
    at = jnp.maximum(spikes, 0)
    cell, after, _ = arrival(offsets.reshape(-1)[at], delay[at % rows], at // rows)
    there, cell = spikes >= 0, jnp.clip(cell, 0, cells - 1)
    left = lengths[cell] - jnp.where(there, after, 0)
    pre = jnp.where(there, at % rows, -1)
    strong = None if strong is None else strong.reshape(-1)[at]
    return deliver_all(change, pre, cell, left, lengths, moments, strong)
