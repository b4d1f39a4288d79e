"""The projections of a network as the engines see them: one list or matrix for each port."""

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from .._misc import joined
from .connectivity import SparseWeights
from .layout import Layout
from .mapped import can_merge, kinds_of, merged
from .network import SpikingNetwork
from .plasticity import AbstractPlasticity, Fired, Plastic
from .population import Source
from .projection import Projection
from .state import Member
from .stdp import Learned, PairSTDP, Synapses

Weights: TypeAlias = Float[Array, "sources targets"] | SparseWeights

# Lists of more synapses are those of one link only where they have similar lengths.
_LARGE = 2**16


class Link(eqx.Module):
    """All synapses of some neurons onto one port of a group.

    `rows` are the neurons, group after group, that the rows of the weights belong to, as pieces
    from where to where; for a source they are its own. A neuron has several rows where its spikes
    travel for several times, or are strong by several rules.
    """

    weights: Weights
    group: int = eqx.field(static=True)
    port: str = eqx.field(static=True)
    rows: tuple[tuple[int, int], ...] = eqx.field(static=True)
    # The source that the spikes are of, or `None`.
    source: str | None = eqx.field(static=True, default=None)
    # How long the spikes travel: all, those of each row, or of each synapse, in the shape of the
    # weights; at most `max_delay`.
    delay: Float[Array, "..."] | None = None
    max_delay: float = eqx.field(static=True, default=0.0)
    # How strong the spikes of a row are.
    plasticity: AbstractPlasticity | None = None
    # How weights learn, and which there are; they lead onto these columns of the group.
    learning: PairSTDP | None = None
    exists: Bool[Array, "#sources #synapses"] | None = None
    columns: tuple[int, int] | None = eqx.field(static=True, default=None)
    # The numbers of its projections.
    name: str = eqx.field(static=True, default="")

    @property
    def indices(self) -> Int[np.ndarray, " sources"]:
        """The neuron of each row."""
        return np.concatenate([np.arange(a, b, dtype=np.int32) for a, b in self.rows])

    @property
    def arrivals(self) -> int:
        """How many arrivals there are if each neuron fires once."""
        each = self.delay is not None and self.delay.ndim == 2
        rows = len(self.indices)
        return rows * self.delay.shape[1] if each and self.delay is not None else rows

    def of_rows(self, x: Array) -> Array:
        """The entries of the rows of an array over all neurons, on its last axis."""
        if self.rows == ((0, x.shape[-1]),):
            return x
        return joined([x[..., a:b] for a, b in self.rows])

    @property
    def copies(self) -> int:
        """How many rows a neuron has at most."""
        return int(np.bincount(self.indices).max())

    def rows_of(self, neurons: int) -> Int[np.ndarray, "neurons copies"]:
        """The rows of each neuron; -1 for padding."""
        indices = self.indices
        order = np.argsort(indices, kind="stable").astype(np.int32)
        of_row = indices[order]
        found = np.full((neurons, self.copies), -1, np.int32)
        # Which of the rows of its neuron each is.
        found[of_row, np.arange(len(order)) - np.searchsorted(of_row, of_row)] = order
        return found

    def row(
        self, k: Int[Array, ""], neurons: int, amplitude: Float[Array, " rows"] | None = None
    ) -> Float[Array, " targets"]:
        """The weights of neuron k, 0 if it has none, times how strong they are by row."""
        rows = np.pad(self.rows_of(neurons), ((0, 1), (0, 0)), constant_values=-1)
        rows = jnp.asarray(rows)[jnp.minimum(k, neurons)]
        own = jnp.maximum(rows, 0)
        each = jax.vmap(self._row)(own)
        each = each if amplitude is None else amplitude[own][:, None] * each
        return jnp.sum(jnp.where((rows >= 0)[:, None], each, 0), 0)

    def with_values(self, values: Array) -> "Link":
        """With other weights in place of its own."""
        if isinstance(self.weights, SparseWeights):
            return eqx.tree_at(lambda link: link.weights.values, self, values)
        return eqx.tree_at(lambda link: link.weights, self, values)

    def onto_group(self, x: Array, size: int) -> Array:
        """What its targets get, for all neurons of the group, on the last axis."""
        if self.columns is None or self.columns == (0, size):
            return x
        start, stop = self.columns
        return jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(start, size - stop)])

    def sent(
        self, held: Plastic | Learned | None, own: Fired, group: Fired, length: Any
    ) -> tuple["Link", Array | None, Plastic | Learned | None]:
        """What spikes of its rows find, at most one of each, where there is plasticity: the link
        with the weights, how strong each is, and what there is after this length of time; `group`
        is what the neurons of its group did."""
        if isinstance(held, Plastic):
            assert self.plasticity is not None
            return self, *held.fired(self.plasticity, own, length)
        if isinstance(held, Learned):
            assert self.learning is not None and self.exists is not None
            weights, columns = self.weights, slice(*(self.columns or (None,)))
            targets = weights.targets if isinstance(weights, SparseWeights) else None
            post, synapses = Fired(*(x[columns] for x in group)), Synapses(targets, self.exists)
            values, after = held.fired(self.learning, synapses, own, post, length)
            return self.with_values(values), None, after
        return self, None, None

    def _row(self, k: Int[Array, ""]) -> Array:
        return self.weights.row(k) if isinstance(self.weights, SparseWeights) else self.weights[k]


