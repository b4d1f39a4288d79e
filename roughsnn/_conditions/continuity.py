"""Whether drift and noise jump between events.

Between two states a function is looked at on the piece of the way where it changes most, again and
again: a change that is continuous becomes smaller with the piece, what a switch changes does not.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .fields import Fields

# Into so many pieces a way is cut, and so often: what is left is a millionth of it.
_PIECES, _CUTS = 16, 5


def leaps(
    fields: Fields, starts: Float[Array, "samples n"], after: Float[Array, "samples n"]
) -> dict[str, Array]:
    """How much drift and noise change at once on the ways between sampled states, and from each to
    where an event takes it, with the largest sizes that they have there."""
    begins = jnp.concatenate([starts, starts])
    ends = jnp.concatenate([jnp.roll(starts, 1, axis=0), after])
    drift, drift_scale = _leap(lambda x: fields.drift(x)[:, None], begins, ends)
    noise, noise_scale = _leap(fields.noise, begins, ends)
    return dict(
        drift_leap=drift[..., 0],
        drift_leap_scale=jnp.broadcast_to(drift_scale[..., 0], drift.shape[:-1]),
        noise_leap=noise,
        noise_leap_scale=jnp.broadcast_to(noise_scale, noise.shape),
    )


def _leap(
    fn: Callable[[Array], Array], begins: Float[Array, "pairs n"], ends: Float[Array, "pairs n"]
) -> tuple[Float[Array, "pairs n columns"], Float[Array, "n columns"]]:
    """What is left of the change of `fn` where it is largest relative to its sizes, and these."""
    finite = lambda x: jnp.where(jnp.isfinite(x), x, 0)
    known = jnp.abs(finite(jax.vmap(fn)(jnp.concatenate([begins, ends]))))
    largest = jnp.max(known, axis=0)
    scale = jnp.where(largest > 0, largest, 1)

    def one(a, b):
        def cut(_, ends):
            a, b = ends
            parts = jnp.linspace(0, 1, _PIECES + 1, dtype=a.dtype)[:, None]
            points = jnp.concatenate([(a[None] + parts * (b - a)[None])[:-1], b[None]])
            changes = jnp.abs(finite(jnp.diff(jax.vmap(fn)(points), axis=0)))
            k = jnp.argmax(jnp.max(changes / scale[None], axis=(1, 2), initial=0))
            return points[k], points[k + 1]

        a, b = jax.lax.fori_loop(0, _CUTS, cut, (a, b))
        return jnp.abs(finite(fn(b) - fn(a)))

    return jax.vmap(one)(begins, ends), scale
