"""The cells of a simulation in blocks, so that nothing is kept of all cells but what was asked for.

A block draws its noise, evaluates its drive, runs its cells and appends its spikes to those of the
blocks before. Only the carry at its start is kept for reverse mode, which runs the block again.
Between blocks the ring of spikes is in the order of the cells, so that a block begins as a window
does that goes on where another ended.
"""

import dataclasses
import math
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from .._misc import any_in_batch, at_least, max_in_batch
from .._solve.adjoint import (
    AbstractAdjoint,
    CheckpointAdjoint,
    DirectAdjoint,
    Scratch,
    within_budget,
)
from .._solve.setup import places_of
from .cell_map import CellMap
from .cell_state import CellInput, LockstepCarry, LockstepEmitted
from .cells import run_cells
from .feed import Feed, Given
from .final import FinalState
from .group_cell import LATE
from .launch import launches

# The least and the most cells of a block. More take more memory; fewer take more time.
LEAST, MOST = 32, 128
# Neurons times cells up to which all cells are one block, which is quicker: with the gradient they
# take some 200 MB at most.
SMALL = 2**22


class Sizes(NamedTuple):
    """How many cells a block has, and how it is differentiated."""

    block: int
    inner: AbstractAdjoint


class Told(eqx.Module):
    """The spikes so far, in a buffer with room for another block behind the last one wanted; `None`
    as long as there are none and no blocks."""

    buffer: tuple[Float[Array, " room"], Int[Array, " room"]] | None
    total: Int[Array, ""]
    # How many late spikes of each neuron come that the window before holds.
    again: Int[Array, " neurons"] | None
    # The hidden states at the edges of the window.
    edges: Float[Array, "edges neurons"] | None


class Streamed(NamedTuple):
    """What is left of all cells."""

    border: LockstepCarry
    told: Told
    # What of the cells is wanted of all of them; where there is one block, all that they emitted.
    emitted: LockstepEmitted
    # What drove them, where there is one block.
    inputs: CellInput | None


