"""What a change of weights and delays, of each synapse its own, does to what arrives in cells."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._model.connectivity import SparseWeights, onto_targets
from .._model.links import Link, Weights
from .._solve.setup import compact
from .delivery import in_pieces
from .launch import factors
from .recent import Recent
from .travel import Steps


def launched_later(
    link: Link,
    change: Weights | None,
    moved: Float[Array, "sources synapses"] | None,
    history: Recent,
    lengths: Float[Array, " cells"],
    dt0: float,
    room: int,
) -> Float[Array, "cells 3 targets"]:
    """What a change of the weights, and one of the delays, bring in each cell, by the spikes of
    these cells and of those before."""
    assert link.delay is not None
    cells, weights, (offsets, strong) = lengths.shape[0], link.weights, history.of(link)
    dtype = offsets.dtype
    rows, width = link.delay.shape
    numbers = jnp.arange(offsets.size, dtype=jnp.int32)
    marks = jnp.where(jnp.isfinite(offsets).reshape(-1), numbers, -1)
    (spikes,) = compact(marks, min(room * link.copies, offsets.size), (marks, -1))
    at = jnp.maximum(spikes, 0)
    there = spikes >= 0
    pre = jnp.where(there, at % rows, -1)
    emitted = at // rows - (offsets.shape[0] - cells)
    offset = jnp.where(there, offsets.reshape(-1)[at], 0)
    others = [emitted, offset] if strong is None else [emitted, offset, strong.reshape(-1)[at]]

    values = lambda w: w.values if isinstance(w, SparseWeights) else w
    held = {"weights": values(weights), "delay": link.delay.astype(dtype)}
    if change is not None:
        held["change"] = values(change)
    if moved is not None:
        held["moved"] = moved.astype(dtype)

    def some(held, total, spikes):
        pre, emitted, offset, *strong = spikes
        own = {name: x[jnp.maximum(pre, 0)] for name, x in held.items()}
        later, after = Steps.of(own["delay"], dt0).arrival(offset[:, None], dt0)
        cell = emitted[:, None] + later
        inside = (pre >= 0)[:, None] & (cell >= 0) & (cell < cells)
        cell = jnp.clip(cell, 0, cells - 1)
        left = lengths[cell] - after
        inside = inside & (left >= 0)
        amounts = []
        if "change" in own:
            amounts.append(own["change"][..., None] * factors(0, left))
        if "moved" in own:
            amounts.append((own["weights"] * own["moved"])[..., None] * factors(1, left))
        each = sum(amounts[1:], amounts[0])
        each = each * strong[0][:, None, None] if strong else each
        if isinstance(weights, SparseWeights):
            targets = weights.targets[jnp.maximum(pre, 0)]
        else:
            targets = jnp.broadcast_to(jnp.arange(width, dtype=jnp.int32), cell.shape)
        return onto_targets(total, (cell, targets), jnp.where(inside[..., None], each, 0))

    # So many spikes at a time that they take less memory than the weights or the result.
    size = max(1, min(pre.shape[0], max(2**16 // (3 * width), max(rows, cells) // 3)))
    like = jax.ShapeDtypeStruct((cells, weights.shape[1], 3), lengths.dtype)
    total = in_pieces(some, held, like, size, pre, *others)
    return jnp.moveaxis(total, -1, 1)
