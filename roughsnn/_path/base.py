"""Paths on a grid: smooth inside a cell, known to the solver cell by cell."""

import abc
from typing import TYPE_CHECKING, Any

import diffrax as dfx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Shaped

from .._misc import as_numbers, described, is_concrete, tensordot
from .._types import IntScalar, RealScalar

if TYPE_CHECKING:
    from typing import ClassVar as AbstractVar
else:
    from equinox import AbstractVar


class AbstractCellPath(dfx.AbstractPath):
    """A driver that is a smooth function of time on every cell of a uniform grid.

    [`roughsnn.eventsolve`][] replaces each such path by its current cell, so that every
    cell is an ordinary differential equation with events, whatever the roughness that
    the path has in the limit dt -> 0 (Wong-Zakai).
    """

    dt: AbstractVar[float]

    @abc.abstractmethod
    def cell(self, index: IntScalar) -> dfx.AbstractPath:
        """The path on cell `index`, as a smooth path of the time since its start."""


class AbstractGridPath(AbstractCellPath):
    """A driver that is known by its increments over the cells, and in between a chord or a
    parabola."""

    t0: AbstractVar[float]
    t1: AbstractVar[float]
    # How rough it is where it is not known: increments over short times h are like h^hurst.
    hurst: AbstractVar[float]

    @abc.abstractmethod
    def arrays(
        self,
    ) -> tuple[Float[Array, " cells *shape"], Float[Array, " cells *shape"] | None]:
        """Increments of the cells, and their space-time areas or `None`."""

    def evaluate(self, t0: RealScalar, t1: RealScalar | None = None, left: bool = True) -> Array:
        """The value at `t0`, or the increment from `t0` to `t1`; shape `shape`.

        Costs O(cells); [`roughsnn.eventsolve`][] reads single cells instead. `ValueError` for a
        time outside of the window; nan if it is traced.
        """
        del left
        return self._at(t0) if t1 is None else self._at(t1) - self._at(t0)

    def _at(self, t: RealScalar) -> Array:
        increments, _ = self.arrays()
        cells, dtype = increments.shape[0], increments.dtype
        position = (self._inside(t, dtype) - self.t0) / self.dt
        index = jnp.clip(jnp.floor(position).astype(jnp.int32), 0, cells - 1)
        before = jnp.arange(cells, dtype=jnp.int32) < index
        inside = (position - index.astype(dtype)) * self.dt
        return tensordot(before.astype(dtype), increments, 1) + self.cell(index).evaluate(inside)

    def _inside(self, time: RealScalar, dtype: Any) -> Array:
        """The time, where it is in the window."""
        t = as_numbers("t", time)
        if t.ndim or not isinstance(t.dtype, np.dtype) or t.dtype.kind not in "fiu":
            raise ValueError(f"`t` must be one time, got {described(time)}.")
        # The last cell may reach beyond the end.
        slack = 1e-6 * self.dt
        begin, end = self.t0 - slack, self.t1 + slack
        if not is_concrete(t):
            t = t.astype(dtype)
            return jnp.where((t >= begin) & (t <= end), t, jnp.nan)
        if not begin <= float(t) <= end:
            raise ValueError(f"A path on [{self.t0}, {self.t1}] has no value at {float(t)}.")
        return jnp.asarray(t, dtype)


class AbstractJumpPath(dfx.AbstractPath):
    """A piecewise smooth path that declares the times at which it jumps."""

    jump_times: AbstractVar[Float[Array, " jumps"]]


class CellPolynomial(dfx.AbstractPath):
    r"""One cell of a driver: $x(r) = D\theta + 6H\theta(1-\theta)$, $\theta = r/h$.

    Its increment over the cell is $D$ and its space-time Levy area
    $\frac1h\int_0^h (x(r) - \theta D)\,dr$ is $H$: the parabola of Foster, Lyons &
    Oberhauser (2020). `area=None` is the chord of Wong & Zakai (1965).

    **Arguments:**

    - `increment`: $D$, shape `(*shape)`.
    - `area`: $H$, shape `(*shape)`, or `None`.
    - `t1`: the length $h$ of the cell.
    """

    increment: Shaped[Array, "*shape"]
    area: Shaped[Array, "*shape"] | None
    t1: RealScalar

    @property
    def t0(self) -> RealScalar:
        """The start of the cell, 0."""
        return 0.0

    def _at(self, r: RealScalar) -> Array:
        theta = r / self.t1
        if self.area is None:
            return self.increment * theta
        return self.increment * theta + self.area * (6 * theta * (1 - theta))

    def evaluate(self, t0: RealScalar, t1: RealScalar | None = None, left: bool = True) -> Array:
        """The value at `t0`, or the increment from `t0` to `t1`."""
        del left
        return self._at(t0) if t1 is None else self._at(t1) - self._at(t0)

    def derivative(self, t: RealScalar, left: bool = True) -> Array:
        """dx/dr at `t`."""
        del left
        if self.area is None:
            return self.increment / self.t1
        theta = t / self.t1
        return (self.increment + self.area * (6 * (1 - 2 * theta))) / self.t1
