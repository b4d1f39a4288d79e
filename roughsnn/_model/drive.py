"""The input of a network."""

from typing import Any, cast

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._misc import as_float_array
from .._path.step import StepPath
from .._types import DriveFunction
from .._window import Window


class Constant(eqx.Module):
    """An input that does not change."""

    value: Float[Array, " neurons"]

    def __call__(self, t) -> Float[Array, " neurons"]:
        """The value."""
        del t
        return self.value


def as_drive(drive: Any, window: Window) -> DriveFunction:
    """A drive from what is given for one: numbers are constant, or one row for each cell."""
    if isinstance(drive, dfx.AbstractPath):
        return drive
    if callable(drive):
        return cast(DriveFunction, drive)
    if not isinstance(drive, jax.Array | np.ndarray | list | tuple):
        raise TypeError(
            "`drive` must be an array of shape (neurons,) or (cells, neurons), a callable "
            f"t -> (neurons,) or a diffrax.AbstractPath, got a {type(drive).__name__}."
        )
    values = as_float_array("drive", drive)
    if values.ndim == 1:
        return Constant(values)
    if values.ndim != 2 or values.shape[0] != window.cells:
        raise ValueError(
            f"`drive` must have shape (neurons,), or ({window.cells}, neurons) with a row for each "
            f"cell of the window, got {values.shape}."
        )
    if window.cells == 1:
        return Constant(values[0])
    return StepPath(window.t0 + window.dt0 * np.arange(1, window.cells), values)


def evaluate_drive(drive: DriveFunction, t) -> Array:
    """The input at `t` of a drive that is a callable or a path."""
    return jnp.asarray(drive.evaluate(t) if isinstance(drive, dfx.AbstractPath) else drive(t))
