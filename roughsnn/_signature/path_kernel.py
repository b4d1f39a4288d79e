"""Signature kernels of piecewise linear paths that need not be spike trains."""

import abc
import functools as ft
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._check import check_choice, check_kind
from .._misc import as_float_array, check_positive_int, described, is_concrete, matmul
from .._types import Numeric, Scalar
from .segments import SWEEPS, Sweep, goursat


class AbstractStaticKernel(eqx.Module):
    """A kernel of two points."""

    @abc.abstractmethod
    def matrix(
        self,
        x: Float[Array, "points coordinates"],
        y: Float[Array, "other_points coordinates"],
    ) -> Float[Array, "points other_points"]:
        """Of all pairs of points."""


class LinearStatic(AbstractStaticKernel):
    r"""$\langle a, b\rangle$: the signature of the path itself."""

    def matrix(self, x, y):
        """A matrix product."""
        return matmul(x, y.T)


class RBFStatic(AbstractStaticKernel):
    r"""$e^{-\|a - b\|^2/2\ell^2}$: the signature of the path lifted to a Hilbert space.

    **Arguments:**

    - `scale`: $\ell$, positive.
    """

    scale: Float[Array, ""]

    def __init__(self, scale: Numeric = 1.0):
        self.scale = as_float_array("scale", scale)
        if self.scale.shape != ():
            raise ValueError(f"`scale` must be a scalar, got shape {self.scale.shape}.")
        if is_concrete(self.scale) and float(self.scale) <= 0:
            raise ValueError(f"`scale` must be positive, got {float(self.scale)}.")

    def matrix(self, x, y):
        """From differences, so that near points lose no digits."""
        gap = x[:, None] - y[None]
        return jnp.exp(-jnp.sum(gap**2, -1) / 2 / self.scale.astype(x.dtype) ** 2)


