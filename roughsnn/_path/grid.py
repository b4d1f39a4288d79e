"""A driver given by numbers, and what is made of several."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._check import check_kind
from .._misc import (
    as_float_array,
    check_positive_int,
    check_window,
    einsum,
    is_concrete,
    num_cells,
    static_float,
)
from .._types import IntScalar, Numeric, RealScalar
from .base import AbstractGridPath, CellPolynomial


class GridPath(AbstractGridPath):
    """A driver with given increments over the cells of a grid: any noise there is a sampler or a
    recording of.

    As the noise of [`roughsnn.simulate`][] or in a `diffrax.ControlTerm` of
    [`roughsnn.eventsolve`][]. Gradients with respect to the increments exist.

    **Arguments:**

    - `increments`: shape `(cells, *shape)`, e.g. `(cells, neurons, channels)`.
    - `t0`, `t1`, `dt`: the window and the length of a cell; concrete numbers.
    - `areas`: the space-time areas $\\frac1h\\int_0^h (x(r) - \\tfrac rh x(h))\\,dr$ of the cells,
        shape `(cells, *shape)`: parabolas in place of chords.
    - `hurst`: the Hurst index, how rough the driver is inside of cells: its increments over short
        times h are like $h^H$. 1/2 is as rough as Brownian motion, 1 is smooth. The hazard in the
        middle of a cell is read where the potential has the variance that this makes.

    **Raises:** `ValueError` for shapes that do not fit, numbers that are not finite, and a `hurst`
        outside of (0, 1].
    """

    increments: Float[Array, " cells *shape"]
    areas: Float[Array, " cells *shape"] | None
    t0: float = eqx.field(static=True)
    t1: float = eqx.field(static=True)
    dt: float = eqx.field(static=True)
    hurst: float = eqx.field(static=True)

    def __init__(
        self,
        increments: Numeric,
        *,
        t0: RealScalar,
        t1: RealScalar,
        dt: RealScalar,
        areas: Numeric | None = None,
        hurst: float = 0.5,
    ):
        self.hurst = static_float("hurst", hurst)
        if not 0 < self.hurst <= 1:
            raise ValueError(f"`hurst` must be in (0, 1], 1/2 for Brownian motion, got {hurst}.")
        self.t0, self.t1, self.dt = check_window(t0, t1, dt, "dt")
        self.increments = as_float_array("increments", increments)
        self.areas = None if areas is None else as_float_array("areas", areas)
        cells = num_cells(self.t0, self.t1, self.dt)
        if self.increments.ndim == 0 or self.increments.shape[0] != cells:
            raise ValueError(
                f"`increments` must have a row for each of the {cells} cells of length {self.dt} "
                f"in [{self.t0}, {self.t1}], got shape {self.increments.shape}."
            )
        if self.areas is not None and self.areas.shape != self.increments.shape:
            raise ValueError(
                f"`areas` must have the shape of `increments`, {self.increments.shape}, got "
                f"{self.areas.shape}."
            )

    def arrays(self):
        """See [`roughsnn.AbstractGridPath`][]."""
        return self.increments, self.areas

    def cell(self, index: IntScalar) -> CellPolynomial:
        """The path on one cell, as a polynomial of the time since the cell's start."""
        area = None if self.areas is None else self.areas[index]
        return CellPolynomial(self.increments[index], area, self.dt)


def check_path(path: AbstractGridPath) -> None:
    """`TypeError` for what is no path on a grid."""
    wanted = "a path on a grid, e.g. a roughsnn.BrownianPath"
    check_kind("path", path, AbstractGridPath, wanted)


def local_path(path: AbstractGridPath) -> AbstractGridPath:
    """The same path counted from its start."""
    if path.t0 == 0:
        return path
    increments, areas = path.arrays()
    fixed: Any = dict(dt=path.dt, areas=areas, hurst=path.hurst)
    return GridPath(increments, t0=0.0, t1=path.t1 - path.t0, **fixed)


def divided(path: AbstractGridPath, factor: int) -> AbstractGridPath:
    r"""The same path, chords and parabolas, with `factor` cells for each.

    A parabola of the space-time area H, on a part of the length h/m from $\vartheta h$ on, is its
    chord and a parabola of the area $H/m^2$.
    """
    if factor == 1:
        return path
    increments, areas = path.arrays()
    whole = increments[:, None] / factor
    parts = jnp.repeat(whole, factor, axis=1)
    if areas is not None:
        middle = (np.arange(factor) + 0.5) / factor
        slope = (1 - 2 * middle).reshape(1, -1, *[1] * (increments.ndim - 1))
        parts = parts + areas[:, None] * jnp.asarray(6 / factor * slope, areas.dtype)
        areas = jnp.repeat(areas / factor**2, factor, axis=0)
    parts = parts.reshape(-1, *increments.shape[1:])
    dt = path.dt / factor
    cells = num_cells(path.t0, path.t1, dt)
    areas = None if areas is None else areas[:cells]
    # Smooth in them.
    return GridPath(parts[:cells], t0=path.t0, t1=path.t1, dt=dt, areas=areas, hurst=1.0)


