"""How the targets of spikes respond inside of a cell."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from .._misc import at_most, matmul, max_in_batch
from .._model.connectivity import SparseWeights
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

    def sources(self, r: Float[Array, "*neurons"]) -> list[Array]:
        """What is to be summed over spikes a time r before the end of the cell."""
        early = at_most(r / self.length, 1)
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
        of = lambda q, a, b, c: q.a * a + q.b * b + q.c * c
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
        return response.targets([matmul(jnp.where(hit, x, 0), weights) for x in sources])
    sums = spread(weights, hit, jnp.stack(sources))
    return response.targets([sums[k] for k in range(len(sources))])


def deliver_all(
    weights: Weights,
    pre: Int[Array, " spikes"],
    cell: Int[Array, " spikes"],
    left: Float[Array, " spikes"],
    lengths: Float[Array, " cells"],
    response: Callable[[Array], Response],
) -> Float[Array, "cells 3 targets"]:
    """What all spikes together add to each cell: to v, to i, and to the potential in the hazard.

    Each is of neuron `pre` (-1: none; these come last), a time `left` before the end of `cell`.
    `response` is that in a cell of a given length.
    """
    room, cells = pre.shape[0], lengths.shape[0]
    sparse = isinstance(weights, SparseWeights)
    rows, width = weights.values.shape if sparse else weights.shape
    n = weights.shape[1]
    kinds = len(response(lengths[0]).sources(left[:1]))
    # So many spikes at a time that they take less memory than the weights or the result.
    size = max(1, min(room, max(2**16 // (kinds * width), max(rows, cells) // 3)))
    blocks = -(-room // size)

    def blocked(x, fill):
        x = jnp.pad(x, (0, blocks * size - room), constant_values=fill)
        return x.reshape(blocks, size)

    @jax.checkpoint
    def some(weights, total, spikes):
        pre, cell, left = spikes
        there, pre, length = pre >= 0, jnp.maximum(pre, 0), lengths[cell]
        left = jnp.where(there, left, 0)
        sources = jax.vmap(lambda h, r: jnp.stack(response(h).sources(r)))(length, left)
        sources = jnp.where(there[:, None], sources, 0)
        if isinstance(weights, SparseWeights):
            values = sources[:, None, :] * weights.values[pre][:, :, None]
            return total.at[cell[:, None], weights.targets[pre]].add(values), None
        return total.at[cell].add(sources[:, :, None] * weights[pre][:, None, :]), None

    def first(number):
        def branch(weights, spikes):
            # The targets of a list are far apart, the kinds of a target should not be.
            zero = jnp.zeros((cells, n, kinds) if sparse else (cells, kinds, n), lengths.dtype)
            spikes = jax.tree.map(lambda x: x[:number], spikes)
            sums = jax.lax.scan(lambda t, s: some(weights, t, s), zero, spikes)[0]
            return jnp.moveaxis(sums, -1, 1) if sparse else sums

        return branch

    # Rarely are there as many spikes as there is room for.
    levels = [blocks]
    while levels[0] > 1:
        levels.insert(0, -(-levels[0] // 4))
    number = max_in_batch(jnp.sum(pre >= 0, dtype=jnp.int32))
    level = sum((number > k * size).astype(jnp.int32) for k in levels[:-1])
    spikes = blocked(pre, -1), blocked(cell, 0), blocked(left, 0)
    sums = jax.lax.switch(level, [first(k) for k in levels], weights, spikes)

    def of_cell(length, sums):
        return jnp.stack(response(length).targets([sums[k] for k in range(kinds)]))

    return jax.vmap(of_cell)(lengths, sums)
