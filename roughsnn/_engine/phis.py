r"""$\varphi_k(A h)$ of the small matrices of linear neurons and synapses, by entries.

$\varphi_0(z) = e^z$, $\varphi_k(z) = (\varphi_{k-1}(z) - 1/(k-1)!)/z$: with a forcing that is a
polynomial of time they make steps exact (Hochbruck & Ostermann, *Exponential integrators*, Acta
Numerica 19 (2010)).
"""

import functools as ft
import math
from collections.abc import Sequence
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from .._misc import matmul

# Below this x a series of so many terms is exact to the rounding of float64 (the next one is
# below 0.5^14/15! = 5e-17), above it the recursion loses one digit for two orders.
_SERIES, _TERMS = 0.5, 14
# So often is a matrix halved at most before its series is summed.
_HALVINGS = 12

# A number for all neurons, or one for each; `None` where the entry is always 0.
Entry: TypeAlias = Float[Array, "..."] | None
Matrix: TypeAlias = tuple[tuple[Entry, ...], ...]
Vector: TypeAlias = Sequence[Entry]


@ft.partial(jax.custom_jvp, nondiff_argnums=(0,))
@ft.partial(jax.jit, static_argnums=0)
def phis(order: int, x: Array) -> tuple[Array, ...]:
    r"""$\varphi_0(-x), \dots, \varphi_{order}(-x)$.

    Where x is small the last one is a series, and the recursion goes down from there.
    """
    series = jnp.zeros_like(x)
    for j in reversed(range(_TERMS)):
        series = 1 / math.factorial(j + order) - x * series
    small = [series]
    for k in reversed(range(order)):
        small.append(1 / math.factorial(k) - x * small[-1])
    is_small = jnp.abs(x) < _SERIES
    large = jnp.where(is_small, _SERIES, x)
    value = jnp.exp(-large)
    found = [jnp.where(is_small, small[order], value)]
    for k in range(order):
        value = (1 / math.factorial(k) - value) / large
        found.append(jnp.where(is_small, small[order - 1 - k], value))
    return tuple(found)


@phis.defjvp
def _phis_jvp(order, primals, tangents):
    r"""$\varphi_k' = \varphi_k - k\varphi_{k+1}$; nothing divides by x."""
    (x,), (dx,) = primals, tangents
    found = phis(order + 1, x)
    slopes = (k * found[k + 1] - found[k] for k in range(order + 1))
    return found[: order + 1], tuple(slope * dx for slope in slopes)


Pattern: TypeAlias = Sequence[Sequence[bool]]


def _closure(pattern: Pattern) -> Bool[np.ndarray, "size size"]:
    """Which entries of functions of a matrix may differ from 0."""
    reach = np.asarray(pattern) | np.eye(len(pattern), dtype=bool)
    for _ in range(len(pattern)):
        reach = reach @ reach
    return reach


def matrix_phis(
    matrix: Float[Array, "*neurons size size"],
    pattern: Pattern,
    length: Float[Array, ""],
    order: int,
) -> tuple[Matrix, ...]:
    """phi_0 ... phi_order of a matrix, whose entries are 0 where `pattern` is false, times a
    length."""
    size = len(pattern)
    if not np.any(np.asarray(pattern) & ~np.eye(size, dtype=bool)):
        at_0 = [jnp.asarray(1 / math.factorial(k), matrix.dtype) for k in range(order + 1)]
        found = [
            phis(order, -matrix[..., i, i] * length) if pattern[i][i] else at_0 for i in range(size)
        ]
        return tuple(_diagonal(list(row)) for row in zip(*found, strict=True))
    reach, whole = _closure(pattern), _full_phis(matrix * length, order)
    return tuple(entries(x, reach) for x in whole)


def entries(matrix: Float[Array, "*neurons rows columns"], pattern: Pattern | np.ndarray) -> Matrix:
    """The entries of a matrix, `None` where the pattern is false."""
    return tuple(
        tuple(matrix[..., i, j] if here else None for j, here in enumerate(row))
        for i, row in enumerate(pattern)
    )


def _diagonal(values: list[Array]) -> Matrix:
    return tuple(
        tuple(v if i == j else None for j in range(len(values))) for i, v in enumerate(values)
    )


def _full_phis(z: Float[Array, "*neurons size size"], order: int) -> list[Array]:
    """Of full matrices: by series after halving, and doubling as often."""
    one = jnp.broadcast_to(jnp.eye(z.shape[-1], dtype=z.dtype), z.shape)
    norm = jax.lax.stop_gradient(jnp.max(jnp.sum(jnp.abs(z), -1), -1))
    halvings = jnp.ceil(jnp.log2(jnp.maximum(norm / _SERIES, 1)))
    halvings = jnp.minimum(halvings, _HALVINGS)[..., None, None]
    small = z * jnp.exp2(-halvings)
    series = jnp.zeros_like(small)
    for j in reversed(range(_TERMS)):
        series = one * (1 / math.factorial(j + order)) + matmul(small, series)
    found = [series]
    for k in reversed(range(order)):
        found.insert(0, matmul(small, found[0]) + one * (1 / math.factorial(k)))

    def twice(found, number):
        new = []
        for k in range(order + 1):
            rest = [found[j] / math.factorial(k - j) for j in range(1, k + 1)]
            new.append(sum(rest, matmul(found[0], found[k])) / 2**k)
        wanted = number < halvings
        return [jnp.where(wanted, a, b) for a, b in zip(new, found, strict=True)], None

    numbers = jnp.arange(_HALVINGS, dtype=z.dtype)
    return jax.lax.scan(twice, found, numbers)[0]


def product(matrix: Matrix, x: Vector) -> Vector:
    """A matrix times a vector."""
    found: list[Entry] = []
    for row in matrix:
        total: Entry = None
        for a, b in zip(row, x, strict=True):
            if a is not None and b is not None:
                total = a * b if total is None else total + a * b
        found.append(total)
    return found


def plus(*terms: Entry) -> Entry:
    """The sum of entries."""
    there = [x for x in terms if x is not None]
    return sum(there[1:], there[0]) if there else None


def times(a: Entry, b: Entry) -> Entry:
    """The product of entries."""
    return None if a is None or b is None else a * b


def scaled(x: Vector, by: Array | float) -> Vector:
    """A vector times a number."""
    return [None if a is None else a * by for a in x]


def added(*vectors: Vector) -> Vector:
    """The sum of vectors."""
    return [plus(*row) for row in zip(*vectors, strict=True)]
