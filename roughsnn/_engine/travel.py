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
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array, Float, Int

from .._model.connectivity import SparseWeights
from .._model.links import Link
from .._solve.setup import compact
from .arrivals import SpikeArrivals
from .delivery import deliver, deliver_all, moments, scaled_by
from .recent import Recent


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
    back = jnp.stack([slot - steps.cells, slot - steps.cells - 1]) % slots
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
    there, weights = jnp.isfinite(came.times), came.weights
    left = length - jnp.where(there, came.times, 0)
    each = scaled_by(came.strong, moments(length, left))
    each = [jnp.sum(jnp.where(there, x, 0), 0) for x in each]
    if came.times.ndim == 2:
        return jnp.stack(deliver(weights, jnp.any(there, 0), each))
    if not isinstance(weights, SparseWeights):
        return jnp.stack([jnp.sum(weights * x, 0) for x in each])
    zero = jnp.zeros(weights.size, left.dtype)
    return jnp.stack([zero.at[weights.targets].add(weights.values * x) for x in each])


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
    delay, dtype = jnp.broadcast_to(link.delay, offsets.shape[1:])[None], offsets.dtype
    emitted = jnp.arange(offsets.shape[0], dtype=jnp.int32) - (offsets.shape[0] - cells)
    later, after = Steps.of(delay.astype(dtype), dt0).arrival(offsets, dt0)
    cell = emitted[:, None] + later
    inside = (cell >= 0) & (cell < cells) & jnp.isfinite(after)
    cell = jnp.clip(cell, 0, cells - 1)
    left = jnp.where(inside, lengths[cell] - jnp.where(inside, after, 0), -1)
    inside = inside & (left >= 0)
    numbers = jnp.arange(offsets.size, dtype=jnp.int32)
    marks = jnp.where(inside.reshape(-1), numbers, -1)
    (spikes,) = compact(marks, min(room * link.copies, offsets.size), (marks, -1))
    at = jnp.maximum(spikes, 0)
    pre = jnp.where(spikes >= 0, at % offsets.shape[1], -1)
    cell, left = cell.reshape(-1)[at], left.reshape(-1)[at]
    strong = None if strong is None else strong.reshape(-1)[at]
    return deliver_all(change, pre, cell, left, lengths, moments, strong)


def take(ring: Array, back: Array, columns: np.ndarray | None = None) -> tuple[Array, Array]:
    """The ring, and `ring[back]`, or its entries at these columns.

    That the ring goes through makes its derivative add to what there is in place: that of an index
    would make an array of the size of the ring for each cell.
    """
    if columns is None:
        columns = np.zeros((0,), np.int32)
    return tuple(_take.bind(ring, back, jnp.asarray(columns)))


def _taken(ring, back, columns):
    def rows(ring):
        if columns.size:
            return ring[back, columns]
        own = [jax.lax.dynamic_index_in_dim(ring, k, keepdims=False) for k in back]
        return jnp.stack(own)

    return ring, _of_batch(rows, ring.ndim - 2)(ring)


def _put_back(ring, rows, back, columns):
    def add(ring, rows):
        if columns.size:
            return ring.at[back, columns].add(rows)
        for k, row in zip(back, rows, strict=True):
            now = jax.lax.dynamic_index_in_dim(ring, k, keepdims=False)
            ring = jax.lax.dynamic_update_index_in_dim(ring, now + row, k, 0)
        return ring

    return _of_batch(add, ring.ndim - 2)(ring, rows)


def _of_batch(fn, axes: int):
    """The function of all samples of a batch."""
    return fn if axes == 0 else jax.vmap(_of_batch(fn, axes - 1))


_take = Primitive("take_from_ring")
_take.multiple_results = True
_take.def_impl(jax.jit(_taken))
_put = Primitive("put_into_ring")
_put.def_impl(jax.jit(_put_back))


@_take.def_abstract_eval
def _(ring, back, columns):
    shape = back.shape if columns.size else (*back.shape, ring.shape[-1])
    return ring, ring.update(shape=(*ring.shape[:-2], *shape))


@_put.def_abstract_eval
def _(ring, rows, back, columns):
    del rows, back, columns
    return ring


mlir.register_lowering(_take, mlir.lower_fun(_taken, multiple_results=True))
mlir.register_lowering(_put, mlir.lower_fun(_put_back, multiple_results=False))


def _take_jvp(primals, tangents):
    ring, back, columns = primals
    moved = ad.instantiate_zeros(tangents[0])
    return _take.bind(ring, back, columns), _take.bind(moved, back, columns)


def _put_jvp(primals, tangents):
    ring, rows, back, columns = primals
    moved = [ad.instantiate_zeros(x) for x in tangents[:2]]
    return _put.bind(ring, rows, back, columns), _put.bind(*moved, back, columns)


def _take_transpose(cts, ring, back, columns):
    del ring
    ring, rows = (ad.instantiate_zeros(x) for x in cts)
    return _put.bind(ring, rows, back, columns), None, None


def _put_transpose(ct, ring, rows, back, columns):
    if type(ct) is ad.Zero:
        return None, None, None, None
    through, read = _take.bind(ct, back, columns)
    one = through if ad.is_undefined_primal(ring) else None
    return one, read if ad.is_undefined_primal(rows) else None, None, None


def _front(x, dim, size):
    return jnp.broadcast_to(x, (size, *x.shape)) if dim is None else jnp.moveaxis(x, dim, 0)


def _batch(bind, plain, many):
    def batched(operands, dims):
        *moving, back, columns = operands
        size = next(x.shape[d] for x, d in zip(operands, dims, strict=True) if d is not None)
        if dims[-2] is None and dims[-1] is None:
            front = [_front(x, d, size) for x, d in zip(moving, dims, strict=False)]
            out = bind(*front, back, columns)
        else:
            # Delays of its own for each sample.
            out = jax.vmap(plain, dims)(*operands)
        return (list(out), [0, 0]) if many else (out, 0)

    return batched


ad.primitive_jvps[_take] = _take_jvp
ad.primitive_jvps[_put] = _put_jvp
ad.primitive_transposes[_take] = _take_transpose
ad.primitive_transposes[_put] = _put_transpose
batching.primitive_batchers[_take] = _batch(_take.bind, _taken, True)
batching.primitive_batchers[_put] = _batch(_put.bind, _put_back, False)