class Stream(eqx.Module):
    """How the cells are run; spikes up to `room` are kept, of up to `busy` the weights' derivatives
    know."""

    feed: Feed
    cell_map: CellMap
    sizes: Sizes = eqx.field(static=True)
    room: int = eqx.field(static=True)
    busy: int = eqx.field(static=True)
    edges: tuple[int, ...] = eqx.field(static=True)

    def run(self, carry: LockstepCarry) -> Streamed:
        """All cells."""
        cells, size, given = self.cell_map.cells, self.sizes.block, self.feed.given()
        if size >= cells:
            inputs, border, emitted = self._block(carry, 0, given)
            told = self._with_edges(self._nothing(None), 0, emitted)
            return Streamed(border, told, emitted, inputs)
        blocks = -(-cells // size)
        room = self.room + self._most(size)
        empty = jnp.full(room, jnp.inf, self.feed.problem.dtype), jnp.full(room, -1, jnp.int32)

        def block(carry, told, first, given):
            inputs, border, emitted = self._block(carry, first, given)
            told = self._with_edges(told, first, emitted)
            told = self._append(told, first, inputs.begin, emitted.offsets)
            return border, told, _kept(emitted)

        def skip(carry, told, first, given):
            del first, given
            idle = _kept(self.cell_map.idle(carry))
            fill = lambda x: jnp.broadcast_to(x, (size, *x.shape))
            return carry, told, jax.tree.map(fill, idle)

        @jax.checkpoint
        def one(state, x):
            if self.cell_map.stop_after is None:
                return block(*state, *x)
            live = any_in_batch(self.cell_map.live(state[0]))
            return jax.lax.cond(live, block, skip, *state, *x)

        def step(state, x):
            border, told, kept = one(state, x)
            return (border, told), kept

        firsts = jnp.arange(blocks, dtype=jnp.int32) * size
        xs = firsts, given.blocked(blocks, size)
        (border, told), kept = jax.lax.scan(step, (carry, self._nothing(empty)), xs)
        kept = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:])[:cells], kept)
        return Streamed(border, told, kept, None)

    def spikes(
        self, streamed: Streamed, overdue: Float[Array, "late neurons"]
    ) -> tuple[Float[Array, " room"], Int[Array, " room"], Int[Array, ""]]:
        """Times and marks, up to the room for them, with those that are overdue at the end; and how
        many there are."""
        grid = self.feed.problem.grid
        first, begin, offsets = grid.cells, jnp.full(LATE, grid.t1, overdue.dtype), overdue
        if streamed.inputs is not None:
            first, begin = 0, jnp.concatenate([streamed.inputs.begin, begin])
            offsets = jnp.concatenate([streamed.emitted.offsets, overdue])
        told = self._append(streamed.told, first, begin, offsets)
        assert told.buffer is not None
        times, marks = (x[: self.room] for x in told.buffer)
        return times, marks, told.total

    def _nothing(self, buffer: tuple[Array, Array] | None) -> Told:
        """Before the first cell."""
        problem, layout, dtype = self.feed.problem, self.cell_map.layout, self.feed.problem.dtype
        of_all = jnp.zeros(layout.size, dtype)
        return Told(
            buffer=buffer,
            total=jnp.zeros((), jnp.int32),
            again=problem.initial.told if isinstance(problem.initial, FinalState) else None,
            edges=jnp.tile(of_all, (len(self.edges), 1)) if self.cell_map.emit_s else None,
        )

    def _most(self, cells: int) -> int:
        """How many spikes of so many cells can be wanted."""
        return min(self.room, max(cells, LATE) * self.cell_map.layout.size)

    def _block(self, carry: LockstepCarry, first, given: Given):
        """What drives a block, the carry behind it, what the block emitted."""
        size, cell_map = min(self.sizes.block, self.cell_map.cells), self.cell_map
        inputs = self.feed.cells(first, size, given)
        border, emitted = run_cells(
            cell_map, carry, inputs, adjoint=self.sizes.inner, room=self.busy
        )
        if carry.ring.value is not None:
            # In the order of the cells, without those behind the last one.
            done = jnp.minimum(size, cell_map.cells - first)
            ring = carry.ring.value.then(emitted.spikes).cells(done, cell_map.slots)
            border = dataclasses.replace(border, ring=Scratch(ring))
        return inputs, border, emitted

    def _with_edges(self, told: Told, first, emitted: LockstepEmitted) -> Told:
        """With the hidden states at the edges that are in a block."""
        if told.edges is None:
            return told
        assert emitted.s is not None
        at, size = np.asarray(self.edges, np.int32), emitted.s.shape[0]
        here, row = (at >= first) & (at < first + size), jnp.clip(at - first, 0, size - 1)
        edges = jnp.where(here[:, None], emitted.s[row], told.edges)
        return dataclasses.replace(told, edges=edges)

    def _append(
        self,
        told: Told,
        first: int | Int[Array, ""],
        begin: Float[Array, " cells"],
        offsets: Float[Array, "cells neurons"],
    ) -> Told:
        """With the spikes of the cells from `first` on that begin then."""
        again = told.again
        if again is not None:
            # Those (at offsets of -0 and less) that the window before holds are left out.
            rows = first + jnp.arange(min(LATE, offsets.shape[0]), dtype=jnp.int32)
            late = jnp.signbit(jax.lax.stop_gradient(offsets[: len(rows)]))
            late = late & (rows < LATE)[:, None]
            held = late & (jnp.cumsum(late, 0, dtype=jnp.int32) <= again[None])
            again = again - jnp.sum(held, 0, dtype=jnp.int32)
            offsets = offsets.at[: len(rows)].set(jnp.where(held, jnp.inf, offsets[: len(rows)]))
        number = jnp.sum(jnp.isfinite(offsets), dtype=jnp.int32)
        at = jnp.minimum(told.total, self.room)
        after = dict(total=told.total + number, again=again)

        def first_of(capacity: int, begin, offsets) -> tuple[Array, Array]:
            """Times and marks of the first ones."""
            place, there = places_of(jnp.isfinite(offsets).reshape(-1), capacity)
            cell, neuron = jnp.divmod(place, np.int32(offsets.shape[1]))
            times = begin[cell] + offsets[cell, neuron]
            if again is not None:
                # A late one that was not told yet.
                times = at_least(times, 0)
            marks = jnp.asarray(self.cell_map.layout.indices, jnp.int32)[neuron]
            return jnp.where(there, times, jnp.inf), jnp.where(there, marks, -1)

        if told.buffer is None:
            buffer = first_of(self.room, begin, offsets)
            return dataclasses.replace(told, buffer=buffer, **after)

        def put(capacity: int):
            def branch(old_times, old_marks, begin, offsets):
                new, old = first_of(capacity, begin, offsets), (old_times, old_marks)
                pairs = zip(old, new, strict=True)
                return tuple(jax.lax.dynamic_update_slice(a, b, (at,)) for a, b in pairs)

            return branch

        most = self._most(offsets.shape[0])
        # Rarely do so many neurons fire in one block.
        share = offsets.shape[0] / self.cell_map.cells
        few = min(most, 64 + 2 * math.ceil(share * self.room))
        operands = *told.buffer, begin, offsets
        if few == most:
            return dataclasses.replace(told, buffer=put(most)(*operands), **after)
        many = max_in_batch(number) > few
        stored = jax.lax.cond(many, put(most), put(few), *operands)
        return dataclasses.replace(told, buffer=stored, **after)


