"""Brownian motion on a grid, smooth inside a cell, the same motion at every dt."""

import math
from collections.abc import Sequence
from typing import Literal

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._misc import check_shape, check_window, num_cells
from .._random import RandomKey, normals, seeds
from .._types import IntScalar, RealScalar
from .base import AbstractGridPath, CellPolynomial


def _split_odd(n: int) -> tuple[int, int]:
    """n = m 2^levels with m odd."""
    levels = (n & -n).bit_length() - 1
    return n >> levels, levels


def _interleave(first: Array, second: Array) -> Array:
    return jnp.stack([first, second], axis=1).reshape(2 * first.shape[0], *first.shape[1:])


def _halve(w: Array, a: Array, h: float, zd: Array, zq: Array | None):
    """Increments (and areas) of the halves of cells of length h, given those of the cells.

    With D = W1 - W2 and S = H1 + H2: W = W1 + W2, H = S/2 + D/4. Given (W, H), D has
    mean 3H and variance h/4, and H1 - H2 is independent with variance h/12.
    """
    d = 3 * a + (h / 4) ** 0.5 * zd
    increments = _interleave((w + d) / 2, (w - d) / 2)
    if zq is None:
        return increments, None
    s, q = 2 * a - d / 2, (h / 12) ** 0.5 * zq
    return increments, _interleave((s + q) / 2, (s - q) / 2)


class Brownian(eqx.Module):
    r"""Brownian noise of a simulation, drawn by its key.

    **Arguments:**

    - `interpolation`: `"linear"` or `"parabola"` inside of a cell, see [`roughsnn.BrownianPath`][].
        The parabola makes single paths more accurate, v, i, spike times and their gradients (which
        are off by 3 to 4 % instead of 5 to 7 % at dt0 = 0.01 in the setting of Holberg & Salvi),
        and needs twice the random numbers; means are as accurate with the chord. Do not combine it
        with `diffrax.Heun`, whose stage at the end of a cell does not have the right law then.

    **Raises:** `ValueError` for another interpolation.
    """

    interpolation: Literal["linear", "parabola"] = eqx.field(static=True, default="linear")

    def __check_init__(self):
        _check_interpolation(self.interpolation)


def _check_interpolation(interpolation: str) -> None:
    if interpolation not in ("linear", "parabola"):
        raise ValueError(f"`interpolation` must be 'linear' or 'parabola', got {interpolation!r}.")


