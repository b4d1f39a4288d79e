"""Sampled states on the event surface, and what the conditions compare there."""

import dataclasses
import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, Int

from .._misc import matmul
from .._types import PRNGKey
from .continuity import Leaps, leaps_of
from .fields import Fields

# Newton steps towards the surface: it is reached in one where the event is affine.
_STEPS = 20


@dataclasses.dataclass(frozen=True)
class Measured:
    """Numbers at sampled states; k runs over coordinates, p over pairs (j, k) of them.

    What should be 0 comes with the sum of the sizes of its terms, `..._scale`, against which
    rounding is to be held.
    """

    pairs: list[tuple[int, int]]
    level_scale: np.ndarray  # (k): how large E_k and its terms are
    reached: np.ndarray  # (k, samples): whether the state is on the surface
    seen: np.ndarray  # (k, samples, channels): |dE_k sigma|
    seen_scale: np.ndarray
    speed: np.ndarray  # (k, samples): dE_k/dt before the jump
    speed_scale: np.ndarray
    mismatch: np.ndarray  # (k, samples, n, channels): |dT_k sigma - sigma(T_k)|
    mismatch_scale: np.ndarray
    after: np.ndarray  # (k, samples): E_k after its jump
    speed_after: np.ndarray
    meet: np.ndarray  # (p, samples): whether both are at threshold
    pushed: np.ndarray  # (p, samples): |E_j after T_k - E_j|
    commutator: np.ndarray  # (p, samples, n): |T_j T_k - T_k T_j|
    commutator_scale: np.ndarray
    # What changes most at once on each way between states, of the noise and of the drift.
    noise_leaps: Leaps
    drift_leaps: Leaps


def measure(fields: Fields, ks: np.ndarray, key: PRNGKey, samples: int) -> Measured:
    """Evaluates everything that the conditions compare, for the coordinates `ks`."""
    pairs = list(itertools.permutations(range(len(ks)), 2))
    coordinates = jnp.asarray(ks, jnp.int32)
    both = coordinates[np.asarray(pairs, np.int32).reshape(-1, 2)]
    found = _measure(*fields.made_from(), coordinates, both, key, samples)
    first, alone, together, switched = jax.tree.map(np.asarray, found)
    terms = np.max(np.nan_to_num(alone.pop("terms")), axis=1)
    return Measured(pairs=pairs, level_scale=first + terms, **alone, **together, **switched)


@eqx.filter_jit
def _measure(terms, event, t, y, args, part, coordinates, both, key, samples):
    """What there is to measure, compiled once for functions and shapes."""
    fields = Fields(terms, event, t, y, args, part)
    key_y, key_u = jr.split(key)
    largest = jnp.max(jnp.abs(fields.y))
    scale = 0.5 * (jnp.where(largest > 0, largest, 1) + jnp.abs(fields.y))
    starts = fields.y[None] + scale[None] * jr.normal(
        key_y, (samples, *fields.y.shape), fields.y.dtype
    )
    us = jr.uniform(key_u, (2, samples), fields.y.dtype, minval=0.01, maxval=0.99)

    def single(k):
        return jax.vmap(lambda x, u: _single(fields, x, k, u))(starts, us[0])

    def double(jk):
        return jax.vmap(lambda x, u, w: _double(fields, x, jk, u, w))(starts, us[0], us[1])

    first = jnp.abs(fields.event(fields.y))[coordinates]
    own = coordinates[jnp.arange(samples) % coordinates.shape[0]]
    after = jax.vmap(fields.jump)(starts, own, us[0])
    begins = jnp.concatenate([starts, starts])
    ends = jnp.concatenate([jnp.roll(starts, 1, axis=0), after])
    switched = dict(
        noise_leaps=leaps_of(fields.noise, begins, ends),
        drift_leaps=leaps_of(lambda x: fields.drift(x)[:, None], begins, ends),
    )
    return first, jax.vmap(single)(coordinates), jax.vmap(double)(both), switched


def _project(fields: Fields, x: Array, coordinates: Int[Array, " m"]) -> Float[Array, " n"]:
    """A state near `x` at which these coordinates of E are 0 (Gauss-Newton)."""

    def values(x):
        return fields.event(x)[coordinates]

    def step(_, x):
        slopes = jax.jacrev(values)(x)
        gram = matmul(slopes, slopes.T)
        # Slightly regular, for coordinates whose event functions are the same.
        floor = float(jnp.finfo(x.dtype).eps) * (jnp.trace(gram) + 1e-12)
        gram = gram + floor * jnp.eye(gram.shape[0], dtype=x.dtype)
        return x - matmul(slopes.T, jnp.linalg.solve(gram, values(x)))

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


def _speed(fields: Fields, x: Array, k) -> tuple[Array, Array]:
    """dE_k/dt along the drift, and the sum of the sizes of its terms."""
    in_time, in_state = fields.slope(x, k)
    carried = in_state * fields.drift(x)
    return in_time + jnp.sum(carried), jnp.abs(in_time) + jnp.sum(jnp.abs(carried))


def _single(fields: Fields, x, k, u):
    """For a coordinate at threshold: what it sees of the noise, and what its jump does."""
    x = _project(fields, x, k[None])
    sigma = fields.noise(x)
    _, slope = fields.slope(x, k)
    there, pushed = _push(lambda x: fields.jump(x, k, u), x, sigma)
    noise_there = fields.noise(there)
    speed, speed_scale = _speed(fields, x, k)
    largest = jnp.max(jnp.abs(pushed) + jnp.abs(noise_there), axis=0, keepdims=True)
    return dict(
        reached=_reached(x, fields.event(x)[k]),
        seen=jnp.abs(matmul(slope, sigma)),
        seen_scale=matmul(jnp.abs(slope), jnp.abs(sigma)),
        speed=speed,
        speed_scale=speed_scale,
        mismatch=jnp.abs(pushed - noise_there),
        mismatch_scale=jnp.broadcast_to(largest, pushed.shape),
        terms=matmul(jnp.abs(slope), jnp.abs(x)),
        after=fields.event(there)[k],
        speed_after=_speed(fields, there, k)[0],
    )


def _double(fields: Fields, x, jk, u, w):
    """For a pair (j, k) at threshold: what T_k does to E_j, and the commutator."""
    j, k = jk
    x = _project(fields, x, jk)
    e = fields.event(x)
    after_j, after_k = fields.jump(x, j, u), fields.jump(x, k, w)
    first_k, first_j = fields.jump(after_k, j, u), fields.jump(after_j, k, w)
    return dict(
        meet=_reached(x, e[jk]),
        pushed=jnp.abs(fields.event(after_k)[j] - e[j]),
        commutator=jnp.abs(first_k - first_j),
        commutator_scale=jnp.abs(x) + jnp.abs(after_j) + jnp.abs(after_k),
    )
