r"""The loop over cells, and its derivative in the weights.

The weights act in many cells, so plain AD carries their whole matrix through the backward loop. But
what they do is the sum over spikes of (response of the targets) x (row of weights), so a change of
the weights is a known change of what each cell delivers. The loop is differentiated in that alone,
and the sum over spikes is taken once, outside of it.
"""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._misc import where_tree
from .._model.connectivity import SparseWeights
from .._model.links import Link, Weights
from .._solve.adjoint import AbstractAdjoint, Scratch, chosen
from .._solve.setup import compact
from .cell_map import CellMap
from .cell_state import CellInput, LockstepCarry, LockstepEmitted
from .delivery import deliver_all
from .launch import launched, launches
from .launched_later import launched_later
from .recent import Recent
from .spread import is_small
from .travel import delivered_later


def _loop(engine: CellMap, carry, inputs, adjoint: AbstractAdjoint):
    spikes = carry.ring.value
    flags = [engine.exact is None and launches(link) for link in engine.delayed]
    if not any(flags):
        return _whole_cells(engine, carry, inputs, adjoint)
    pairs = list(zip(engine.delayed, flags, strict=True))
    on_way = tuple(launched(link, spikes, engine.dt0) if own else None for link, own in pairs)
    ring = Scratch(None) if all(flags) else carry.ring
    start = dataclasses.replace(carry, ring=ring, launched=on_way)
    # Nothing reads them behind the last cell.
    ended = lambda final: dataclasses.replace(final, ring=carry.ring, launched=())
    if engine.last is None:
        final, emitted = _whole_cells(engine, start, inputs, adjoint)
        return ended(final), emitted
    # In a shorter cell not all of its moments arrive: from the spikes, as they are in the ring.
    number = engine.cells - 1
    part = dataclasses.replace(engine, parts=engine.last, last=None)
    history, before = spikes, None
    if number > 0:
        whole = dataclasses.replace(engine, last=None, cells=number)
        first = jax.tree.map(lambda x: x[:number], inputs)
        start, before = _whole_cells(whole, start, first, adjoint)
        history = spikes.then(before.spikes).cells(number, engine.slots)
    ring = Scratch(history.turned(number % engine.slots))
    start = dataclasses.replace(start, ring=ring, launched=())
    final, emitted = part(start, jax.tree.map(lambda x: x[number], inputs))
    emitted = jax.tree.map(lambda x: x[None], emitted)
    if before is not None:
        emitted = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), before, emitted)
    return ended(final), emitted


def _whole_cells(engine: CellMap, carry, inputs, adjoint: AbstractAdjoint):
    idle, cells = engine.idle(carry), inputs.length.shape[0]
    live = None if engine.stop_after is None else engine.live

    def within(carry, x):
        new, out = engine(carry, x)
        # Behind the last cell nothing happens.
        there = carry.cell < engine.cells
        return chosen(there, new, carry), where_tree(there, out, idle)

    body = engine if engine.cells % cells == 0 else within
    final, emitted = adjoint.loop(body, carry, cells, live, idle, inputs)
    # What the last block was filled up with does not count.
    return final, jax.tree.map(lambda x: x[:cells], emitted)


def _large(engine: CellMap) -> list[int]:
    """The links whose weights are not carried along; a small matrix is, faster than its spikes are
    sorted out."""

    def one(link: Link) -> bool:
        if link.learning is not None:
            return False
        each = link.delay is not None and link.delay.ndim == 2
        return launches(link) if each else not is_small(link.weights)

    return [n for n, link in enumerate(engine.links) if one(link)]


def run_cells(
    engine: CellMap,
    carry: LockstepCarry,
    inputs: CellInput,
    *,
    adjoint: AbstractAdjoint,
    room: int,
) -> tuple[LockstepCarry, LockstepEmitted]:
    """The carry behind these cells, and what they emitted: up to `room` spikes."""
    if engine.exact is not None:
        return _searched(engine, carry, inputs, adjoint=adjoint)
    if not _large(engine):
        return _loop(engine, carry, inputs, adjoint)
    return _through_weights(engine, carry, inputs, adjoint=adjoint, room=room)


@eqx.filter_custom_jvp
def _searched(engine, carry, inputs, *, adjoint):
    """The loop where crossings are sought, which is done once: the derivative is that of the loop
    in which it is known where they are."""
    return _loop(engine, carry, inputs, adjoint)


@_searched.def_jvp
def _searched_jvp(primals, tangents, *, adjoint):
    engine, carry, inputs = primals
    found = _loop(engine, carry, inputs, adjoint)
    offsets = jax.lax.stop_gradient(found[1].offsets)
    known = tuple(engine.layout.split(offsets))
    primals = (engine, carry, dataclasses.replace(inputs, known=known))
    there = jax.tree.map(lambda _, t: t is not None, primals, tangents, is_leaf=lambda x: x is None)
    moving, fixed = eqx.partition(primals, there)

    def run(moving):
        engine, carry, inputs = eqx.combine(moving, fixed)
        return eqx.partition(_loop(engine, carry, inputs, adjoint), eqx.is_inexact_array)

    _, moved, other = jax.jvp(run, (moving,), (tangents,), has_aux=True)
    return found, eqx.combine(moved, jax.tree.map(lambda _: None, other))