class BrownianPath(AbstractGridPath):
    r"""Brownian motion on the grid $t_0, t_0 + dt, \dots$, smooth inside each cell.

    On a cell of length $h$ the motion is replaced by the chord (`"linear"`, Wong & Zakai
    1965) or by the parabola that also has its space-time Levy area (`"parabola"`,
    Foster, Lyons & Oberhauser 2020). Hence it can be differentiated with respect to time
    inside a cell, which an event time needs; a `diffrax.VirtualBrownianTree` refuses that,
    rightly, as Brownian motion has no derivative.

    The values come from the key by repeated halving: $n = m2^l$ cells ($m$ odd) are drawn
    as $m$ cells and halved $l$ times, conditionally on increment and area. So two paths of
    one key whose cell numbers differ by a power of two, or that differ in
    `interpolation`, are the same motion.

    **Arguments:**

    - `t0`, `t1`: the window, in the time unit of the model. Concrete numbers.
    - `dt`: the length of a cell. A last cell that reaches beyond `t1` is drawn whole.
    - `shape`: the shape of the values, e.g. `(neurons, channels)`.
    - `key`: a `jax.random.key`.
    - `interpolation`: `"linear"` or `"parabola"`.
    - `dtype`: a floating dtype; by default JAX's default.
    - `columns`: which entries of the last axis are drawn, increasing; the others stay 0. By default
        all. The numbers of a column do not depend on what others are drawn.

    **Raises:** `ValueError`/`TypeError` for an empty window, `dt <= 0`, a bad shape or
    interpolation.

    ??? cite "References"

        E. Wong, M. Zakai, *On the convergence of ordinary integrals to stochastic
        integrals*, Ann. Math. Statist. 36 (1965).

        J. Foster, T. Lyons, H. Oberhauser, *An optimal polynomial approximation of
        Brownian motion*, SIAM J. Numer. Anal. 58 (2020).
    """

    increments: Float[Array, "cells *shape"]
    areas: Float[Array, "cells *shape"] | None
    columns: tuple[int, ...] | None = eqx.field(static=True)
    width: int = eqx.field(static=True)
    t0: float = eqx.field(static=True)
    t1: float = eqx.field(static=True)
    dt: float = eqx.field(static=True)

    def __init__(
        self,
        t0: RealScalar,
        t1: RealScalar,
        dt: RealScalar,
        *,
        shape: tuple[int, ...],
        key: RandomKey,
        interpolation: Literal["linear", "parabola"] = "parabola",
        dtype: jnp.dtype | None = None,
        columns: Sequence[int] | None = None,
    ):
        self.t0, self.t1, self.dt = check_window(t0, t1, dt, "dt")
        _check_interpolation(interpolation)
        shape = check_shape(shape)
        self.columns, self.width = _check_columns(columns, shape), shape[-1] if shape else 0
        dtype = jnp.result_type(float) if dtype is None else dtype
        cells = num_cells(self.t0, self.t1, self.dt)
        coarse, levels = _split_odd(cells)
        wants_area = interpolation == "parabola"
        h = self.dt * 2**levels
        # As in a heap: the numbers that halve the cells of a level lie behind those that
        # halved the levels above it. The areas of the finest cells need the second half.
        whole = math.prod(shape)
        half = (cells + 1) // 2
        blocks = ((0, 0), (0, half), (1, 0), (1, half))[: 4 if wants_area else 3]
        streams, starts = zip(*((s, c * whole) for s, c in blocks), strict=True)
        places, size = lambda n: n, whole
        if self.columns is not None:
            shape = (*shape[:-1], len(self.columns))
            places, size = self._place, math.prod(shape)
        z = normals(seeds(key), streams, starts, half * size, dtype, places)
        z = z.reshape(len(blocks) * half, size)
        zw, za = z[: 2 * half], z[2 * half :]
        w = h**0.5 * zw[:coarse]
        a = (h / 12) ** 0.5 * za[:coarse] if levels > 0 or wants_area else None
        for level in range(levels):
            assert a is not None
            now = slice(coarse * 2**level, coarse * 2 ** (level + 1))
            last = level == levels - 1
            w, a = _halve(w, a, h, zw[now], za[now] if wants_area or not last else None)
            h = h / 2
        self.increments = w.reshape(cells, *shape)
        self.areas = a.reshape(cells, *shape) if wants_area and a is not None else None

    def _place(self, n: Array) -> Array:
        """Which number of the whole path the n-th is that is drawn."""
        assert self.columns is not None
        kept = jnp.uint32(len(self.columns))
        column = jnp.asarray(self.columns, jnp.uint32)[n % kept]
        return n // kept * jnp.uint32(self.width) + column

    def _whole(self, drawn: Array) -> Array:
        """With zeros for the columns that are not drawn."""
        if self.columns is None:
            return drawn
        zero = jnp.zeros(drawn.shape[:-1], drawn.dtype)
        found = {c: drawn[..., n] for n, c in enumerate(self.columns)}
        return jnp.stack([found.get(c, zero) for c in range(self.width)], -1)

    def arrays(self):
        """See [`roughsnn.AbstractGridPath`][]."""
        areas = None if self.areas is None else self._whole(self.areas)
        return self._whole(self.increments), areas

    def cell(self, index: IntScalar) -> CellPolynomial:
        """The path on one cell, as a polynomial of the time since the cell's start."""
        area = None if self.areas is None else self._whole(self.areas[index])
        return CellPolynomial(self._whole(self.increments[index]), area, self.dt)


def _check_columns(columns: Sequence[int] | None, shape: tuple[int, ...]):
    if columns is None:
        return None
    columns = tuple(columns)
    if not shape or list(columns) != sorted(set(columns) & set(range(shape[-1]))):
        raise ValueError(
            f"`columns` must be increasing numbers of entries of the last axis of {shape}, got "
            f"{columns}."
        )
    return None if len(columns) == shape[-1] else columns
