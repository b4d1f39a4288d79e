r"""Rows of a ring, read and written in place, with derivatives that are in place.

JAX's own derivative of a read makes an array of the size of the ring, and XLA copies a ring for
each cell where what writes in it does not depend on all that reads it before.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax.interpreters import ad
from jaxtyping import Array, Int

from .._misc import made_once
from .samples import of_samples, primitive, summed


def take(ring: Array, back: Array, columns: np.ndarray | None = None) -> tuple[Array, Array]:
    """The ring, and `ring[back]`, or its entries at these columns.

    The ring goes through so that its derivative adds to what there is.
    """
    if columns is None:
        columns = np.zeros((0,), np.int32)
    return tuple(_take.bind(ring, back, jnp.asarray(columns)))


def write(ring: Array, row: Array, slot: int | Int[Array, ""]) -> Array:
    """The ring with another row, at a place from 0 on."""
    return _write.bind(ring, row, jnp.asarray(slot))[0]


def _taken(ring, back, columns):
    def one(ring, back, columns):
        if columns.size:
            return ring, ring[back, columns]
        own = [jax.lax.dynamic_index_in_dim(ring, k, keepdims=False) for k in back]
        return ring, jnp.stack(own)

    return of_samples(one, (ring, back, columns), _RANKS)


def _put_back(ring, rows, back, columns):
    """The transpose: these rows are added."""

    def one(ring, rows, back, columns):
        if columns.size:
            return (ring.at[back, columns].add(rows),)
        for k, row in zip(back, rows, strict=True):
            now = jax.lax.dynamic_index_in_dim(ring, k, keepdims=False)
            ring = jax.lax.dynamic_update_index_in_dim(ring, now + row, k, 0)
        return (ring,)

    return of_samples(one, (ring, rows, back, columns), _RANKS)


def _written(ring, row, slot):
    one = lambda ring, row, slot: (jax.lax.dynamic_update_index_in_dim(ring, row, slot, 0),)
    return of_samples(one, (ring, row, slot), _RANKS)


def _taken_out(ring, slot):
    """The transpose: the row is read, and zeros take its place."""

    def one(ring, slot):
        row = jax.lax.dynamic_index_in_dim(ring, slot, keepdims=False)
        # Before the zeros are written, which seem to depend on it: else XLA copies the ring.
        there = slot >= 0
        row = made_once(row, there)
        nothing = jnp.where(there, 0, row)
        return jax.lax.dynamic_update_index_in_dim(ring, nothing, slot, 0), row

    return of_samples(one, (ring, slot), _RANKS)


# The number of axes of the ring of one sample.
_RANKS = (2,)
_take, _put = primitive("take_from_ring", _taken), primitive("put_into_ring", _put_back)
_write, _take_out = (
    primitive("write_into_ring", _written),
    primitive("take_out_of_ring", _taken_out),
)


def _is_linear(read, write) -> None:
    """Derivatives of what reads a ring (ring, ...) and what writes in it (ring, rows, ...), linear
    in these, each of which is the transpose of the other."""

    def jvp_of(p, moving: int):
        def jvp(primals, tangents):
            moved = [ad.instantiate_zeros(x) for x in tangents[:moving]]
            return p.bind(*primals), p.bind(*moved, *primals[moving:])

        return jvp

    def of_read(cts, ring, *fixed):
        (own,) = write.bind(*map(ad.instantiate_zeros, cts), *fixed)
        return summed(own, ring), *[None] * len(fixed)

    def of_write(cts, ring, rows, *fixed):
        found = read.bind(*map(ad.instantiate_zeros, cts), *fixed)
        pairs = zip(found, (ring, rows), strict=True)
        own = [summed(x, like) if ad.is_undefined_primal(like) else None for x, like in pairs]
        return *own, *[None] * len(fixed)

    ad.primitive_jvps[read], ad.primitive_jvps[write] = jvp_of(read, 1), jvp_of(write, 2)
    ad.primitive_transposes[read], ad.primitive_transposes[write] = of_read, of_write


_is_linear(_take, _put)
_is_linear(_take_out, _write)