class PathKernel(eqx.Module):
    r"""The signature kernel $\langle S(x), S(y)\rangle$ of two piecewise linear paths.

    On the cell of two segments the Goursat problem has the coefficient
    $c = \kappa(x_{i+1}, y_{j+1}) - \kappa(x_{i+1}, y_j) - \kappa(x_i, y_{j+1}) + \kappa(x_i, y_j)$,
    taken as constant there. With the linear static kernel it is, and the kernel is exact but for
    the `order`: the relative error is about $(|\Delta x|\,|y|)^{p+1}/(p+1)!^2$, $|\Delta x|$ the
    longest segment and $|y|$ the length of the other path. With another one the error falls by 4
    with each `refine`; [`roughsnn.PathKernel.error`][] estimates it. All modes of differentiation
    work.

    Càdlàg paths: give their corners, [`roughsnn.marcus_lift`][], where a jump is a segment (the
    Marcus lift).

    **Arguments:**

    - `static`: [`roughsnn.LinearStatic`][] or [`roughsnn.RBFStatic`][].
    - `refine`: each segment is cut into $2^r$ equal ones.
    - `order`: how many derivatives a cell carries; by default 6 in float32, 10 in float64.
    - `normalized`: divide by $\sqrt{k(x, x)\,k(y, y)}$.
    - `sweep`: `"rows"`, cell by cell, or `"diagonals"`, all cells of a diagonal at once: the same
        numbers from fewer and wider steps, which suits a GPU. By default diagonals there and rows
        on a CPU.

    ??? cite "Reference"

        C. Salvi, T. Cass, J. Foster, T. Lyons, W. Yang, *The signature kernel is the solution of a
        Goursat PDE*, SIAM J. Math. Data Sci. 3 (2021).
    """

    static: AbstractStaticKernel
    refine: int = eqx.field(static=True)
    order: int | None = eqx.field(static=True)
    normalized: bool = eqx.field(static=True)
    sweep: Sweep | None = eqx.field(static=True)

    def __init__(
        self,
        static: AbstractStaticKernel | None = None,
        *,
        refine: int = 0,
        order: int | None = None,
        normalized: bool = False,
        sweep: Sweep | None = None,
    ):
        self.static = LinearStatic() if static is None else static
        wanted = "a roughsnn.LinearStatic or RBFStatic"
        check_kind("static", self.static, AbstractStaticKernel, wanted)
        if isinstance(refine, bool) or not isinstance(refine, int | np.integer) or refine < 0:
            raise ValueError(
                f"`refine` must be an integer that is not negative, got {described(refine)}."
            )
        self.refine = int(refine)
        self.order = None if order is None else check_positive_int("order", order)
        self.normalized = bool(normalized)
        if sweep is not None:
            check_choice("sweep", sweep, SWEEPS)
        self.sweep = sweep

    def _plain(self, x: Array, y: Array, refine: int) -> Scalar:
        order = self.order
        if order is None:
            order = 6 if x.dtype == jnp.float32 else 10
        sweep = self.sweep
        if sweep is None:
            sweep = "rows" if jax.default_backend() == "cpu" else "diagonals"
        return _kernel(self.static, _cut(x, refine), _cut(y, refine), order, sweep)

    def _value(self, x: Array, y: Array, refine: int) -> Scalar:
        value = self._plain(x, y, refine)
        if not self.normalized:
            return value
        return value / jnp.sqrt(self._plain(x, x, refine) * self._plain(y, y, refine))

    def __call__(
        self,
        x: Float[Array, "points coordinates"],
        y: Float[Array, "other_points coordinates"],
    ) -> Scalar:
        """k(x, y) of two paths, given by their corners.

        **Raises:** `ValueError` for arrays that are not paths in one space, with two points at
        least.
        """
        return self._value(*_check(x, y), self.refine)

    def error(
        self,
        x: Float[Array, "points coordinates"],
        y: Float[Array, "other_points coordinates"],
    ) -> Scalar:
        """An estimate of the error of k(x, y): four thirds of what one more refinement changes."""
        x, y = _check(x, y)
        change = self._value(x, y, self.refine + 1) - self._value(x, y, self.refine)
        return jnp.abs(change) * (4 / 3)

    def gram(
        self,
        x: Float[Array, "samples points coordinates"],
        y: Float[Array, "other_samples other_points coordinates"],
    ) -> Float[Array, "samples other_samples"]:
        """k of all pairs of two batches of paths, a row at a time."""
        x, y = _check(x, y, "samples, ")
        one = lambda a, b: self._plain(a, b, self.refine)
        values = jax.lax.map(lambda a: jax.vmap(lambda b: one(a, b))(y), x)
        if not self.normalized:
            return values
        own = lambda z: jnp.sqrt(jax.lax.map(lambda a: one(a, a), z))
        return values / own(x)[:, None] / own(y)[None]


@ft.partial(jax.checkpoint, static_argnums=(3, 4))
def _kernel(static: AbstractStaticKernel, x: Array, y: Array, order: int, sweep: Sweep) -> Scalar:
    matrix = static.matrix(x, y)
    return goursat(jnp.diff(jnp.diff(matrix, axis=0), axis=1), order, sweep)


def _cut(x: Array, refine: int) -> Array:
    """Each segment cut into 2^refine."""
    pieces = 2**refine
    inside = (jnp.arange(pieces, dtype=x.dtype) / pieces)[None, :, None]
    fine = x[:-1, None] + inside * jnp.diff(x, axis=0)[:, None]
    return jnp.concatenate([fine.reshape(-1, x.shape[1]), x[-1:]])


def _check(x: Any, y: Any, batch: str = "") -> tuple[Array, Array]:
    """Two paths, or batches of them, as arrays."""
    x, y = as_float_array("x", x), as_float_array("y", y)
    for name, z in (("x", x), ("y", y)):
        if z.ndim != (3 if batch else 2) or z.shape[-2] < 2 or z.shape[0] == 0:
            raise ValueError(
                f"`{name}` must have shape ({batch}points, coordinates) with at least two points, "
                f"got {z.shape}."
            )
    if x.shape[-1] != y.shape[-1]:
        raise ValueError(
            f"`x` and `y` must have the same coordinates, got {x.shape[-1]} and {y.shape[-1]}."
        )
    return x, y