def coarsened(path: AbstractGridPath, factor: int) -> GridPath:
    r"""The same path on cells that are `factor` times as long.

    Increments add up; with areas, $H = \frac1m \sum_j (H_j + x_j + \tfrac12 d_j) - \tfrac12
    \sum_j d_j$, $x_j$ the value at the start and $d_j$ the increment of the $j$-th of m cells. For
    convergence tests of drivers that are not the same motion at every dt by themselves.

    **Arguments:**

    - `path`: e.g. a [`roughsnn.GridPath`][].
    - `factor`: how many cells become one; a divisor of their number.

    **Raises:** `ValueError` if `factor` does not divide the number of cells.
    """
    factor = check_positive_int("factor", factor)
    check_path(path)
    increments, areas = path.arrays()
    cells, shape = increments.shape[0], increments.shape[1:]
    if cells % factor:
        raise ValueError(f"`factor` must divide the {cells} cells of the path, got {factor}.")
    d = increments.reshape(cells // factor, factor, *shape)
    whole = jnp.sum(d, 1)
    if areas is not None:
        start = jnp.cumsum(d, 1) - d
        inside = areas.reshape(d.shape) + start + d / 2
        areas = jnp.mean(inside, 1) - whole / 2
    dt = path.dt * factor
    return GridPath(whole, t0=path.t0, t1=path.t1, dt=dt, areas=areas, hurst=path.hurst)


def correlated(
    path: AbstractGridPath,
    *,
    factor: Numeric | None = None,
    covariance: Numeric | None = None,
) -> GridPath:
    r"""Noise that neurons share: $X^k = \sum_m F_{km} B^m$, of covariance $FF^\top$ if the $B^m$
    are independent with variance 1 per unit of time.

    **Arguments:**

    - `path`: independent sources, values of shape `(sources, channels)`, e.g. a
        [`roughsnn.BrownianPath`][].
    - `factor`: F, shape `(neurons, sources)`. One column of ones is an input that all share.
        Gradients with respect to it exist.
    - `covariance`: instead of a factor, shape `(sources, sources)`, symmetric and positive
        semi-definite; concrete numbers, of which the symmetric root is taken.

    **Returns:** a [`roughsnn.GridPath`][] with values of shape `(neurons, channels)`.

    **Raises:** `ValueError` for shapes that do not fit and for a covariance that is none;
        `TypeError` for a covariance that is traced.
    """
    check_path(path)
    if (factor is None) == (covariance is None):
        raise ValueError("Give either `factor` or `covariance`.")
    increments, areas = path.arrays()
    if increments.ndim != 3:
        raise ValueError(
            f"`path` must have values of shape (sources, channels), got {increments.shape[1:]}."
        )
    if covariance is not None:
        f = jnp.asarray(_root(covariance), increments.dtype)
    else:
        assert factor is not None
        f = as_float_array("factor", factor)
    if f.ndim != 2 or f.shape[1] != increments.shape[1]:
        raise ValueError(
            f"`factor` must have shape (neurons, {increments.shape[1]}), a column for each "
            f"source of `path`, got {f.shape}."
        )
    mix = lambda x: einsum("nm,tmc->tnc", f, x)
    return GridPath(
        mix(increments),
        t0=path.t0,
        t1=path.t1,
        dt=path.dt,
        areas=None if areas is None else mix(areas),
        hurst=path.hurst,
    )


def _root(covariance: Numeric) -> np.ndarray:
    """The symmetric square root of a covariance matrix."""
    if not is_concrete(covariance):
        raise TypeError(
            "`covariance` must be concrete numbers, got a traced value. For gradients with "
            "respect to it give a `factor`, e.g. jnp.linalg.cholesky(covariance)."
        )
    c = np.asarray(as_float_array("covariance", covariance), float)
    if c.ndim != 2 or c.shape[0] != c.shape[1] or not np.all(np.isfinite(c)):
        raise ValueError(
            f"`covariance` must be a square matrix of finite numbers, got shape {c.shape}."
        )
    scale = max(float(np.abs(c).max(initial=0.0)), np.finfo(float).tiny)
    if np.abs(c - c.T).max(initial=0.0) > 1e-6 * scale:
        raise ValueError("`covariance` must be symmetric.")
    values, vectors = np.linalg.eigh((c + c.T) / 2)
    if values.min(initial=0.0) < -1e-6 * scale:
        raise ValueError(
            "`covariance` must be positive semi-definite, its smallest eigenvalue is "
            f"{values.min():.3g}."
        )
    return np.matmul(vectors * np.sqrt(np.maximum(values, 0)), vectors.T)
