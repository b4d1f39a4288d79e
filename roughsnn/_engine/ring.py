r"""Rows of a ring, read and written in place, with derivatives that are in place.

JAX's own derivative of a read makes an array of the size of the ring, and XLA copies a ring for
each cell where what writes in it does not depend on all that reads it before.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array, Int

from .._misc import made_once


def take(ring: Array, back: Array, columns: np.ndarray | None = None) -> tuple[Array, Array]:
    """The ring, and `ring[back]`, or its entries at these columns.

    The ring goes through so that its derivative adds to what there is.
    """
    if columns is None:
        columns = np.zeros((0,), np.int32)
    return tuple(_take.bind(ring, back, jnp.asarray(columns)))


def write(ring: Array, row: Array, slot: int | Int[Array, ""]) -> Array:
    """The ring with another row, at a place from 0 on."""
    return _write.bind(ring, row, jnp.asarray(slot))


def _taken(ring, back, columns):
    def rows(ring):
        if columns.size:
            return ring[back, columns]
        own = [jax.lax.dynamic_index_in_dim(ring, k, keepdims=False) for k in back]
        return jnp.stack(own)

    return ring, _of_batch(rows, ring.ndim - 2)(ring)


def _put_back(ring, rows, back, columns):
    """The transpose: these rows are added."""

    def add(ring, rows):
        if columns.size:
            return ring.at[back, columns].add(rows)
        for k, row in zip(back, rows, strict=True):
            now = jax.lax.dynamic_index_in_dim(ring, k, keepdims=False)
            ring = jax.lax.dynamic_update_index_in_dim(ring, now + row, k, 0)
        return ring

    return _of_batch(add, ring.ndim - 2)(ring, rows)


def _written(ring, row, slot):
    put = lambda ring, row: jax.lax.dynamic_update_index_in_dim(ring, row, slot, 0)
    return _of_batch(put, ring.ndim - 2)(ring, row)


def _taken_out(ring, slot):
    """The transpose: the row is read, and zeros take its place."""

    def take_out(ring):
        row = jax.lax.dynamic_index_in_dim(ring, slot, keepdims=False)
        # Before the zeros are written, which seem to depend on it: else XLA copies the ring.
        there = slot >= 0
        row = made_once(row, there)
        nothing = jnp.where(there, 0, row)
        return jax.lax.dynamic_update_index_in_dim(ring, nothing, slot, 0), row

    return _of_batch(take_out, ring.ndim - 2)(ring)


def _of_batch(fn, axes: int):
    """The function of all samples of a batch."""
    return fn if axes == 0 else jax.vmap(_of_batch(fn, axes - 1))


def _primitive(name: str, fn, moving: int, many: bool) -> Primitive:
    """A function that is linear in its first arguments, so many, for all samples of a batch."""
    new = Primitive(name)
    new.multiple_results = many
    new.def_impl(jax.jit(fn))
    mlir.register_lowering(new, mlir.lower_fun(fn, multiple_results=many))

    def jvp(primals, tangents):
        moved = [ad.instantiate_zeros(x) for x in tangents[:moving]]
        fixed = primals[moving:]
        return new.bind(*primals), new.bind(*moved, *fixed)

    def batched(operands, dims):
        size = next(x.shape[d] for x, d in zip(operands, dims, strict=True) if d is not None)
        if all(d is None for d in dims[moving:]):
            front = [_front(x, d, size) for x, d in zip(operands[:moving], dims, strict=False)]
            out = new.bind(*front, *operands[moving:])
        else:
            # Delays of its own for each sample.
            out = jax.vmap(fn, dims)(*operands)
        return (list(out), [0] * len(out)) if many else (out, 0)

    ad.primitive_jvps[new] = jvp
    batching.primitive_batchers[new] = batched
    return new


def _front(x, dim, size):
    return jnp.broadcast_to(x, (size, *x.shape)) if dim is None else jnp.moveaxis(x, dim, 0)


_take = _primitive("take_from_ring", _taken, 1, True)
_put = _primitive("put_into_ring", _put_back, 2, False)
_write = _primitive("write_into_ring", _written, 2, False)
_take_out = _primitive("take_out_of_ring", _taken_out, 1, True)


@_take.def_abstract_eval
def _(ring, back, columns):
    shape = back.shape if columns.size else (*back.shape, ring.shape[-1])
    return ring, ring.update(shape=(*ring.shape[:-2], *shape))


@_take_out.def_abstract_eval
def _(ring, slot):
    del slot
    return ring, ring.update(shape=(*ring.shape[:-2], ring.shape[-1]))


@_put.def_abstract_eval
def _(ring, rows, back, columns):
    del rows, back, columns
    return ring


@_write.def_abstract_eval
def _(ring, row, slot):
    del row, slot
    return ring


def _of_read(other: Primitive):
    """The transpose of a read, by what writes."""

    def transpose(cts, ring, *fixed):
        del ring
        return other.bind(*map(ad.instantiate_zeros, cts), *fixed), *[None] * len(fixed)

    return transpose


def _of_write(other: Primitive):
    """The transpose of what writes, by a read."""

    def transpose(ct, ring, rows, *fixed):
        if type(ct) is ad.Zero:
            return None, None, *[None] * len(fixed)
        through, read = other.bind(ct, *fixed)
        one = through if ad.is_undefined_primal(ring) else None
        return one, read if ad.is_undefined_primal(rows) else None, *[None] * len(fixed)

    return transpose


ad.primitive_transposes[_take] = _of_read(_put)
ad.primitive_transposes[_put] = _of_write(_take)
ad.primitive_transposes[_write] = _of_write(_take_out)
ad.primitive_transposes[_take_out] = _of_read(_write)