def _kept(emitted: LockstepEmitted) -> LockstepEmitted:
    """What is wanted of all cells."""
    where = lambda e: (e.offsets, e.s, e.approach, e.amplitudes)
    return eqx.tree_at(where, emitted, (None, None, (), {}), is_leaf=lambda x: x is None)


def sizes_of(
    adjoint: AbstractAdjoint, feed: Feed, cell_map: CellMap, carry: LockstepCarry
) -> Sizes:
    """The blocks of a simulation: a single one if it is small, where states inside of cells are
    wanted, where all is to be stored, and where each synapse of a large projection has a delay."""
    cells, neurons = cell_map.cells, cell_map.layout.size
    whole = Sizes(cells, adjoint)
    if not isinstance(adjoint, CheckpointAdjoint) or cell_map.emit_origin:
        return whole
    # What they have on its way is made anew at the start of each block.
    if cell_map.exact is None and any(map(launches, cell_map.delayed)):
        return whole
    if adjoint.megabytes is not None:
        return _budgeted(adjoint, feed, cell_map, carry)
    size = min(max(LEAST, 2 ** int(math.log2(max(cells / LEAST, 1)))), MOST)
    # A ring that is kept for each block should not be longer than the block by much.
    size = max(size, 2 ** round(math.log2(1 + (cells * cell_map.slots / 40) ** 0.5)))
    if adjoint.block_size is not None:
        size = max(size, adjoint.block_size)
        inner = DirectAdjoint() if adjoint.block_size == size else adjoint
        return whole if size >= cells else Sizes(size, inner)
    if cells * neurons <= SMALL or cells <= 2 * size:
        return whole
    return Sizes(size, DirectAdjoint())


def _budgeted(
    adjoint: CheckpointAdjoint, feed: Feed, cell_map: CellMap, carry: LockstepCarry
) -> Sizes:
    """As large blocks as `megabytes` allow for."""
    assert adjoint.megabytes is not None
    cells = cell_map.cells
    blocks = [cells, *(2**k for k in range(20, 0, -1) if 2**k < cells)]
    given = jax.tree.map(lambda x: x[:1], feed.given())
    inputs = feed.cells(0, 1, given)
    return Sizes(*within_budget(cell_map, carry, inputs, cells, blocks, adjoint.megabytes))
