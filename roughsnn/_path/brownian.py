"""Brownian motion on a grid, smooth inside a cell, the same motion at every dt."""

import math
from collections.abc import Sequence
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt32

from .._check import as_dtype, as_tuple, check_choice
from .._misc import as_numbers, check_shape, check_window, described, is_concrete, num_cells
from .._random import RandomKey, normals, seeds
from .._types import IntScalar, RealScalar
from .base import AbstractGridPath, CellPolynomial
from .grid import GridPath

# Roots are shorter than this, in the unit of time of the model, and at least half as long.
_ROOT = 16.0


def _root_levels(dt: float) -> int:
    """How often a root is halved to get cells of length `dt`.

    Roots of `dt` and of `dt / 2` are the same: they have the mantissa of `dt` and a fixed exponent.
    """
    levels = math.frexp(_ROOT)[1] - 1 - math.frexp(dt)[1]
    return max(levels, 0)


def _halves(mean: Array, half: Array) -> Array:
    """mean + half and mean - half of each row, one behind the other."""
    sign = jnp.asarray([[[1], [-1]]], mean.dtype)
    return (mean[:, None] + sign * half[:, None]).reshape(2 * mean.shape[0], mean.shape[1])


def _halve(w: Array, a: Array, z: Array, q: Array | None) -> tuple[Array, Array]:
    """Increments and areas of the halves of cells, given those of the cells; all twice as large on
    each level as on the one above, so that no product is rounded but by powers of two: the result
    is the same, to the last bit, in whatever program.

    With D = W1 - W2 and S = H1 + H2: W = W1 + W2, H = S/2 + D/4. Given (W, H), D is 3H and a
    number `z` of variance h/4, h the length of the cells, and H1 - H2 an independent number `q` of
    variance h/12. So S = (H - z)/2.
    """
    increments = _halves(w, a + a + a + z)
    return increments, increments if q is None else _halves((a - z) / 2, q)


class _Tree(eqx.Module):
    """Cells `first`, first + 1, ... of the motion, from their roots downwards."""

    words: UInt32[Array, " 3 *entries"]
    entries: UInt32[Array, " entries"]
    first: Int[Array, ""]
    dt: float = eqx.field(static=True)

    @eqx.filter_jit
    def cells(self, number: int, wants_area: bool, dtype: Any) -> tuple[Array, Array | None]:
        """Increments of so many cells, and their areas if they are wanted."""
        levels = _root_levels(self.dt)
        # On each level the nodes that hold a cell, and at most one more. Numbers are drawn for the
        # roots, and then for the nodes of each level that is halved.
        width = [((number - 1) >> (levels - n)) + 2 for n in range(levels)] + [number]
        level = np.repeat([0, *range(levels)], [width[0], *width[:-1]])
        z_w, z_a = self._draw(level, width, wants_area, dtype)

        w, a = z_w[: width[0]], z_a[: width[0]]
        begin = width[0]
        for n in range(levels):
            here = slice(begin, begin + width[n])
            areas = wants_area or n < levels - 1
            w, a = _halve(w, a, z_w[here], z_a[here] if areas else None)
            # Whether the first node that is wanted is the second half of one.
            odd = (self.first >> (levels - n - 1)) & 1 == 1
            rows = lambda x, at, n=n: jax.lax.slice_in_dim(x, at, at + width[n + 1])
            w, a = (jax.lax.select(odd, rows(x, 1), rows(x, 0)) for x in (w, a))
            begin += width[n]
        scale = jnp.asarray(2.0**-levels, dtype)
        return w[:number] * scale, a[:number] * scale if wants_area else None

    def _first_of(self, level: np.ndarray) -> Int[Array, " levels"]:
        """The first node of each level, counted over all roots."""
        return self.first >> jnp.asarray(_root_levels(self.dt) - level, jnp.int32)

    def _draw(self, level: np.ndarray, width: list[int], wants_area: bool, dtype: Any):
        """The numbers of all nodes, for increments and for areas."""
        roots, number = width[0], len(level)
        inside = np.concatenate([np.arange(roots), *(np.arange(n) for n in width[:-1])])
        nodes = self._first_of(level) + jnp.asarray(inside, jnp.int32)
        # A number belongs to a level, to the node, counted over all roots, and to what it is for.
        is_root = np.arange(number) < roots
        length = self.dt * 2.0 ** (len(width) - 1 - level)
        variance = np.stack([np.where(is_root, length, length / 4), length / 12])
        deviation = 2.0**level * np.sqrt(variance)
        # Of the finest areas nobody may ask.
        used = number if wants_area else number - width[-2] if len(width) > 1 else 0
        both = lambda x: jnp.concatenate([x, x[:used]])
        code = np.where(is_root, 0, level + 1) << 1
        kind = jnp.asarray(np.append(code, code[:used] + 1), jnp.uint32)
        z = normals(
            self.words,
            (both(nodes.astype(jnp.uint32)), kind),
            self.entries,
            jnp.asarray(np.append(deviation[0], deviation[1, :used]), dtype),
        )
        return z[:number], z[number:]


