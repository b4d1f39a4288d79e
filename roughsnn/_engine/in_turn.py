"""The neurons that fired, one after the other: on a CPU the quickest way to visit their rows.

There a loop over rows is one kernel, and XLA's gathers and scatters of several rows at once take
four times as long for each synapse. Other devices want many rows at a time.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

# Blocks of so many neurons of which none fired are passed over.
_BLOCK = 64

_T = TypeVar("_T")


class Visited(NamedTuple):
    """A neuron k of sample s, of samples that have these leading axes; `number` counts the neurons
    of all samples."""

    number: Int[Array, ""]
    s: Int[Array, ""]
    k: Int[Array, ""]
    lead: tuple[int, ...]

    def sample(self, x: Array, rank: int) -> Int[Array, ""]:
        """Which sample of an operand it is, whose leading axes have length 1 where it is shared."""
        found, stride, inner = jnp.zeros((), jnp.int32), 1, 1
        own = x.shape[: x.ndim - rank]
        for size, full in zip(reversed(own), reversed(self.lead), strict=True):
            if size > 1:
                found, stride = found + self.s // inner % full * stride, stride * size
            inner *= full
        return found

    def row(self, x: Array, rank: int) -> Array:
        """Its row of an operand, whose samples have `rank` axes."""
        neurons = x.shape[x.ndim - rank]
        rows = x.reshape(-1, *x.shape[x.ndim - rank + 1 :])
        return rows[self.sample(x, rank) * neurons + self.k]

    def column(self, x: Array, rank: int) -> Array:
        """The same of one with the neurons on its last axis."""
        each = x.reshape(-1, *x.shape[x.ndim - rank :])
        return each[self.sample(x, rank), ..., self.k]


def lead_of(operands: Sequence[Array], ranks: Sequence[int]) -> tuple[int, ...]:
    """The leading axes of all samples."""
    own = (x.shape[: x.ndim - rank] for x, rank in zip(operands, ranks, strict=True))
    return jnp.broadcast_shapes(*own)


def numbers_of(hit: Bool[Array, " n"]) -> tuple[Int[Array, " n"], Int[Array, ""]]:
    """The numbers of those that were hit, in their order and in front, and how many they are."""
    n = hit.shape[0]
    blocks = jnp.pad(hit, (0, -n % _BLOCK)).reshape(-1, _BLOCK)
    some, number = jnp.any(blocks, 1), jnp.sum(hit, dtype=jnp.int32)

    def of_block(b, found):
        def put(j, found):
            numbers, k = found
            # What is not hit is written over by the next one.
            return numbers.at[k].set(b * _BLOCK + j), k + blocks[b, j].astype(jnp.int32)

        return jax.lax.fori_loop(0, jnp.where(some[b], _BLOCK, 0), put, found)

    start = jnp.zeros(n + 1, jnp.int32), jnp.zeros((), jnp.int32)
    numbers, _ = jax.lax.fori_loop(0, jnp.where(number > 0, blocks.shape[0], 0), of_block, start)
    return numbers[:n], number


def in_turn(
    lead: tuple[int, ...],
    hit: Bool[Array, "*#lead n"],
    visit: Callable[[Visited, _T], _T],
    total: _T,
) -> _T:
    """`visit(neuron, total)` of each neuron of each sample that was hit, in their order."""
    n = hit.shape[-1]
    numbers, number = numbers_of(jnp.broadcast_to(hit, (*lead, n)).reshape(-1))

    def more(i, total):
        found = numbers[i]
        # With one sample there is nothing to divide.
        s, k = (jnp.zeros_like(found), found) if math.prod(lead) == 1 else jnp.divmod(found, n)
        return visit(Visited(found, s, k, lead), total)

    return jax.lax.fori_loop(0, number, more, total)
