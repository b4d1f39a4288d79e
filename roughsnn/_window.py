"""The stretch of time of a simulation, and its cells."""

import itertools
from collections.abc import Sequence
from typing import Any

import equinox as eqx

from ._misc import check_positive_int, check_window, num_cells, static_float
from ._types import RealScalar


class Window(eqx.Module):
    r"""The time $[t_0, t_1]$ of a simulation in cells of length `dt0`.

    **Arguments:**

    - `t0`, `t1`, `dt0`: concrete numbers, in the model's unit of time. Where `dt0` does not divide
        the window, its last cell is shorter.
    - `stop_after`: end on purpose, and without an error, at this spike or event (of all neurons
        together).
    - `edges`: increasing times inside of the window at which a functional may jump as a spike
        passes, e.g. the edges of bins: a train that is simulated holds what
        [`roughsnn.losses.binned_counts`][] needs there. For t1 it always does.

    **Raises:** `TypeError` for traced values and what is no number; `ValueError` for an empty
        window, `dt0 <= 0`, edges that are not increasing or outside of the window.
    """

    t0: float = eqx.field(static=True)
    t1: float = eqx.field(static=True)
    dt0: float = eqx.field(static=True)
    stop_after: int | None = eqx.field(static=True)
    edges: tuple[float, ...] = eqx.field(static=True)

    def __init__(
        self,
        t0: RealScalar,
        t1: RealScalar,
        dt0: RealScalar,
        *,
        stop_after: int | None = None,
        edges: Sequence[RealScalar] = (),
    ):
        self.t0, self.t1, self.dt0 = check_window(t0, t1, dt0, "dt0")
        if stop_after is not None:
            stop_after = check_positive_int("stop_after", stop_after)
        self.stop_after = stop_after
        self.edges = tuple(static_float(f"edges[{n}]", t) for n, t in enumerate(edges))
        if any(b <= a for a, b in itertools.pairwise((self.t0, *self.edges, self.t1))):
            raise ValueError(
                "`edges` must be increasing and lie inside of the window "
                f"({self.t0}, {self.t1}), got {self.edges}. t1 itself need not be named."
            )

    @property
    def cells(self) -> int:
        """The number of cells."""
        return num_cells(self.t0, self.t1, self.dt0)

    def refined(self, factor: int) -> "Window":
        """The same window in cells that are `factor` times shorter; for step checks."""
        factor = check_positive_int("factor", factor)
        return Window(
            self.t0, self.t1, self.dt0 / factor, stop_after=self.stop_after, edges=self.edges
        )


def as_window(window: Any) -> Window:
    """`window`, or a `TypeError` that says how to make one."""
    if not isinstance(window, Window):
        raise TypeError(
            f"`window` must be a roughsnn.Window(t0, t1, dt0), got {type(window).__name__}."
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
