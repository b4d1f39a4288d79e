"""A solution between its stops."""

from collections.abc import Sequence
from typing import Any

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._misc import at_least
from .._types import RealScalar, Scalar, State


class Piece(eqx.Module):
    """The smooth solution from where an iteration starts, in the local time of its cell."""

    # When the cell starts since t0, and where in it the piece does.
    start: Scalar
    offset: Scalar
    dense: dfx.AbstractLocalInterpolation

    @classmethod
    def of(cls, start: Scalar, offset: Scalar, dense: Any, stop: Scalar) -> "Piece":
        """From `offset` to `stop`; what a step found, if it is not made of arrays, says by `kept`
        what is."""
        dense = dense.kept(stop) if hasattr(dense, "kept") else dense
        return cls(start, offset, dense)


def on_borders(t: Array, borders: Sequence[Array], scale: Array) -> Array:
    """Times of which those that are a rounding, of times of this scale, from a border lie on it."""
    rounding = 4 * float(jnp.finfo(t.dtype).eps) * scale
    for border in borders:
        shift = jax.lax.stop_gradient(border - t)
        t = t + jnp.where(jnp.abs(shift) <= rounding, shift, 0)
    return t


class DenseSolution(eqx.Module):
    """The solution at any time; [`roughsnn.Solution`][] evaluates it."""

    # Where the pieces end since t0, in order, padded with inf; and the pieces, stacked.
    ends: Float[Array, " pieces"]
    pieces: Piece
    t0: float = eqx.field(static=True, default=0.0)

    def evaluate(self, t: RealScalar, left: bool = True) -> State:
        """The left or the right limit at `t`; nan before the start and beyond the end."""
        t = jnp.asarray(t, self.ends.dtype) - self.t0
        known = jnp.sum(jnp.isfinite(self.ends), dtype=jnp.int32)
        begin, end = self.pieces.start[0] + self.pieces.offset[0], self.ends[known - 1]
        t = on_borders(t, (begin, end), abs(self.t0) + end)
        index = jnp.searchsorted(self.ends, t, side="left" if left else "right")
        # At the end there is nothing to the right.
        index = jnp.where(t == end, jnp.minimum(index, known - 1), index)
        there = (index < known) & (t >= begin)
        piece = jax.tree.map(lambda x: x[jnp.minimum(index, known - 1)], self.pieces)
        y = piece.dense.evaluate(at_least(t - piece.start, piece.offset))
        return jax.tree.map(lambda x: jnp.where(there, x, jnp.nan), y)
