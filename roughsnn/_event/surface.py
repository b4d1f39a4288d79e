"""Sampled states on the event surface, and what the conditions compare there."""

import dataclasses
import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, Int

from .._types import PRNGKey
from .fields import Fields

# Newton steps towards the surface: it is reached in one where the event is affine.
_STEPS = 20


@dataclasses.dataclass(frozen=True)
class Measured:
    """Numbers at sampled states; k runs over coordinates, p over pairs (j, k) of them."""

    pairs: list[tuple[int, int]]
    noise_scale: float
    state_scale: float
    on_surface: np.ndarray  # (k, samples)
    seen: np.ndarray  # (k, samples, channels): |dE_k sigma|
    speed: np.ndarray  # (k, samples): dE_k/dt before the jump
    mismatch: np.ndarray  # (k, samples, n, channels): |dT_k sigma - sigma(T_k)|
    after: np.ndarray  # (k, samples): E_k after its jump
    speed_after: np.ndarray  # (k, samples)
    pushed: np.ndarray  # (p, samples): |E_j after T_k - E_j|
    commutator: np.ndarray  # (p, samples, n): |T_j T_k - T_k T_j|


def measure(fields: Fields, ks: np.ndarray, key: PRNGKey, samples: int) -> Measured:
    """Evaluates everything that the conditions compare, for the coordinates `ks`."""
    pairs = list(itertools.permutations(range(len(ks)), 2))
    key_y, key_u = jr.split(key)
    scale = 0.5 * (1 + jnp.abs(fields.y))
    starts = fields.y[None] + scale[None] * jr.normal(
        key_y, (samples, *fields.y.shape), fields.y.dtype
    )
    us = jr.uniform(key_u, (2, samples), fields.y.dtype, minval=0.01, maxval=0.99)
    coordinates = jnp.asarray(ks, jnp.int32)

    @eqx.filter_jit
    def run():
        def single(k):
            return jax.vmap(lambda x, u: _single(fields, x, k, u))(starts, us[0])

        def double(jk):
            return jax.vmap(lambda x, u, w: _double(fields, x, jk, u, w))(starts, us[0], us[1])

        both = coordinates[np.asarray(pairs)] if pairs else None
        return jax.vmap(single)(coordinates), None if both is None else jax.vmap(double)(both)

    single, double = jax.tree.map(np.asarray, run())
    none = np.zeros((0, samples))
    pushed, commutator = (none, none[..., None]) if double is None else double
    noise = np.asarray(fields.noise(fields.y))
    return Measured(
        pairs=pairs,
        noise_scale=1 + float(np.max(np.abs(noise), initial=0)),
        state_scale=1 + float(np.max(np.abs(starts))),
        pushed=pushed,
        commutator=commutator,
        **single,
    )


def _project(fields: Fields, x: Array, coordinates: Int[Array, " m"]) -> Float[Array, " n"]:
    """A state near `x` at which these coordinates of E are 0 (Gauss-Newton)."""

    def values(x):
        return fields.event(x)[coordinates]

    def step(_, x):
        slopes = jax.jacrev(values)(x)
        gram = slopes @ slopes.T
        # Slightly regular, for coordinates whose event functions are the same.
        floor = float(jnp.finfo(x.dtype).eps) * (jnp.trace(gram) + 1e-12)
        gram = gram + floor * jnp.eye(gram.shape[0], dtype=x.dtype)
        return x - slopes.T @ jnp.linalg.solve(gram, values(x))

    return jax.lax.fori_loop(0, _STEPS, step, x)


def _reached(x: Array, values: Array):
    """Whether the state is finite and these event functions are 0 there, to rounding."""
    tolerance = float(jnp.finfo(x.dtype).eps) ** 0.5 * (1 + jnp.max(jnp.abs(x)))
    return jnp.all(jnp.isfinite(x)) & jnp.all(jnp.abs(values) <= tolerance)


def _push(fn, x: Array, columns: Float[Array, "n channels"]):
    """fn(x), and its derivatives along each column."""
    value, derivative = jax.linearize(fn, x)
    if columns.shape[1] == 0:
        return value, jnp.zeros((*value.shape, 0), value.dtype)
    return value, jax.vmap(derivative, 1, 1)(columns)


def _single(fields: Fields, x, k, u):
    """For a coordinate at threshold: what it sees of the noise, and what its jump does."""
    x = _project(fields, x, k[None])
    sigma = fields.noise(x)
    e, seen = _push(fields.event, x, sigma)
    there, pushed = _push(lambda x: fields.jump(x, k, u), x, sigma)
    reached = _reached(x, e[k])
    return dict(
        on_surface=reached,
        seen=jnp.where(reached, jnp.abs(seen[k]), 0),
        speed=fields.speed(x)[k],
        mismatch=jnp.where(reached, jnp.abs(pushed - fields.noise(there)), 0),
        after=fields.event(there)[k],
        speed_after=fields.speed(there)[k],
    )


def _double(fields: Fields, x, jk, u, w):
    """For a pair (j, k) at threshold: what T_k does to E_j, and the commutator."""
    j, k = jk
    x = _project(fields, x, jk)
    e = fields.event(x)
    reached = _reached(x, e[jk])
    after_k = fields.jump(x, k, w)
    pushed = jnp.abs(fields.event(after_k)[j] - e[j])
    commutator = jnp.abs(fields.jump(after_k, j, u) - fields.jump(fields.jump(x, j, u), k, w))
    return jnp.where(reached, pushed, 0), jnp.where(reached, commutator, 0)
