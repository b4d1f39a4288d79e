"""What spikes that are known deliver to the cells."""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from .._model.inputs import SpikeInput
from .._path.jumps import check_jump_times
from .._solve.step import Grid
from .._train.spike_train import SpikeTrain
from .delivery import deliver_all
from .lockstep import Lockstep


def in_cells(
    spikes: SpikeTrain, grid: Grid, lengths: Float[Array, " cells"]
) -> tuple[Int[Array, " spikes"], Float[Array, " spikes"]]:
    """The cell of each spike, and how long after its start it is; cell 0 for padding."""
    times = jnp.where(spikes.marks >= 0, spikes.times.astype(lengths.dtype), grid.t0)
    since = times - grid.t0
    cell = jnp.floor(jax.lax.stop_gradient(since) / grid.dt0).astype(jnp.int32)
    cell = jnp.minimum(cell, lengths.shape[0] - 1)
    return cell, since - cell.astype(since.dtype) * grid.dt0


def delivered_inputs(
    engine: Lockstep, inputs: SpikeInput, grid: Grid, lengths: Float[Array, " cells"]
) -> Float[Array, "cells 3 neurons"]:
    """What the spikes of an input add to each cell of a lockstep simulation."""
    times = check_jump_times(inputs.spikes.times, grid.t0, grid.t1)
    spikes = dataclasses.replace(inputs.spikes, times=times)
    cell, offset = in_cells(spikes, grid, lengths)
    weights = inputs.weights.astype(lengths.dtype)
    left = lengths[cell] - offset
    return deliver_all(weights, spikes.marks, cell, left, lengths, engine.response)
