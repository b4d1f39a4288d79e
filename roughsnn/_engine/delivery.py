"""How the targets of spikes respond inside of a cell."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from .._misc import made_once, matmul, max_in_batch
from .._model.connectivity import SparseWeights, onto_targets
from .._model.links import Weights
from .cell_parts import ArrivalCell, NeuronCell, Quadratic
from .phis import Entry, Vector, added, plus, product, scaled, times
from .spread import is_small, spread


class Response(NamedTuple):
    """How targets respond to a unit arrival at a port: the states of the port and of the neuron at
    the cell's end, a time r after it, and the potential in the middle of the cell, that of the
    motion under the line of the port; that they are for one port of one group."""

    port: list[Quadratic]
    neuron: list[Quadratic]
    middle: Quadratic

    @classmethod
    def of(cls, neuron: NeuronCell, arrival: ArrivalCell, length: Array) -> "Response":
        """That of neurons to arrivals at a port, in cells of this length."""
        state, row = neuron.response(arrival), (tuple(neuron.row),)
        end = [product(row, list(x))[0] for x in zip(*state, strict=True)]
        gain = product(row, neuron.gain)[0]
        slope = [times(gain, x) for x in arrival.line[0]]
        middle = added(scaled(end, 0.25), scaled(slope, length / 4))
        return cls(arrival.state, state, Quadratic(*middle))

    def sources(self, r: Float[Array, "*neurons"]) -> list[Array]:
        """What is to be summed over spikes a time r before the end of the cell."""
        if self._own:
            return [jnp.ones_like(r), r, r**2]
        return [q.of_all(r, r) for q in self._all if not q.is_zero]

    def targets(self, sums: Sequence[Array]) -> tuple[Vector, Vector, Entry]:
        """What the sums make of the states of port and neuron, and of the potential in the
        middle."""
        if self._own:
            of = lambda q: plus(*(times(x, sums[k]) for k, x in enumerate(q)))
            each = [of(q) for q in self._all]
        else:
            left = iter(sums)
            each = [None if q.is_zero else next(left) for q in self._all]
        return each[: len(self.port)], each[len(self.port) : -1], each[-1]

    @property
    def _all(self) -> list[Quadratic]:
        return [*self.port, *self.neuron, self.middle]

    @property
    def _own(self) -> bool:
        """Whether each target has its own response."""
        values = [x for q in self._all for x in q]
        return max((jnp.ndim(x) for x in values if x is not None), default=0) > 0


class ByMoments(NamedTuple):
    """How neurons respond that step once more when they know what arrived: not yet."""

    length: Array

    def sources(self, r: Float[Array, "*neurons"]) -> list[Array]:
        """What is to be summed over spikes a time r before the end of the cell."""
        return moments(self.length, r)

    def targets(self, sums: Sequence[Array]) -> Float[Array, "3 neurons"]:
        """The moments of what arrived."""
        return jnp.stack(list(sums))


def add_to(arrivals: dict[str, Array], port: str, came: Array) -> None:
    """Adds moments to those that arrive at a port."""
    arrivals[port] = arrivals[port] + came if port in arrivals else came


def with_more(came: Any, extra: Array | None, length: Float[Array, ""]) -> Any:
    """What arrives in a cell, and what a change of the weights adds to it."""
    return came if extra is None else made_once(came + extra, length >= 0)


def moments(length: Array, r: Float[Array, "*neurons"]) -> list[Array]:
    """What is to be summed over spikes that are known before their targets step, a time r before
    the end of the cell."""
    del length
    return [jnp.ones_like(r), r, r**2]


def scaled_by(amplitude: Array | None, sources: list[Array]) -> list[Array]:
    """What is summed over spikes, times how strong they are."""
    return sources if amplitude is None else [amplitude * x for x in sources]


def deliver(
    weights: Weights, hit: Bool[Array, " sources"], sources: list[Float[Array, " sources"]]
) -> list[Float[Array, " targets"]]:
    """The sums over the neurons that were `hit`, for each kind of source."""
    if is_small(weights):
        # Stacking would cost more than the products do.
        return [matmul(jnp.where(hit, x, 0), weights) for x in sources]
    sums = spread(weights, hit, jnp.stack(sources))
    return [sums[k] for k in range(len(sources))]


def deliver_all(
    weights: Weights,
    pre: Int[Array, " spikes"],
    cell: Int[Array, " spikes"],
    left: Float[Array, " spikes"],
    lengths: Float[Array, " cells"],
    sources: Callable[[Array, Array], list[Array]],
    amplitudes: Float[Array, " spikes"] | None = None,
) -> Float[Array, "cells kinds targets"]:
    """The sums over all spikes of each cell, for each kind of source.

    Each is of neuron `pre` (-1: none; these come last), a time `left` before the end of `cell`.
    `sources(length, left)` are those of spikes in a cell of a length; they count times their
    `amplitudes`.
    """
    room, cells = pre.shape[0], lengths.shape[0]
    sparse = isinstance(weights, SparseWeights)
    rows, width = weights.values.shape if sparse else weights.shape
    n = weights.shape[1]
    kinds = len(jax.eval_shape(sources, lengths[0], left[0]))
    # So many spikes at a time that they take less memory than the weights or the result.
    size = max(1, min(room, max(2**16 // (kinds * width), max(rows, cells) // 3)))
    # The targets of a list are far apart, the kinds of a target should not be.
    shape = (cells, n, kinds) if sparse else (cells, kinds, n)

    def some(weights, total, spikes):
        pre, cell, left, *strong = spikes
        there, pre, length = pre >= 0, jnp.maximum(pre, 0), lengths[cell]
        left = jnp.where(there, left, 0)
        of_spikes = jax.vmap(lambda h, r: jnp.stack(sources(h, r)))(length, left)
        of_spikes = of_spikes * strong[0][:, None] if strong else of_spikes
        of_spikes = jnp.where(there[:, None], of_spikes, 0)
        if isinstance(weights, SparseWeights):
            values = of_spikes[:, None, :] * weights.values[pre][:, :, None]
            return onto_targets(total, (cell[:, None], weights.targets[pre]), values)
        return total.at[cell].add(of_spikes[:, :, None] * weights[pre][:, None, :])

    like, others = jax.ShapeDtypeStruct(shape, lengths.dtype), [cell, left]
    if amplitudes is not None:
        others.append(amplitudes.astype(lengths.dtype))
    sums = in_pieces(some, weights, like, size, pre, *others)
    return jnp.moveaxis(sums, -1, 1) if sparse else sums


def in_pieces(
    some: Callable[[Any, Array, tuple[Array, ...]], Array],
    held: Any,
    like: jax.ShapeDtypeStruct,
    size: int,
    pre: Int[Array, " spikes"],
    *others: Array,
) -> Array:
    """The total that `some(held, total, spikes)` makes of `size` spikes at a time, from zeros like
    `like`. Spikes are of neuron `pre` (-1: none; these come last), with others of their kind."""
    room = pre.shape[0]
    blocks = -(-room // size)

    def blocked(x, fill=0):
        x = jnp.pad(x, (0, blocks * size - room), constant_values=fill)
        return x.reshape(blocks, size)

    checkpointed = jax.checkpoint(some)

    def first(number):
        def branch(held, spikes):
            zero = jnp.zeros(like.shape, like.dtype)
            spikes = jax.tree.map(lambda x: x[:number], spikes)
            return jax.lax.scan(lambda t, s: (checkpointed(held, t, s), None), zero, spikes)[0]

        return branch

    # Rarely are there as many spikes as there is room for.
    levels = [blocks]
    while levels[0] > 1:
        levels.insert(0, -(-levels[0] // 4))
    number = max_in_batch(jnp.sum(pre >= 0, dtype=jnp.int32))
    level = sum((number > k * size).astype(jnp.int32) for k in levels[:-1])
    spikes = blocked(pre, -1), *(blocked(x) for x in others)
    return jax.lax.switch(level, [first(k) for k in levels], held, spikes)
