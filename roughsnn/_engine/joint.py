r"""The equations of neurons and their ports together, and their exact maps.

A neuron's state x and the states of its ports g, which feed it, are one small linear system
$\dot z = A z + b(r)$ (Rotter & Diesmann, *Exact digital simulation of time-invariant linear systems
with applications to neuronal modeling*, Biological Cybernetics 81 (1999)). Where b is a straight
line $b_0 + r\dot b$, with the functions $\varphi_k$ of `phis.py`,

$$z(r) = z(0) + r\,\varphi_1(A r)\,(A z(0) + b_0) + r^2\varphi_2(A r)\,\dot b.$$

They are computed at $A r/32$, by a series, and doubled five times,
$\varphi_1(2 z) = \varphi_1(z) + z\,\varphi_1(z)^2/2$ and
$\varphi_2(2 z) = (2\varphi_2(z) + \varphi_1(z)^2)/4$. With $\rho$ the spectral radius of A the
error is rounding up to $\rho r = 4$, 1e-10 at 8, and 1e-5 of what decays so fast at 32. Nothing in
this depends on the neurons where they share their parameters.
"""

import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._misc import matmul
from .._model.layout import Group
from .cell_parts import filled
from .linear import Affine, matrices_of
from .phis import Entry, Matrix, Vector, added, entries, plus, product, scaled, times

# The series of the maps, and how often they are doubled.
_TERMS, _DOUBLINGS = 8, 5
# With so many products or more in that of two matrices they are multiplied as arrays.
_MANY = 16


class _Sparse:
    """A matrix by entries, of which those that are always 0 are `None`."""

    def __init__(self, rows: Matrix):
        self.rows = rows

    def __add__(self, other: "_Sparse") -> "_Sparse":
        both = zip(self.rows, other.rows, strict=True)
        return _Sparse(tuple(tuple(added(a, b)) for a, b in both))

    def __mul__(self, by: Array | float) -> "_Sparse":
        return _Sparse(tuple(tuple(scaled(row, by)) for row in self.rows))

    def times(self, other: "_Sparse") -> "_Sparse":
        """The product of two."""
        columns = list(zip(*other.rows, strict=True))
        rows = (tuple(dot(row, column) for column in columns) for row in self.rows)
        return _Sparse(tuple(rows))


def dot(a: Vector, b: Vector) -> Entry:
    return plus(*(times(x, y) for x, y in zip(a, b, strict=True)))


def _maps(z: Any, one: Any, mul: Callable, bent: bool) -> tuple[Any, Any]:
    """phi_1 and, where it is bent, phi_2 of a matrix."""
    z, first = z * 0.5**_DOUBLINGS, 2 if bent else 1
    phi, phi_2 = one * (1 / math.factorial(first + _TERMS)), None
    for k in reversed(range(_TERMS)):
        phi = one * (1 / math.factorial(first + k)) + mul(z, phi)
    if bent:
        phi_2, phi = phi, one + mul(z, phi)
    for _ in range(_DOUBLINGS):
        square = mul(phi, phi)
        phi_2 = None if phi_2 is None else phi_2 * 0.5 + square * 0.25
        phi = phi + mul(z, square) * 0.5
        z = z * 2.0
    return phi, phi_2


