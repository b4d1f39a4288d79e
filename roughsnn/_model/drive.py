"""The input of a network."""

from collections.abc import Mapping
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
from .network import SpikingNetwork, find_value


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


class ByPopulation(eqx.Module):
    """The inputs of several populations, one behind the other; 0 for those without."""

    drives: tuple[DriveFunction | None, ...]
    sizes: tuple[int, ...] = eqx.field(static=True)

    def __call__(self, t) -> Float[Array, " neurons"]:
        """The inputs at a time."""
        found = [None if drive is None else evaluate_drive(drive, t) for drive in self.drives]
        there = [x for x in found if x is not None]
        dtype = jnp.result_type(*there) if there else jnp.result_type(float)
        zero = lambda size: jnp.zeros(size, dtype)
        parts = zip(found, self.sizes, strict=True)
        return jnp.concatenate([zero(n) if x is None else x.astype(dtype) for x, n in parts])


def _joined(drives: Mapping[str, Any], window: Window, clock: Clock, network: SpikingNetwork):
    """The drive of a dictionary by population."""
    simulated = network.simulated
    for name in drives:
        find_value(name, simulated, "population, in `drive`")
    found: list[DriveFunction | None] = []
    for name, population in simulated.items():
        if name not in drives:
            found.append(None)
            continue
        one = as_drive(drives[name], window, clock, network)
        if isinstance(one, AbstractJumpPath) and not isinstance(one, Rows):
            raise ValueError(
                f"`drive[{name!r}]` is a path that jumps, which must be one for all neurons: give "
                "`drive` as a single path."
            )
        shape = jax.eval_shape(lambda t, one=one: evaluate_drive(one, t), 0.0).shape
        if shape != (population.size,):
            raise ValueError(
                f"`drive[{name!r}]` must return one input for each of the {population.size} "
                f"neurons, got shape {shape}."
            )
        found.append(one)
    if all(isinstance(one, Constant | None) for one in found):
        sizes = [population.size for population in simulated.values()]
        return Constant(ByPopulation(tuple(found), tuple(sizes))(0.0))
    if any(isinstance(one, Rows) for one in found):
        return _rows(found, [p.size for p in simulated.values()], window, clock)
    return ByPopulation(tuple(found), tuple(p.size for p in simulated.values()))


def _rows(found: list, sizes: list[int], window: Window, clock: Clock) -> "Rows":
    """Rows for all populations, of which some have rows and others are constant."""
    columns = []
    for one, size in zip(found, sizes, strict=True):
        if isinstance(one, Rows):
            columns.append(one.values)
        elif one is None or isinstance(one, Constant):
            value = jnp.zeros(size) if one is None else one.value
            columns.append(jnp.broadcast_to(value, (window.cells, size)))
        else:
            raise ValueError(
                "`drive` by population must be all arrays, or all functions, where one of them "
                "has a row for each cell."
            )
    dtype = jnp.result_type(*columns)
    return Rows(jnp.concatenate([x.astype(dtype) for x in columns], 1), clock)


def as_drive(drive: Any, window: Window, clock: Clock, network: SpikingNetwork) -> DriveFunction:
    """A drive from what is given for one: numbers are constant, or one row for each cell."""
    if isinstance(drive, Mapping):
        return _joined(drive, window, clock, network)
    if isinstance(drive, dfx.AbstractPath):
        return drive
    if callable(drive) and not isinstance(drive, type):
        check_function("drive", drive, "drive(t)")
        return cast(DriveFunction, drive)
    if not isinstance(drive, jax.Array | np.ndarray | list | tuple):
        raise TypeError(
            "`drive` must be an array of shape (neurons,) or (cells, neurons), a callable "
            "t -> (neurons,), a diffrax.AbstractPath or a dictionary of them by population, got a "
            f"{type(drive).__name__}."
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
