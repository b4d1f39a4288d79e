"""The stretch of time of a simulation, its cells, and the clocks that time is read from."""

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from ._check import as_tuple
from ._misc import as_array, check_positive_int, check_window, described, num_cells, static_float
from ._types import RealScalar


class Window(eqx.Module):
    r"""The time $[t_0, t_1)$ of a simulation in cells of length `dt0`.

    Times are small numbers, counted from an `origin` of which no simulation, loss or gradient
    knows: a second of a recording that began in 1970 is `Window(0.0, 1.0, 1e-3, origin=1.7e9)`. So
    float32 is as accurate there as anywhere.

    **Arguments:**

    - `t0`, `t1`, `dt0`: concrete numbers, in the model's unit of time. Where `dt0` does not divide
        the window, its last cell is shorter.
    - `stop_after`: end on purpose, and without an error, at this spike or event (of all neurons
        together).
    - `edges`: increasing times inside of the window at which a functional may jump as a spike
        passes, e.g. the edges of bins: a train that is simulated holds what
        [`roughsnn.losses.binned_counts`][] needs there. For t1 it always does.
    - `origin`: the time 0 of the window on an outer clock, that of a recording say; kept in
        float64, whatever JAX computes in.

    **Raises:** `TypeError` for traced values and what is no number; `ValueError` for an empty
        window, `dt0 <= 0`, edges that are not increasing or outside of the window, and times so
        far from 0 that JAX's default dtype cannot tell them apart.
    """

    t0: float = eqx.field(static=True)
    t1: float = eqx.field(static=True)
    dt0: float = eqx.field(static=True)
    stop_after: int | None = eqx.field(static=True)
    edges: tuple[float, ...] = eqx.field(static=True)
    origin: float = eqx.field(static=True)

    def __init__(
        self,
        t0: RealScalar,
        t1: RealScalar,
        dt0: RealScalar,
        *,
        stop_after: int | None = None,
        edges: Sequence[RealScalar] = (),
        origin: RealScalar = 0.0,
    ):
        self.t0, self.t1, self.dt0 = check_window(t0, t1, dt0, "dt0")
        if stop_after is not None:
            stop_after = check_positive_int("stop_after", stop_after)
        self.stop_after = stop_after
        self.edges = tuple(
            static_float(f"edges[{n}]", t)
            for n, t in enumerate(as_tuple("edges", edges, "a tuple of times"))
        )
        least = 1e-5 * self.dt0 if self.edges else 0.0
        if any(b - a <= least for a, b in itertools.pairwise((self.t0, *self.edges, self.t1))):
            raise ValueError(
                "`edges` must be increasing and lie inside of the window "
                f"({self.t0}, {self.t1}), 1e-5 of a cell apart and more, got {self.edges}. t1 "
                "itself need not be named."
            )
        self.origin = static_float("origin", origin)
        self._check_precision()

    def _check_precision(self) -> None:
        farthest = max(abs(self.t0), abs(self.t1))
        rounding = float(np.finfo(jnp.result_type(float)).eps) * farthest
        if rounding > max(1e-6 * (self.t1 - self.t0), self.dt0 / 100):
            raise ValueError(
                f"The window [{self.t0}, {self.t1}] is too far from 0: in {jnp.result_type(float)} "
                f"times there are multiples of {rounding:.2g}. Count time from its start: Window("
                f"0.0, {self.t1 - self.t0:.6g}, {self.dt0}, origin={self.origin + self.t0})."
            )

    @property
    def cells(self) -> int:
        """The number of cells."""
        return num_cells(self.t0, self.t1, self.dt0)

    @property
    def whole(self) -> bool:
        """Whether the window is a whole number of cells."""
        return abs(self.cells * self.dt0 - (self.t1 - self.t0)) <= 1e-6 * self.dt0

    def refined(self, factor: int) -> "Window":
        """The same window in cells that are `factor` times shorter; for step checks.

        Brownian noise and thresholds of one key stay the same where `factor` is a power of two.
        """
        factor = check_positive_int("factor", factor)
        return dataclasses.replace(self, dt0=self.dt0 / factor)

    def next(self) -> "Window":
        """The window of the same length behind this one, counted from an origin of its own.

        With `initial=sim.final` it goes on where a simulation ended; see [`roughsnn.simulate`][].
        """
        return dataclasses.replace(self, origin=self.origin + (self.t1 - self.t0))

    def local(self) -> "Window":
        """The same window, counted from its start; windows of one length have one."""
        length = self.cells * self.dt0 if self.whole else self.t1 - self.t0
        edges = tuple(self._since(t) for t in self.edges)
        return dataclasses.replace(self, t0=0.0, t1=length, edges=edges, origin=0.0)

    def _since(self, t: float) -> float:
        """The time since t0, by the number of cells if it is whole."""
        cells = (t - self.t0) / self.dt0
        whole = abs(cells - round(cells)) <= 1e-6 * max(1.0, abs(cells))
        return round(cells) * self.dt0 if whole else t - self.t0


class Clock(eqx.Module):
    """What vector fields read as the time: it goes on from one window to the next.

    From the number of a cell since the first window, so that it is the same, to the last bit,
    however the time is cut into windows.
    """

    # The time at the start of the first window, and how many cells ago that was.
    zero: Float[Array, ""]
    cells: Int[Array, ""]
    dt0: float = eqx.field(static=True)

    @classmethod
    def of(cls, window: Window) -> "Clock":
        """The clock of a first window."""
        return cls(as_array(window.t0, float), as_array(0, jnp.int32), window.dt0)

    def start(self, cell: int | Int[Array, "*cells"], dtype: Any) -> Float[Array, "*cells"]:
        """The time at the start of a cell of the present window."""
        number = jnp.asarray(self.cells + cell)
        return self.zero.astype(dtype) + number.astype(dtype) * self.dt0


def as_window(window: Any) -> Window:
    """`window`, or a `TypeError` that says how to make one."""
    if not isinstance(window, Window):
        raise TypeError(
            f"`window` must be a roughsnn.Window(t0, t1, dt0), got {described(window)}."
        )
    return window


def check_capacity(name: str, capacity: Any, window: Window) -> int:
    """The room for spikes or events, which has to hold `stop_after` of them."""
    capacity = check_positive_int(name, capacity)
    if window.stop_after is not None and window.stop_after > capacity:
        raise ValueError(
            f"`stop_after` must not exceed `{name}`, got {window.stop_after} > {capacity}. Raise "
            f"`{name}`, or stop earlier."
        )
    return capacity