class Joint(eqx.Module):
    """Neurons with their ports: dz/dr = matrix z + b, potential = row z + level, with one number in
    each entry for all neurons, or one for each."""

    matrix: Matrix
    row: Vector
    level: Array
    # A bound of the spectral radius.
    radius: Float[Array, ""]
    # Which entries of functions of the matrix may differ from 0.
    reach: tuple[tuple[bool, ...], ...] = eqx.field(static=True)

    @classmethod
    def of(cls, group: Group, dtype: Any) -> "Joint":
        """That of a group."""
        m = matrices_of(group, dtype)
        blocks = [m.neuron, *(m.ports[name] for name in group.ports)]
        gain = [m.neuron.gain[..., i] if g else None for i, g in enumerate(m.neuron.gains)]
        feeds = [x for port in blocks[1:] for x in _row(port)]
        width, rows = len(gain) + len(feeds), []
        for block in blocks:
            before, own = len(rows), entries(block.matrix, block.pattern)
            for row in own:
                rows.append([None] * before + list(row) + [None] * (width - before - len(own)))
        for i, g in enumerate(gain):
            rows[i][len(gain) :] = [times(g, x) for x in feeds]
        if all(x is None for row in rows for x in row):
            rows[0][0] = jnp.zeros((), dtype)
        matrix = tuple(map(tuple, rows))
        there = np.array([[x is not None for x in row] for row in rows])
        reach = np.linalg.matrix_power(there + np.eye(width), width) > 0
        row, level = _row(m.neuron), m.neuron.level
        return cls(matrix, row, level, _radius(matrix), tuple(map(tuple, reach.tolist())))

    def maps(self, r: Array, bent: bool) -> tuple[Matrix, Matrix | None]:
        """r phi_1 and, where it is bent, r^2 phi_2 of the matrix times r, a time for all neurons or
        one for each."""
        width = len(self.matrix)
        if np.linalg.matrix_power(np.array(self.reach, int), 2).sum() < _MANY:
            there = jnp.ones((), r.dtype)
            rows = [[there if i == j else None for j in range(width)] for i in range(width)]
            one = _Sparse(tuple(map(tuple, rows)))
            found = _maps(_Sparse(self.matrix) * r, one, _Sparse.times, bent)
            by, rows_of = r, lambda x: x.rows
        else:
            full, by = _full(self.matrix), r
            if r.ndim:
                full, by = full if full.ndim == 3 else full[None], r[:, None, None]
            full = full * by
            one = jnp.broadcast_to(jnp.eye(width, dtype=full.dtype), full.shape)
            found = _maps(full, one, matmul, bent)
            rows_of = lambda x: entries(x, self.reach)
        return rows_of(found[0] * by), rows_of(found[1] * by**2) if bent else None

    def moved(self, z: list[Array], force: Vector, turn: Vector | None, r: Array) -> list[Array]:
        """The state after a time r, under a forcing that begins with `force` and has the slope
        `turn`."""
        return self.moved_by(*self.maps(r, turn is not None), z, force, turn)

    def moved_by(
        self, one: Matrix, two: Matrix | None, z: list[Array], force: Vector, turn: Vector | None
    ) -> list[Array]:
        """The same by maps of a time."""
        # What is added to z: its rounding is that of a small part.
        parts = [z, product(one, self.slope(z, force))]
        if two is not None and turn is not None:
            parts.append(product(two, turn))
        return filled(added(*parts), z)

    def slope(self, z: list[Array], force: Vector) -> Vector:
        """dz/dr."""
        return added(product(self.matrix, z), force)

    def read(self, z: Vector) -> Entry:
        """The potential, without its level."""
        return dot(self.row, z[: len(self.row)])


def _row(m: Affine) -> Vector:
    return entries(m.row[..., None, :], (m.reads,))[0]


def _full(matrix: Matrix) -> Float[Array, "*neurons size size"]:
    """A matrix by entries as an array."""
    there = [x for row in matrix for x in row if x is not None]
    like = jnp.broadcast_shapes(*(x.shape for x in there))
    zero = jnp.zeros(like, there[0].dtype)
    rows = [[zero if x is None else jnp.broadcast_to(x, like) for x in row] for row in matrix]
    return jnp.stack([jnp.stack(row, -1) for row in rows], -2)


def _radius(matrix: Matrix) -> Float[Array, ""]:
    """trace(|A|^16)^(1/16), which does not depend on the units of the components."""
    power = jax.lax.stop_gradient(jnp.abs(_full(matrix)))
    logarithm = jnp.zeros((), power.dtype)
    for k in range(5):
        scale = jnp.maximum(jnp.max(power), jnp.finfo(power.dtype).tiny)
        logarithm = logarithm + jnp.log(scale) / 2**k
        power = power / scale
        power = matmul(power, power) if k < 4 else power
    most = jnp.max(jnp.trace(power, axis1=-2, axis2=-1))
    return jnp.exp(logarithm) * most ** (1 / 16)
