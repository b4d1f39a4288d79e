"""Piecewise constant paths that declare their jumps."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._misc import as_float_array, is_concrete
from .._types import Numeric, RealScalar
from .base import AbstractJumpPath


class StepPath(AbstractJumpPath):
    r"""A piecewise constant path, such as a current switched on and off.

    The value is `values[0]` before `jump_times[0]`, `values[j]` on
    $[\text{jump\_times}_{j-1}, \text{jump\_times}_j)$. As the drive of
    [`roughsnn.simulate`][] it declares its jumps, so that steps keep their order, and derivatives
    in the times of jumps exist.

    **Arguments:**

    - `jump_times`: shape `(jumps,)`, increasing.
    - `values`: shape `(jumps + 1, neurons)`.

    **Raises:** `ValueError` for unordered times or shapes that do not match.
    """

    jump_times: Float[Array, " jumps"]
    values: Float[Array, "pieces neurons"]
    t0: float = eqx.field(static=True, default=-np.inf)
    t1: float = eqx.field(static=True, default=np.inf)

    def __init__(self, jump_times: Numeric, values: Numeric):
        self.jump_times = as_float_array("jump_times", jump_times)
        self.values = as_float_array("values", values)
        self.t0, self.t1 = -np.inf, np.inf
        if self.jump_times.ndim != 1 or self.values.ndim != 2:
            raise ValueError(
                "`jump_times` must have shape (jumps,) and `values` (jumps + 1, neurons), "
                f"got {self.jump_times.shape} and {self.values.shape}."
            )
        if self.values.shape[0] != self.jump_times.shape[0] + 1:
            raise ValueError(
                f"`values` must have one row more than `jump_times` has entries, got "
                f"{self.values.shape[0]} rows for {self.jump_times.shape[0]} jumps."
            )
        if is_concrete(self.jump_times) and np.any(np.diff(np.asarray(self.jump_times)) <= 0):
            raise ValueError("`jump_times` must be increasing.")

    def evaluate(self, t0: RealScalar, t1: RealScalar | None = None, left: bool = True) -> Array:
        """The value at `t0` (its left limit unless `left=False`), or an increment."""
        if t1 is not None:
            return self.evaluate(t1, left=left) - self.evaluate(t0, left=left)
        t = jnp.asarray(t0)
        if not jnp.issubdtype(t.dtype, jnp.floating):
            t = t.astype(self.jump_times.dtype)
        # In the finer of the two dtypes, so that rounding does not bring t over a jump.
        dtype = max(t.dtype, self.jump_times.dtype, key=lambda dtype: jnp.finfo(dtype).bits)
        jumps, side = self.jump_times.astype(dtype), "left" if left else "right"
        index = jnp.searchsorted(jumps, t.astype(dtype), side=side)
        return self.values[index]