class _Block(NamedTuple):
    """Weights of some rows onto some of the targets."""

    row: int
    column: int
    weights: Weights
    delay: Array | None
    max_delay: float
    number: int
    plasticity: AbstractPlasticity | None = None
    # Which of several rows of a neuron.
    copy: int = 0

    @property
    def each(self) -> bool:
        """Whether each synapse has a delay of its own."""
        return self.delay is not None and self.delay.ndim == 2

    @property
    def piece(self) -> tuple[int, int, int]:
        """The rows that it takes."""
        return self.copy, self.row, self.row + self.weights.shape[0]


def links_of(
    network: SpikingNetwork, layout: Layout, which: Literal["known", "within", "delayed"]
) -> tuple[Link, ...]:
    """The synapses of a network: those that are `"delayed"`; of the others those onto a higher
    level, and with them all of sources, are `"known"`, the rest, and those that learn, which have
    to know what their targets do, are `"within"` a level."""
    at = {m.name: m for m in layout.members}
    starts = np.cumsum([0, *(group.size for group in layout.groups)])
    found: dict[tuple, list[_Block]] = {}
    learning: list[Link] = []
    for n, p in enumerate(network.projections):
        post, source = at[p.post], isinstance(network[p.pre], Source)
        pre = None if source else at[p.pre]
        upwards = pre is None or (layout.groups[pre.group].level < layout.groups[post.group].level)
        delayed = p.delay is not None and pre is not None
        if isinstance(p.plasticity, PairSTDP):
            if which == "within":
                assert pre is not None
                rows = int(starts[pre.group]) + pre.start
                learning.append(
                    _learning(n, p, p.plasticity, (rows, rows + p.weights.shape[0]), post)
                )
            continue
        if ("delayed" if delayed else "known" if upwards else "within") != which:
            continue
        row = 0 if pre is None else int(starts[pre.group]) + pre.start
        block = _Block(row, post.start, p.effective(), p.delay, p.max_delay, n, p.plasticity)
        kind = p.delay is None, block.each, _length(block.weights)
        key = (post.group, p.port or "", p.pre if source else None, kind)
        if p.plasticity is not None:
            key = (*key, *_structure(n, p.plasticity))
        blocks = found.setdefault(key, [])
        if p.plasticity is not None or (p.delay is not None and not block.each):
            block = block._replace(copy=sum(b.piece[1:] == block.piece[1:] for b in blocks))
        blocks.append(block)
    links = []
    for (group, port, source, *_), blocks in found.items():
        weights, delay, rows = _assembled(blocks, layout.groups[group].size)
        longest = max(b.max_delay for b in blocks)
        link = Link(weights, group, port, rows, source, delay, longest, _plasticity(blocks))
        name = f"projections[{', '.join(str(b.number) for b in blocks)}]"
        links.append(dataclasses.replace(link, name=name))
    return (*links, *learning)


def _learning(
    number: int, p: Projection, rule: PairSTDP, rows: tuple[int, int], post: Member
) -> Link:
    """A projection whose weights learn: each is a link of its own."""
    weights = p.effective()
    if isinstance(weights, SparseWeights):
        exists, weights = weights.targets >= 0, weights.filled()
    else:
        exists = jnp.ones((1, 1), bool) if p.mask is None else p.mask
    link = Link(weights, post.group, p.port or "", (rows,), learning=rule, exists=exists)
    name, columns = f"projections[{number}]", (post.start, post.stop)
    return dataclasses.replace(link, name=name, columns=columns)


def _length(weights: Weights) -> int | None:
    """How long a large list is, roughly: with much longer ones its padding would be read, too."""
    if not isinstance(weights, SparseWeights) or weights.targets.size <= _LARGE:
        return None
    return weights.targets.shape[1].bit_length()


