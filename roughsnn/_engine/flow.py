r"""The exact maps of neurons and their ports after many times, from a table.

$r\,\varphi_1(A r)$ and $r^2\varphi_2(A r)$ (see `joint.py`) are functions of r alone: sums of
Chebyshev polynomials on $[-h, h]$. With $\rho$ the spectral radius of A and n polynomials what is
left out is about $(\rho h/2)^n/n!$: rounding up to $\rho h = 4$, and 5e-10 at 8.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from .joint import Joint
from .phis import Matrix, Vector

# How many polynomials there are.
_NUMBER = {8: 24, 4: 14}


class Flow(eqx.Module):
    """How neurons and ports move for times from -unit to unit."""

    joint: Joint
    # The coefficients of the polynomials on the first axis, for each entry of the maps.
    one: Matrix
    two: Matrix | None
    unit: float = eqx.field(static=True)

    @classmethod
    def of(cls, joint: Joint, unit: float, bent: bool) -> "Flow":
        """With a forcing that may change if it is `bent`."""
        dtype = joint.level.dtype
        number = _NUMBER[dtype.itemsize]
        angles = np.pi * (np.arange(number) + 0.5) / number
        share = 2 / number * np.cos(np.outer(np.arange(number), angles))
        share[0] /= 2
        nodes = jnp.asarray(unit * np.cos(angles), dtype)
        values = jax.vmap(lambda r: joint.maps(r, bent))(nodes)
        share = jnp.asarray(share, dtype)
        one, two = jax.tree.map(lambda x: jnp.tensordot(share, x, 1, precision="highest"), values)
        return cls(joint, one, two, unit)

    @property
    def is_shared(self) -> bool:
        """Whether the maps are those of all neurons."""
        return all(x.ndim == 1 for x in jax.tree.leaves((self.one, self.two)))

    def polynomials(self, r: Array) -> Array:
        """The Chebyshev polynomials, on the first axis."""
        x = r / self.unit
        found = [jnp.ones_like(x), x]
        while len(found) < _NUMBER[x.dtype.itemsize]:
            found.append(2 * x * found[-1] - found[-2])
        return jnp.stack(found)

    def moved(self, z: list[Array], force: Vector, turn: Vector | None, r: Array) -> list[Array]:
        """As [`Joint.moved`][], after a time for each neuron."""
        at = self.polynomials(r)
        one = _summed(self.one, at)
        two = None if turn is None or self.two is None else _summed(self.two, at)
        return self.joint.moved_by(one, two, z, force, turn)

    def responses(self, unit: list[Array]) -> list[Array]:
        """What is left of a jump, as the coefficients of the polynomials, for each neuron or for
        all."""
        slope = self.joint.slope(unit, [None] * len(unit))
        found = []
        for row, u in zip(self.one, unit, strict=True):
            pairs = zip(row, slope, strict=True)
            terms = [
                a * b if b.ndim == 0 else (a if a.ndim == 2 else a[:, None]) * b[None]
                for a, b in pairs
                if a is not None and b is not None
            ]
            number = _NUMBER[u.dtype.itemsize]
            constant = jnp.zeros((number, *u.shape), u.dtype).at[0].set(u)
            found.append(sum(terms, constant))
        return found


def _summed(entries: Any, at: Array) -> Matrix:
    """The entries of a map from the values of the polynomials."""

    return jax.tree.map(lambda x: weighted(x, at), entries)


def weighted(x: Array, at: Array) -> Array:
    """The sum of the polynomials with coefficients for all neurons or for each."""
    return jnp.sum(x.reshape(-1, *(1,) * (at.ndim - 1)) * at if x.ndim == 1 else x * at, 0)
