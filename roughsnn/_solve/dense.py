"""A solution between its stops."""

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._misc import at_least
from .._types import RealScalar, Scalar, State


class Piece(eqx.Module):
    """The smooth solution from where an iteration starts, in the local time of its cell."""

    # When the cell starts, and where in it the piece does.
    start: Scalar
    offset: Scalar
    dense: dfx.AbstractLocalInterpolation


class DenseSolution(eqx.Module):
    """The solution at any time; [`roughsnn.Solution`][] evaluates it."""

    # Where the pieces end, in order, padded with inf; and the pieces, stacked.
    ends: Float[Array, " pieces"]
    pieces: Piece

    def evaluate(self, t: RealScalar, left: bool = True) -> State:
        """The left or the right limit at `t`; nan before the start and beyond the end."""
        t = jnp.asarray(t, self.ends.dtype)
        index = jnp.searchsorted(self.ends, t, side="left" if left else "right")
        # At the end there is nothing to the right.
        known = jnp.sum(jnp.isfinite(self.ends), dtype=jnp.int32)
        index = jnp.where(t == self.ends[known - 1], jnp.minimum(index, known - 1), index)
        begin = self.pieces.start[0] + self.pieces.offset[0]
        there = (index < known) & (t >= begin)
        piece = jax.tree.map(lambda x: x[jnp.minimum(index, known - 1)], self.pieces)
        y = piece.dense.evaluate(at_least(t - piece.start, piece.offset))
        return jax.tree.map(lambda x: jnp.where(there, x, jnp.nan), y)
