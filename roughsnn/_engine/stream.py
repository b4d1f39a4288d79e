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
from .._solve.setup import compact
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
    """The spikes so far, in a buffer with room for another block behind the last one wanted."""

    times: Float[Array, " room"]
    marks: Int[Array, " room"]
    total: Int[Array, ""]
    # How many late spikes of each neuron come that the window before holds.
    again: Int[Array, " neurons"] | None
    # The hidden states at the edges of the window.
    edges: Float[Array, "edges neurons"] | None


class Streamed(NamedTuple):
    """What is left of all cells."""

    border: LockstepCarry
    told: Told
    # What of the cells is wanted of all of them.
    emitted: LockstepEmitted
    # What drove them, and the offsets of their spikes with those before, where there is one block.
    inputs: CellInput | None
    history: Float[Array, "past neurons"] | None


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
        cells, size = self.cell_map.cells, self.sizes.block
        told, given = self._nothing(), self.feed.given()
        if size >= cells:
            inputs, border, told, emitted = self._block(carry, told, 0, given)
            ring = carry.ring.value
            history = emitted.offsets
            history = history if ring is None else jnp.concatenate([ring, history])
            return Streamed(border, told, emitted, inputs, history)
        blocks = -(-cells // size)

        def block(carry, told, first, given):
            _, border, told, emitted = self._block(carry, told, first, given)
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
        (border, told), kept = jax.lax.scan(step, (carry, told), xs)
        kept = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:])[:cells], kept)
        return Streamed(border, told, kept, None, None)

    def _nothing(self) -> Told:
        """Before the first cell."""
        problem, layout, dtype = self.feed.problem, self.cell_map.layout, self.feed.problem.dtype
        room = self.room + self._most(self.sizes.block)
        of_all = jnp.zeros(layout.size, dtype)
        return Told(
            times=jnp.full(room, jnp.inf, dtype),
            marks=jnp.full(room, -1, jnp.int32),
            total=jnp.zeros((), jnp.int32),
            again=problem.initial.told if isinstance(problem.initial, FinalState) else None,
            edges=jnp.tile(of_all, (len(self.edges), 1)) if self.cell_map.emit_s else None,
        )

    def _most(self, cells: int) -> int:
        """How many spikes of so many cells can be wanted."""
        return min(self.room, max(cells, LATE) * self.cell_map.layout.size)

    def _block(self, carry: LockstepCarry, told: Told, first, given: Given):
        """What drives a block, the carry behind it, the spikes so far, what the block emitted."""
        size, cell_map = min(self.sizes.block, self.cell_map.cells), self.cell_map
        inputs = self.feed.cells(first, size, given)
        border, emitted = run_cells(
            cell_map, carry, inputs, adjoint=self.sizes.inner, room=self.busy
        )
        if carry.ring.value is not None:
            # In the order of the cells, without those behind the last one.
            past = jnp.concatenate([carry.ring.value, emitted.offsets])
            done = jnp.minimum(size, cell_map.cells - first)
            ring = jax.lax.dynamic_slice_in_dim(past, done, cell_map.slots)
            border = dataclasses.replace(border, ring=Scratch(ring))
        told = self.append(told, first, inputs.begin, emitted.offsets)
        if told.edges is not None:
            at = np.asarray(self.edges, np.int32)
            here, row = (at >= first) & (at < first + size), jnp.clip(at - first, 0, size - 1)
            assert emitted.s is not None
            edges = jnp.where(here[:, None], emitted.s[row], told.edges)
            told = dataclasses.replace(told, edges=edges)
        return inputs, border, told, emitted

    def append(
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
        times = begin[:, None] + offsets
        if again is not None:
            # A late one that was not told yet.
            times = at_least(times, 0)
        there = jnp.isfinite(times)
        number = jnp.sum(there, dtype=jnp.int32)
        neurons = jnp.broadcast_to(
            jnp.asarray(self.cell_map.layout.indices, jnp.int32), there.shape
        )
        marks = jnp.where(there, neurons, -1).reshape(-1)
        at, times = jnp.minimum(told.total, self.room), times.reshape(-1)

        def put(capacity: int):
            def branch(old_times, old_marks, times, marks):
                new = compact(marks, capacity, (times, jnp.inf), (marks, -1))
                old = old_times, old_marks
                pairs = zip(old, new, strict=True)
                return tuple(jax.lax.dynamic_update_slice(a, b, (at,)) for a, b in pairs)

            return branch

        most = self._most(offsets.shape[0])
        # Rarely do so many neurons fire in one block.
        share = offsets.shape[0] / self.cell_map.cells
        few = min(most, 64 + 2 * math.ceil(share * self.room))
        operands = told.times, told.marks, times, marks
        if few == most or offsets.shape[0] >= self.cell_map.cells:
            stored = put(most)(*operands)
        else:
            many = max_in_batch(number) > few
            stored = jax.lax.cond(many, put(most), put(few), *operands)
        return dataclasses.replace(
            told, times=stored[0], marks=stored[1], total=told.total + number, again=again
        )


def _kept(emitted: LockstepEmitted) -> LockstepEmitted:
    """What is wanted of all cells."""
    where = lambda e: (e.offsets, e.s, e.density)
    return eqx.tree_at(where, emitted, (None, None, None), is_leaf=lambda x: x is None)


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
    if any(map(launches, cell_map.delayed)):
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
