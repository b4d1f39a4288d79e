"""Drives that jump inside of the cells of the lockstep engine."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._misc import is_concrete
from .._model.membrane import AbstractLinearMembrane
from .._path.step import StepPath
from .._solve.step import Grid
from .exponential import drive_response


def jumps_inside(drive: StepPath, zero, dt0: float) -> bool:
    """Whether a drive may jump elsewhere than between cells."""
    if not is_concrete(drive.jump_times, zero):
        return True
    times, zero = drive.jump_times, np.asarray(zero, float)
    eps = float(max(jnp.finfo(times.dtype).eps, jnp.finfo(jnp.result_type(float)).eps))
    position = (np.asarray(times, float) - zero) / dt0
    allowed = 1e-6 * np.maximum(1, np.abs(position)) + eps * np.abs(np.asarray(times, float)) / dt0
    off = np.abs(position - np.round(position)) > allowed
    return bool(np.any(off & np.isfinite(position)))


class Switches(NamedTuple):
    r"""What the jumps of a drive do inside of cells.

    A cell is driven by the value that holds at its start. A jump by $\Delta$ at a time $r$ after it
    adds $\Delta$ times what a step of the drive does to v and i in the time $h - r$ that is left.
    That is part of the motion on which a crossing is sought, as a spike from outside is. So all is
    continuous in the time of the jump, also where it comes to lie in the next cell.
    """

    membrane: AbstractLinearMembrane
    drive: StepPath
    grid: Grid
    lengths: Float[Array, " cells"]

    def at_starts(self) -> Float[Array, "cells neurons"]:
        """The drive at the start of each cell."""
        cell, _ = self._places()
        cells = jnp.arange(self.grid.cells, dtype=jnp.int32)
        # By the same numbers of cells as the jumps, so that none is there twice.
        done = jnp.sum(cell[None, :] < cells[:, None], axis=1)
        return self.drive.values.astype(self.lengths.dtype)[done]

    def delivered(self) -> Float[Array, "cells 3 neurons"]:
        """What is added in each cell to v, to i, and to the potential in the hazard."""
        cell, since = self._places()
        inside = (cell >= 0) & (cell < self.grid.cells)
        place = jnp.where(inside, cell, 0)
        added = self._added(self.lengths[place] - since, self.lengths[place])
        added = jnp.where(inside[:, None, None], added, 0)
        neurons = self.drive.values.shape[1]
        zero = jnp.zeros((self.grid.cells, 3, neurons), self.lengths.dtype)
        return zero.at[place].add(added)

    def delivered_until(self, cell, length) -> Float[Array, "3 neurons"]:
        """The same in the first part, of this length, of one cell."""
        places, since = self._places()
        inside = (places == cell) & (jax.lax.stop_gradient(since) <= length)
        added = self._added(length - since, jnp.broadcast_to(length, since.shape))
        return jnp.sum(jnp.where(inside[:, None, None], added, 0), axis=0)

    def _places(self) -> tuple[Array, Array]:
        """The cell of each jump, and how long after its start it is."""
        clock, dt0, dtype = self.grid.clock, self.grid.dt0, self.lengths.dtype
        fine = max(self.drive.jump_times.dtype, dtype, key=lambda d: jnp.finfo(d).bits)
        since = self.drive.jump_times.astype(fine) - clock.zero.astype(fine)
        held = jnp.clip(jax.lax.stop_gradient(since) / dt0, -1.0, 2.0**30)
        cell = jnp.floor(held).astype(jnp.int32)
        return cell - clock.cells, (since - cell.astype(fine) * dt0).astype(dtype)

    def _added(self, left, length) -> Float[Array, "jumps 3 neurons"]:
        """Of each jump with this time left in a cell of this length."""
        values = self.drive.values.astype(self.lengths.dtype)
        left = jnp.maximum(left, 0)

        def one(change, left, length):
            v, i = drive_response(self.membrane, left, change)
            return jnp.stack([v, i, v * left / length])

        return jax.vmap(one)(jnp.diff(values, axis=0), left, length)
