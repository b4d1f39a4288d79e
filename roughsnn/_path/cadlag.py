"""Càdlàg paths as they are saved: left and right limits in the order of time."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from .._misc import as_numbers, is_concrete


class CadlagPath(eqx.Module):
    """A càdlàg path by its values at some times, both limits where it jumps.

    What `SaveAt(steps=True)` saves of a solve (`Solution.path`), or a recorded membrane potential.
    [`roughsnn.marcus_lift`][] makes a continuous path of it.

    **Arguments:**

    - `ts`: times, shape `(points,)`, not decreasing, padded with inf; a time that is there twice is
        a jump.
    - `ys`: values, an array or a pytree of arrays of shape `(points, ...)`, e.g. `sol.ys.v`.

    **Raises:** `ValueError` for shapes that do not fit.
    """

    ts: Float[Array, " points"]
    ys: PyTree[Float[Array, "points ..."]]

    def __check_init__(self):
        for name, value in (("ts", self.ts), *(("ys", y) for y in jax.tree.leaves(self.ys))):
            dtype = as_numbers(name, value).dtype
            if not jnp.issubdtype(dtype, jnp.floating):
                raise ValueError(f"`{name}` must have a floating dtype, got {dtype}.")
        shapes = [jnp.shape(y) for y in jax.tree.leaves(self.ys)]
        if jnp.ndim(self.ts) != 1 or not shapes or any(s[:1] != jnp.shape(self.ts) for s in shapes):
            raise ValueError(
                "`ts` and `ys` must have shapes (points,) and (points, ...), got "
                f"{jnp.shape(self.ts)} and {shapes}."
            )
        if is_concrete(self.ts) and np.any(np.isnan(np.asarray(self.ts))):
            raise ValueError("`ts` must not hold nan; padding is inf.")

    def corners(self) -> Float[Array, "points coordinates"]:
        """Time and all coordinates; padding repeats the last corner."""
        there = jnp.isfinite(self.ts)
        last = jnp.maximum(jnp.sum(there, dtype=jnp.int32) - 1, 0)
        columns = [jnp.where(there, self.ts, 0)[:, None]]
        columns += [y.reshape(self.ts.shape[0], -1) for y in jax.tree.leaves(self.ys)]
        corners = jnp.concatenate(columns, 1)
        return jnp.where(there[:, None], corners, corners[last][None])