def labelled_path(
    t0: float,
    t1: float,
    dt: float,
    *,
    words: UInt32[Array, " 3 *entries"],
    entries: UInt32[Array, " entries"],
    interpolation: Literal["linear", "parabola"],
    dtype: Any,
    first: IntScalar,
) -> GridPath:
    """A Brownian motion whose entries get the random numbers of these words and numbers."""
    tree = _Tree(words, entries, _as_cell_number(first), dt)
    w, a = tree.cells(num_cells(t0, t1, dt), interpolation == "parabola", dtype)
    return GridPath(w, t0=t0, t1=t1, dt=dt, areas=a)


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
    check_choice("interpolation", interpolation, ("linear", "parabola"))


class BrownianPath(AbstractGridPath):
    r"""Brownian motion on the grid $t_0, t_0 + dt, \dots$, smooth inside each cell.

    On a cell of length $h$ the motion is replaced by the chord (`"linear"`, Wong & Zakai
    1965) or by the parabola that also has its space-time Levy area (`"parabola"`,
    Foster, Lyons & Oberhauser 2020). Hence it can be differentiated with respect to time
    inside a cell, which an event time needs; a `diffrax.VirtualBrownianTree` refuses that,
    rightly, as Brownian motion has no derivative.

    The values come from the key by repeated halving of *roots*, stretches of a fixed length in
    model time, conditionally on increment and area. A root's numbers belong to it, to the entry
    of `shape` and to the place in it. So two paths of one key are the same motion wherever both
    are: on windows of different lengths, in cells whose lengths differ by a power of two, with
    more neurons, and with another `interpolation`. A root is between 8 and 16 units of time long
    (one cell, if that is longer).

    **Arguments:**

    - `t0`, `t1`: the window, in the time unit of the model. Concrete numbers.
    - `dt`: the length of a cell. A last cell that reaches beyond `t1` is drawn whole.
    - `shape`: the shape of the values, e.g. `(neurons, channels)`.
    - `key`: a `jax.random.key`.
    - `interpolation`: `"linear"` or `"parabola"`.
    - `dtype`: a floating dtype; by default JAX's default.
    - `columns`: which entries of the last axis are drawn, increasing; the others stay 0. By default
        all. The numbers of a column do not depend on what others are drawn.
    - `first`: how many cells the motion is old at `t0`; may be traced. With it a path goes on where
        one on an earlier window ended.

    **Raises:** `ValueError`/`TypeError` for an empty window, `dt <= 0`, a bad shape or
    interpolation.

    ??? cite "References"

        E. Wong, M. Zakai, *On the convergence of ordinary integrals to stochastic
        integrals*, Ann. Math. Statist. 36 (1965).

        J. Foster, T. Lyons, H. Oberhauser, *An optimal polynomial approximation of
        Brownian motion*, SIAM J. Numer. Anal. 58 (2020).
    """

    increments: Float[Array, " cells *shape"]
    areas: Float[Array, " cells *shape"] | None
    columns: tuple[int, ...] | None = eqx.field(static=True)
    width: int = eqx.field(static=True)
    t0: float = eqx.field(static=True)
    t1: float = eqx.field(static=True)
    dt: float = eqx.field(static=True)
    hurst: float = eqx.field(static=True)

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
        first: IntScalar = 0,
    ):
        self.t0, self.t1, self.dt = check_window(t0, t1, dt, "dt")
        self.hurst = 0.5
        _check_interpolation(interpolation)
        shape = check_shape(shape)
        self.columns, self.width = _check_columns(columns, shape), shape[-1] if shape else 0
        dtype = as_dtype(dtype)
        entries = np.arange(math.prod(shape), dtype=np.uint32)
        if self.columns is not None:
            entries = entries.reshape(shape)[..., self.columns].reshape(-1)
            shape = (*shape[:-1], len(self.columns))
        cells = num_cells(self.t0, self.t1, self.dt)
        begin = _as_cell_number(first)
        tree = _Tree(seeds(key), jnp.asarray(entries), begin, self.dt)
        w, a = tree.cells(cells, interpolation == "parabola", dtype)
        self.increments = w.reshape(cells, *shape)
        self.areas = None if a is None else a.reshape(cells, *shape)

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


def _as_cell_number(first: Any) -> Int[Array, ""]:
    number = as_numbers("first", first)
    if number.shape != () or not jnp.issubdtype(number.dtype, jnp.integer):
        raise ValueError(f"`first` must be an integer, got {described(first)}.")
    if is_concrete(number) and int(number) < 0:
        raise ValueError(f"`first` must not be negative, got {int(number)}.")
    return number.astype(jnp.int32)


def _check_columns(columns: Sequence[int] | None, shape: tuple[int, ...]):
    if columns is None:
        return None
    columns = as_tuple("columns", columns, "numbers of entries of the last axis of `shape`")
    known = all(isinstance(c, int | np.integer) for c in columns)
    if not shape or not known or list(columns) != sorted(set(columns) & set(range(shape[-1]))):
        raise ValueError(
            f"`columns` must be increasing numbers of entries of the last axis of {shape}, got "
            f"{columns}."
        )
    return None if len(columns) == shape[-1] else columns