def _structure(number: int, plasticity: AbstractPlasticity) -> tuple:
    """What plasticity of one link has in common; the number, where it is alone."""
    if not can_merge(plasticity):
        return (number,)
    rest = eqx.filter(plasticity, eqx.is_array, inverse=True)
    others = tuple(map(id, jax.tree.leaves(rest)))
    return jax.tree.structure(plasticity), kinds_of(plasticity), others


def _plasticity(blocks: Sequence[_Block]) -> AbstractPlasticity | None:
    """That of all rows, in their order."""
    if len(blocks) == 1 or blocks[0].plasticity is None:
        return blocks[0].plasticity
    blocks = sorted(blocks, key=lambda b: b.piece)
    return merged([b.plasticity for b in blocks], [b.weights.shape[0] for b in blocks])


def _assembled(blocks: Sequence[_Block], targets: int) -> tuple[Weights, Array | None, tuple]:
    """One matrix, or one list, for several, their delays, and the rows that they have."""
    pieces = sorted({b.piece for b in blocks})
    rows: list[tuple[int, int]] = []
    for n, (copy, begin, end) in enumerate(pieces):
        if rows and rows[-1][1] == begin and pieces[n - 1][0] == copy:
            begin = rows.pop()[0]
        rows.append((begin, end))
    (first, *others) = blocks
    if not others and first.weights.shape[1] == targets:
        return first.weights, first.delay, tuple(rows)
    sizes = [end - begin for _, begin, end in pieces]
    places = dict(zip(pieces, np.cumsum([0, *sizes]).tolist(), strict=False))
    total = sum(sizes)
    delay = _delays_of_rows(blocks, places, total) if others else first.delay
    dense = [b for b in blocks if not isinstance(b.weights, SparseWeights)]
    filled = sum(np.prod(b.weights.shape) for b in dense)
    if len(dense) == len(blocks) and filled >= total * targets / 4:
        whole = lambda pairs: _matrix(pairs, places, (total, targets))
        if first.each:
            delay = whole([(b, b.delay) for b in dense])
        return whole([(b, b.weights) for b in dense]), delay, tuple(rows)
    weights, each = _lists(blocks, pieces, targets)
    return weights, delay if each is None else each, tuple(rows)


def _matrix(pairs: Sequence[tuple[_Block, Any]], places: dict, shape: tuple[int, int]) -> Array:
    """One matrix with what there is of each block."""
    whole = jnp.zeros(shape, jnp.result_type(*(x for _, x in pairs)))
    for b, x in pairs:
        (n, m), row = x.shape, places[b.piece]
        whole = whole.at[row : row + n, b.column : b.column + m].add(x)
    return whole


def _delays_of_rows(blocks: Sequence[_Block], places: dict, rows: int) -> Array | None:
    """The delay of each row, where all synapses of a row have one."""
    own = [(b, b.delay) for b in blocks if b.delay is not None and not b.each]
    if not own:
        return None
    whole = jnp.zeros(rows, jnp.result_type(*(delay for _, delay in own)))
    for b, delay in own:
        row = places[b.piece]
        whole = whole.at[row : row + b.weights.shape[0]].set(delay)
    return whole


def _lists(blocks: Sequence[_Block], pieces, targets: int) -> tuple[SparseWeights, Array | None]:
    """Lists of targets for the rows of all blocks, and the delays of their synapses, if each has
    its own."""
    columns = []
    for piece in pieces:
        own = [_as_list(b) for b in blocks if b.piece == piece]
        columns.append([jnp.concatenate(x, 1) for x in zip(*own, strict=True)])
    width = max(column[0].shape[1] for column in columns)

    def padded(x: Array) -> Array:
        return jnp.pad(x, ((0, 0), (0, width - x.shape[1])))

    whole = [jnp.concatenate([padded(x) for x in row]) for row in zip(*columns, strict=True)]
    empty = SparseWeights(np.zeros((1, 1), np.int32), np.zeros((1, 1)), targets)
    weights = eqx.tree_at(lambda w: (w.targets, w.values), empty, tuple(whole[:2]))
    return weights, whole[2] if len(whole) > 2 else None


def _as_list(block: _Block) -> list[Array]:
    """Targets and values, and the delays, if each synapse has its own."""
    weights = block.weights
    if isinstance(weights, SparseWeights):
        targets = weights.targets.astype(jnp.int32)
        if block.column:
            targets = jnp.where(targets >= 0, targets + block.column, -1)
        found = [targets, weights.values]
    else:
        n, m = weights.shape
        every = jnp.broadcast_to(jnp.arange(m, dtype=jnp.int32) + block.column, (n, m))
        found = [every, weights]
    return [*found, jnp.asarray(block.delay)] if block.each else found
