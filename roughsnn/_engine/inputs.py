"""What spikes that are known deliver to the cells."""

import functools as ft
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from .._model.inputs import SpikeInput
from .._model.membrane import AbstractLinearMembrane
from .._path.step import StepPath
from .._solve.step import Grid
from .._train.spike_train import SpikeTrain
from .._types import DriveFunction
from .cell_map import cell_response
from .delivery import deliver_all
from .switches import Switches, jumps_inside


def in_cells(
    spikes: SpikeTrain, grid: Grid, lengths: Float[Array, " cells"]
) -> tuple[Int[Array, " spikes"], Float[Array, " spikes"]]:
    """The cell of each spike, and how long after its start it is; cell 0 for padding."""
    since = jnp.where(spikes.marks >= 0, spikes.times.astype(lengths.dtype), 0)
    cell = jnp.floor(jax.lax.stop_gradient(since) / grid.dt0).astype(jnp.int32)
    cell = jnp.minimum(cell, lengths.shape[0] - 1)
    return cell, since - cell.astype(since.dtype) * grid.dt0


class InputSpikes(NamedTuple):
    """What the spikes of an input add to the cells of a lockstep simulation."""

    membrane: AbstractLinearMembrane
    inputs: SpikeInput
    grid: Grid
    lengths: Float[Array, " cells"]

    def delivered(self) -> Float[Array, "cells 3 neurons"]:
        """What is added in each cell to v, to i, and to the potential in the hazard."""
        spikes, lengths = self.inputs.spikes, self.lengths
        cell, offset = in_cells(spikes, self.grid, lengths)
        left = lengths[cell] - offset
        return deliver_all(self._weights, spikes.marks, cell, left, lengths, self._response)

    def delivered_until(
        self, cell: Int[Array, ""], length: Float[Array, ""]
    ) -> Float[Array, "3 neurons"]:
        """The same in the first part, of this length, of one cell."""
        spikes = self.inputs.spikes
        of_spike, offset = in_cells(spikes, self.grid, self.lengths)
        there = (spikes.marks >= 0) & (of_spike == cell) & (offset <= length)
        order = jnp.argsort(~there, stable=True)
        marks = jnp.where(there, spikes.marks, -1)[order]
        left, first = (length - offset)[order], jnp.zeros_like(marks)
        return deliver_all(self._weights, marks, first, left, length[None], self._response)[0]

    @property
    def _weights(self):
        return self.inputs.weights.astype(self.lengths.dtype)

    @property
    def _response(self):
        return ft.partial(cell_response, self.membrane)


def outside_of(
    membrane: AbstractLinearMembrane,
    drive: DriveFunction,
    inputs: Sequence[SpikeInput],
    grid: Grid,
    lengths: Float[Array, " cells"],
) -> list[InputSpikes | Switches]:
    """All that acts on the neurons inside of cells and is known beforehand."""
    found: list[InputSpikes | Switches]
    found = [InputSpikes(membrane, one, grid, lengths) for one in inputs]
    if isinstance(drive, StepPath) and jumps_inside(drive, grid.clock.zero, grid.dt0):
        found.append(Switches(membrane, drive, grid, lengths))
    return found
