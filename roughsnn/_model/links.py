"""The projections of a network as the engines see them: one list or matrix for each port."""

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from .._misc import joined
from .connectivity import SparseWeights
from .layout import Layout
from .network import SpikingNetwork
from .population import Source

Weights: TypeAlias = Float[Array, "sources targets"] | SparseWeights


class Link(eqx.Module):
    """All synapses of some neurons onto one port of a group.

    `rows` are the neurons, group after group, that the rows of the weights belong to, as pieces
    from where to where; for a source they are its own.
    """

    weights: Weights
    group: int = eqx.field(static=True)
    port: str = eqx.field(static=True)
    rows: tuple[tuple[int, int], ...] = eqx.field(static=True)
    # The source that the spikes are of, or `None`.
    source: str | None = eqx.field(static=True, default=None)

    @property
    def indices(self) -> Int[np.ndarray, " sources"]:
        """The neuron of each row."""
        return np.concatenate([np.arange(a, b, dtype=np.int32) for a, b in self.rows])

    def of_rows(self, x: Array) -> Array:
        """The entries of the rows of an array over all neurons, on its last axis."""
        if self.rows == ((0, x.shape[-1]),):
            return x
        return joined([x[..., a:b] for a, b in self.rows])

    def row(self, k: Int[Array, ""], neurons: int) -> Float[Array, " targets"]:
        """The weights of neuron k, 0 if it has none."""
        of_neuron = np.full(neurons, -1, np.int32)
        of_neuron[self.indices] = np.arange(len(self.indices), dtype=np.int32)
        if np.all(of_neuron == np.arange(neurons)):
            return self._row(k)
        row = jnp.asarray(of_neuron)[k]
        return jnp.where(row >= 0, self._row(jnp.maximum(row, 0)), 0)

    def _row(self, k: Int[Array, ""]) -> Array:
        return self.weights.row(k) if isinstance(self.weights, SparseWeights) else self.weights[k]


class _Block(NamedTuple):
    """Weights of some rows onto some of the targets."""

    row: int
    column: int
    weights: Weights


def links_of(network: SpikingNetwork, layout: Layout, *, known: bool) -> tuple[Link, ...]:
    """The synapses of a network: those onto a higher level if `known`, with those of sources, else
    those within a level."""
    at = {m.name: m for m in layout.members}
    starts = np.cumsum([0, *(group.size for group in layout.groups)])
    found: dict[tuple[int, str, str | None], list[_Block]] = {}
    for p in network.projections:
        post, source = at[p.post], isinstance(network[p.pre], Source)
        pre = None if source else at[p.pre]
        upwards = pre is None or (layout.groups[pre.group].level < layout.groups[post.group].level)
        if upwards != known:
            continue
        row = 0 if pre is None else int(starts[pre.group]) + pre.start
        key = (post.group, p.port or "", p.pre if source else None)
        found.setdefault(key, []).append(_Block(row, post.start, p.effective()))
    links = []
    for (group, port, source), blocks in found.items():
        weights, rows = _assembled(blocks, layout.groups[group].size)
        links.append(Link(weights, group, port, rows, source))
    return tuple(links)


def _assembled(blocks: Sequence[_Block], targets: int) -> tuple[Weights, tuple]:
    """One matrix, or one list, for several, and the rows that it has."""
    pieces = sorted({(b.row, b.row + b.weights.shape[0]) for b in blocks})
    rows: list[tuple[int, int]] = []
    for begin, end in pieces:
        if rows and rows[-1][1] == begin:
            begin = rows.pop()[0]
        rows.append((begin, end))
    (first, *others) = blocks
    if not others and first.weights.shape[1] == targets:
        return first.weights, tuple(rows)
    places = np.cumsum([0, *(end - begin for begin, end in pieces)])
    at = {begin: int(place) for (begin, _), place in zip(pieces, places, strict=False)}
    dense = [b for b in blocks if not isinstance(b.weights, SparseWeights)]
    filled = sum(np.prod(b.weights.shape) for b in dense)
    if len(dense) == len(blocks) and filled >= int(places[-1]) * targets / 4:
        dtype = jnp.result_type(*(b.weights for b in dense))
        whole = jnp.zeros((int(places[-1]), targets), dtype)
        for b in dense:
            n, m = b.weights.shape
            here = at[b.row]
            whole = whole.at[here : here + n, b.column : b.column + m].add(b.weights)
        return whole, tuple(rows)
    return _lists(blocks, pieces, targets), tuple(rows)


def _lists(blocks: Sequence[_Block], pieces, targets: int) -> SparseWeights:
    """Lists of targets for the rows of all blocks."""
    columns = []
    for piece in pieces:
        own = [_as_list(b) for b in blocks if b.row == piece[0]]
        columns.append([jnp.concatenate(x, 1) for x in zip(*own, strict=True)])
    width = max(targets.shape[1] for targets, _ in columns)

    def padded(x: Array) -> Array:
        return jnp.pad(x, ((0, 0), (0, width - x.shape[1])))

    whole = [jnp.concatenate([padded(x[k]) for x in columns]) for k in range(2)]
    empty = SparseWeights(np.zeros((1, 1), np.int32), np.zeros((1, 1)), targets)
    return eqx.tree_at(lambda w: (w.targets, w.values), empty, tuple(whole))


def _as_list(block: _Block) -> tuple[Array, Array]:
    weights = block.weights
    if isinstance(weights, SparseWeights):
        return weights.targets + block.column, weights.values
    n, m = weights.shape
    every = jnp.broadcast_to(jnp.arange(m, dtype=jnp.int32) + block.column, (n, m))
    return every, weights
