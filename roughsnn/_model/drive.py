"""The input of a network."""

from typing import Any, cast

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._check import check_function
from .._misc import as_float_array, as_numbers
from .._path.base import AbstractJumpPath
from .._path.step import StepPath
from .._types import DriveFunction
from .._window import Clock, Window


class Constant(eqx.Module):
    """An input that does not change."""

    value: Float[Array, " neurons"]

    def __call__(self, t) -> Float[Array, " neurons"]:
        """The value."""
        del t
        return self.value


class Rows(AbstractJumpPath):
    """An input with one row for each cell of the window."""

    values: Float[Array, "cells neurons"]
    clock: Clock
    t0: float = eqx.field(static=True, default=-np.inf)
    t1: float = eqx.field(static=True, default=np.inf)

    @property
    def jump_times(self) -> Float[Array, " jumps"]:
        """The borders between the cells, on the clock."""
        return self.clock.start(
            jnp.arange(1, self.values.shape[0], dtype=jnp.int32), self.values.dtype
        )

    def repeated(self, cells: int) -> "Rows":
        """The same input in so many cells, which are shorter by a whole number."""
        factor = -(-cells // self.values.shape[0])
        return Rows(jnp.repeat(self.values, factor, axis=0)[:cells], self.clock)

    def evaluate(self, t0, t1=None, left=True) -> Array:
        """As [`roughsnn.StepPath`][]."""
        return StepPath(self.jump_times, self.values).evaluate(t0, t1, left)


def as_drive(drive: Any, window: Window, clock: Clock) -> DriveFunction:
    """A drive from what is given for one: numbers are constant, or one row for each cell."""
    if isinstance(drive, dfx.AbstractPath):
        return drive
    if callable(drive) and not isinstance(drive, type):
        check_function("drive", drive, "drive(t)")
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
    return Constant(values[0]) if window.cells == 1 else Rows(values, clock)


def evaluate_drive(drive: DriveFunction, t) -> Array:
    """The input at `t` of a drive that is a callable or a path."""
    return as_numbers(
        "drive(t)", drive.evaluate(t) if isinstance(drive, dfx.AbstractPath) else drive(t)
    )
