r"""The loop over cells, and its derivative in the weights.

The weights act in many cells, so plain AD carries their whole matrix through the backward loop. But
what they do is the sum over spikes of (response of the targets) x (row of weights), so a change of
the weights is a known change of what each cell delivers. The loop is differentiated in that alone,
and the sum over spikes is taken once, outside of it.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._model.connectivity import SparseWeights
from .._solve.adjoint import AbstractAdjoint
from .._solve.setup import compact
from .cell_map import CellMap
from .cell_state import CellInput, LockstepCarry, LockstepEmitted
from .delivery import deliver_all
from .spread import is_small


def _loop(engine: CellMap, carry, inputs, adjoint: AbstractAdjoint):
    idle = engine.idle(carry)
    live = None if engine.stop_after is None else engine.live
    final, emitted = adjoint.loop(engine, carry, engine.cells, live, idle, inputs)
    # Behind the last cell nothing counts.
    return final, jax.tree.map(lambda x: x[: engine.cells], emitted)


def run_cells(
    engine: CellMap,
    carry: LockstepCarry,
    inputs: CellInput,
    *,
    adjoint: AbstractAdjoint,
    room: int,
) -> tuple[LockstepCarry, LockstepEmitted]:
    """The carry behind the last cell, and what the cells emitted: up to `room` spikes."""
    weights = engine.weights
    if weights is None or is_small(weights):
        # A small matrix is carried along faster than spikes are sorted out.
        return _loop(engine, carry, inputs, adjoint)
    return _through_weights(engine, carry, inputs, adjoint=adjoint, room=room)


@eqx.filter_custom_jvp
def _through_weights(engine, carry, inputs, *, adjoint, room):
    del room
    return _loop(engine, carry, inputs, adjoint)


@_through_weights.def_jvp
def _rule(primals, tangents, *, adjoint, room):
    none = lambda x: x is None
    with_weights = lambda p, weights: eqx.tree_at(lambda p: p[0].weights, p, weights, is_leaf=none)
    change = tangents[0].weights
    tangents, held = with_weights(tangents, None), with_weights(primals, None)
    moving = jax.tree.map(lambda _, t: t is not None, held, tangents, is_leaf=none)
    moving, fixed = eqx.partition(held, moving)

    def run(moving, extra):
        now = with_weights(eqx.combine(moving, fixed), primals[0].weights)
        if extra is not None:
            now = eqx.tree_at(lambda p: p[2].extra, now, extra, is_leaf=none)
        engine, carry, inputs = now
        return eqx.partition(_loop(engine, carry, inputs, adjoint), eqx.is_inexact_array)

    if not jax.tree.leaves(change):
        out, moved, other = jax.jvp(lambda m: run(m, None), (moving,), (tangents,), has_aux=True)
    else:
        engine, carry, inputs = primals
        extra = jnp.zeros((engine.cells, 3, *carry.y.v.shape), carry.y.v.dtype)
        out, push, other = jax.linearize(run, moving, extra, has_aux=True)
        offsets = eqx.combine(out, other)[1].offsets
        moved = push(tangents, _delivered(engine, change, offsets, inputs.length, room))
    whole = eqx.combine(out, other)
    return whole, eqx.combine(moved, jax.tree.map(lambda _: None, other))


def _delivered(
    engine: CellMap,
    change: Array | SparseWeights,
    offsets: Float[Array, "cells neurons"],
    lengths: Float[Array, " cells"],
    room: int,
) -> Float[Array, "cells 3 neurons"]:
    """What a change of the weights adds to each cell, by the spikes that there were."""
    cells, n = offsets.shape
    if isinstance(change, SparseWeights):
        # Targets have no tangent.
        assert isinstance(engine.weights, SparseWeights)
        change = eqx.combine(change, engine.weights)
    numbers = jnp.arange(cells * n, dtype=jnp.int32)
    marks = jnp.where(jnp.isfinite(offsets.reshape(-1)), numbers, -1)
    (spikes,) = compact(marks, room, (marks, -1))
    at = jnp.maximum(spikes, 0)
    cell, neuron = at // n, at % n
    left = lengths[cell] - offsets[cell, neuron]
    pre = jnp.where(spikes >= 0, neuron, -1)
    return deliver_all(change, pre, cell, left, lengths, engine.response)
