"""Drives that jump inside of the cells of the lockstep engine."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from .._misc import is_concrete
from .._path.step import StepPath
from .._solve.step import Grid
from .._types import DriveFunction


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

    A drive that jumps by $\Delta$ a time $\rho$ before the end of a cell of length h is replaced
    by the straight line that has its mean and its first moment, as the current of a port is: with
    $x = \rho/h$ it adds $(3x^2 - 2x)\Delta$ to the drive at the start and $(4x - 3x^2)\Delta$ at
    the end. So all is continuous in the time of the jump, also where it comes to lie in the next
    cell.
    """

    drive: StepPath
    grid: Grid
    lengths: Float[Array, " cells"]

    def lines(self) -> tuple[Array, Array]:
        """The drive at the start and the end of each cell, of shape `(cells, neurons)`."""
        cell, since = self._places()
        cells = jnp.arange(self.grid.cells, dtype=jnp.int32)
        # By the same numbers of cells as the jumps, so that none is there twice.
        done = jnp.sum(cell[None, :] < cells[:, None], axis=1)
        values = self.drive.values.astype(self.lengths.dtype)
        inside = (cell >= 0) & (cell < self.grid.cells)
        place = jnp.where(inside, cell, 0)
        x = jnp.maximum(self.lengths[place] - since, 0) / self.lengths[place]
        change = jnp.where(inside[:, None], jnp.diff(values, axis=0), 0)
        add = lambda share, to: to.at[place].add(share[:, None] * change)
        return add(3 * x**2 - 2 * x, values[done]), add(4 * x - 3 * x**2, values[done])

    def line_until(self, cell: Int[Array, ""], length: Float[Array, ""]):
        """The same in the first part, of this length, of one cell."""
        places, since = self._places()
        done = jnp.sum(places < cell)
        values = self.drive.values.astype(self.lengths.dtype)
        inside = (places == cell) & (jax.lax.stop_gradient(since) <= length)
        x = jnp.maximum(length - since, 0) / length
        change = jnp.where(inside[:, None], jnp.diff(values, axis=0), 0)
        total = lambda share: jnp.sum(share[:, None] * change, axis=0)
        start, end = total(3 * x**2 - 2 * x), total(4 * x - 3 * x**2)
        return values[done] + start, values[done] + end

    def _places(self) -> tuple[Array, Array]:
        """The cell of each jump, and how long after its start it is."""
        clock, dt0, dtype = self.grid.clock, self.grid.dt0, self.lengths.dtype
        fine = max(self.drive.jump_times.dtype, dtype, key=lambda d: jnp.finfo(d).bits)
        since = self.drive.jump_times.astype(fine) - clock.zero.astype(fine)
        held = jnp.clip(jax.lax.stop_gradient(since) / dt0, -1.0, 2.0**30)
        cell = jnp.floor(held).astype(jnp.int32)
        return cell - clock.cells, (since - cell.astype(fine) * dt0).astype(dtype)


def switches_of(drive: DriveFunction, grid: Grid, lengths: Array) -> Switches | None:
    """The jumps of a drive that may be elsewhere than between cells."""
    if isinstance(drive, StepPath) and jumps_inside(drive, grid.clock.zero, grid.dt0):
        return Switches(drive, grid, lengths)
    return None