@eqx.filter_custom_jvp
def _through_weights(engine, carry, inputs, *, adjoint, room):
    del room
    return _loop(engine, carry, inputs, adjoint)


@_through_weights.def_jvp
def _rule(primals, tangents, *, adjoint, room):
    large = _large(primals[0])
    none = lambda x: x is None

    kinds = ("upward", "loops", "delayed")
    places = [(kind, n) for kind in kinds for n in range(len(getattr(primals[0], kind)))]

    # And the delays, where each synapse has its own.
    each = [n for n in large if launches(primals[0].links[n])]

    def get(p):
        # Not by the property, as `tree_at` puts leaves of its own in their places.
        of = lambda n: getattr(p[0], places[n][0])[places[n][1]]
        return [*(of(n).weights for n in large), *(of(n).delay for n in each)]

    with_weights = lambda p, weights: eqx.tree_at(get, p, weights, is_leaf=none)
    change = get(tangents)
    nothing = [None] * len(change)
    tangents, held = with_weights(tangents, nothing), with_weights(primals, nothing)
    moving = jax.tree.map(lambda _, t: t is not None, held, tangents, is_leaf=none)
    moving, fixed = eqx.partition(held, moving)

    def run(moving, extra):
        now = with_weights(eqx.combine(moving, fixed), get(primals))
        if extra is not None:
            where = lambda p: [p[2].extra[n] for n in extra]
            now = eqx.tree_at(where, now, list(extra.values()), is_leaf=none)
        engine, carry, inputs = now
        return eqx.partition(_loop(engine, carry, inputs, adjoint), eqx.is_inexact_array)

    delays = dict(zip(each, change[len(large) :], strict=True))
    changes = {n: (c, delays.get(n)) for n, c in zip(large, change, strict=False)}
    changes = {n: c for n, c in changes.items() if jax.tree.leaves(c)}
    if not changes:
        out, moved, other = jax.jvp(lambda m: run(m, None), (moving,), (tangents,), has_aux=True)
    else:
        engine, carry, inputs = primals
        lengths = inputs.length
        extra = {}
        for n in changes:
            link = engine.links[n]
            kinds = len(jax.eval_shape(lambda h, n=n: engine.sources(n, h, h), lengths[0]))
            size = engine.layout.groups[link.group].size
            extra[n] = jnp.zeros((*lengths.shape, kinds, size), lengths.dtype)
        out, push, other = jax.linearize(run, moving, extra, has_aux=True)
        spikes, ring = eqx.combine(out, other)[1].spikes, carry.ring.value
        history = spikes if ring is None else ring.then(spikes)

        def delivered(n, weights, delay):
            link = engine.links[n]
            if launches(link):
                weights = _whole(engine, n, weights) if jax.tree.leaves(weights) else None
                return launched_later(link, weights, delay, history, lengths, engine.dt0, room)
            weights = _whole(engine, n, weights)
            if link.delay is None:
                return _delivered(engine, n, weights, spikes, lengths, room)
            return delivered_later(link, weights, history, lengths, engine.dt0, room)

        moved = push(tangents, {n: delivered(n, *c) for n, c in changes.items()})
    whole = eqx.combine(out, other)
    return whole, eqx.combine(moved, jax.tree.map(lambda _: None, other))


def _whole(engine: CellMap, number: int, change: Weights) -> Weights:
    """A change of weights, with the targets, which have no tangent."""
    weights = engine.links[number].weights
    if not isinstance(change, SparseWeights):
        return change
    assert isinstance(weights, SparseWeights)
    return eqx.combine(change, weights)


def _delivered(
    engine: CellMap,
    number: int,
    change: Weights,
    spikes: Recent,
    lengths: Float[Array, " cells"],
    room: int,
) -> Float[Array, "cells kinds neurons"]:
    """What a change of the weights of a link adds to the sums of each cell, by the spikes that
    there were."""
    link = engine.links[number]
    offsets, strong = spikes.of(link)
    cells, n = offsets.shape
    numbers = jnp.arange(cells * n, dtype=jnp.int32)
    marks = jnp.where(jnp.isfinite(offsets.reshape(-1)), numbers, -1)
    (places,) = compact(marks, min(room * link.copies, offsets.size), (marks, -1))
    at = jnp.maximum(places, 0)
    cell, neuron = at // n, at % n
    left = lengths[cell] - offsets[cell, neuron]
    strong = None if strong is None else strong[cell, neuron]
    pre = jnp.where(places >= 0, neuron, -1)
    sources = lambda length, r: engine.sources(number, length, r)
    return deliver_all(change, pre, cell, left, lengths, sources, strong)
