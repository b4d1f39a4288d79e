"""Sums over the spikes of each neuron, and finding them."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, Shaped

from .._misc import tensordot

# A product with a matrix of 0 and 1 is faster where that is small; above, it would cost spikes x
# neurons.
_SMALL = 2**17


def sum_by_mark(
    values: Shaped[Array, " spikes *rest"], marks: Int[Array, " spikes"], neurons: int
) -> Shaped[Array, " neurons *rest"]:
    """What belongs to the spikes of each neuron, added up; -1 belongs to none."""
    if marks.shape[0] * neurons <= _SMALL:
        own = marks[None] == jnp.arange(neurons, dtype=marks.dtype)[:, None]
        return tensordot(own.astype(values.dtype), values, 1)
    there = marks >= 0
    values = jnp.where(there.reshape(-1, *(1,) * (values.ndim - 1)), values, 0)
    return jax.ops.segment_sum(values, jnp.maximum(marks, 0), neurons)


def count_by_mark(marks: Int[Array, " spikes"], neurons: int) -> Int[Array, " neurons"]:
    """The number of spikes of each neuron."""
    return sum_by_mark(jnp.ones(marks.shape, jnp.int32), marks, neurons)


def find_first(
    mask: Bool[Array, "*batch spikes"], n: int
) -> tuple[Int[Array, "*batch n"], Bool[Array, "*batch n"]]:
    """Where the first `n` of a mask are, 0 where there are no more; and whether they are there."""
    rank = jnp.cumsum(mask, -1, dtype=jnp.int32)
    wanted = jnp.arange(1, n + 1, dtype=jnp.int32)
    find = lambda r: jnp.searchsorted(r, wanted, side="left")
    index = jnp.vectorize(find, signature="(spikes)->(n)")(rank)
    there = index < mask.shape[-1]
    return jnp.where(there, index, 0), there
