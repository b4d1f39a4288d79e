"""What spikes that are known deliver to the cells."""

import functools as ft

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from .._model.inputs import SpikeInput
from .._model.membrane import AbstractLinearMembrane
from .._solve.step import Grid
from .._train.spike_train import SpikeTrain
from .cell_map import cell_response
from .delivery import deliver_all


def in_cells(
    spikes: SpikeTrain, grid: Grid, lengths: Float[Array, " cells"]
) -> tuple[Int[Array, " spikes"], Float[Array, " spikes"]]:
    """The cell of each spike, and how long after its start it is; cell 0 for padding."""
    since = jnp.where(spikes.marks >= 0, spikes.times.astype(lengths.dtype), 0)
    cell = jnp.floor(jax.lax.stop_gradient(since) / grid.dt0).astype(jnp.int32)
    cell = jnp.minimum(cell, lengths.shape[0] - 1)
    return cell, since - cell.astype(since.dtype) * grid.dt0


def delivered_inputs(
    membrane: AbstractLinearMembrane,
    inputs: SpikeInput,
    grid: Grid,
    lengths: Float[Array, " cells"],
) -> Float[Array, "cells 3 neurons"]:
    """What the spikes of an input add to each cell of a lockstep simulation."""
    spikes = inputs.spikes
    cell, offset = in_cells(spikes, grid, lengths)
    weights = inputs.weights.astype(lengths.dtype)
    left = lengths[cell] - offset
    response = ft.partial(cell_response, membrane)
    return deliver_all(weights, spikes.marks, cell, left, lengths, response)


def delivered_until(
    membrane: AbstractLinearMembrane,
    inputs: SpikeInput,
    grid: Grid,
    lengths: Float[Array, " cells"],
    cell: Int[Array, ""],
    length: Float[Array, ""],
) -> Float[Array, "3 neurons"]:
    """What the spikes of an input add to the first part, of this length, of one cell."""
    of_spike, offset = in_cells(inputs.spikes, grid, lengths)
    there = (inputs.spikes.marks >= 0) & (of_spike == cell) & (offset <= length)
    order = jnp.argsort(~there, stable=True)
    marks = jnp.where(there, inputs.spikes.marks, -1)[order]
    left = (length - offset)[order]
    weights, response = inputs.weights.astype(lengths.dtype), ft.partial(cell_response, membrane)
    return deliver_all(weights, marks, jnp.zeros_like(marks), left, length[None], response)[0]
