"""Whether drift and noise jump between events.

Between two states a function is looked at on the piece of the way where it changes most, again and
again: a change that is continuous becomes smaller with the piece, what a switch changes does not.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

# Into so many pieces a way is cut, and so often: what is left is a millionth of it.
_PIECES, _CUTS = 16, 5


class Leaps(NamedTuple):
    """What of a function changes most at once on each way: in which component, by how much, and
    which share that is of its largest size."""

    component: Int[Array, " ways"]
    change: Float[Array, " ways"]
    share: Float[Array, " ways"]


def leaps_of(
    fn: Callable[[Array], Array], begins: Float[Array, "ways n"], ends: Float[Array, "ways n"]
) -> Leaps:
    """Those of a function of the state, with a row for each component, between states."""
    finite = lambda x: jnp.where(jnp.isfinite(x), x, 0)
    size = lambda x: jnp.abs(finite(fn(x)))
    # One after the other, as the noise of many channels is large.
    one_of_them = jax.eval_shape(fn, begins[0])
    largest = jnp.zeros(one_of_them.shape, one_of_them.dtype)
    both = jnp.concatenate([begins, ends])
    largest = jax.lax.scan(lambda so_far, x: (jnp.maximum(so_far, size(x)), None), largest, both)[0]
    scale = jnp.where(largest > 0, largest, 1)

    def one(way):
        def cut(_, ends):
            a, b = ends
            parts = jnp.linspace(0, 1, _PIECES + 1, dtype=a.dtype)[:, None]
            points = jnp.concatenate([(a[None] + parts * (b - a)[None])[:-1], b[None]])
            changes = jnp.abs(finite(jnp.diff(jax.vmap(fn)(points), axis=0)))
            k = jnp.argmax(jnp.max(changes / scale[None], axis=(1, 2), initial=0))
            return points[k], points[k + 1]

        a, b = jax.lax.fori_loop(0, _CUTS, cut, way)
        change = jnp.abs(finite(fn(b) - fn(a)))
        share = jnp.max(change / scale, axis=1, initial=0)
        component = jnp.argmax(share)
        change = jnp.max(change, axis=1, initial=0)
        return Leaps(component.astype(jnp.int32), change[component], share[component])

    return jax.lax.map(one, (begins, ends))
