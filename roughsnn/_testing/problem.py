"""The function under test, along a line in parameter space."""

import math
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Key, PyTree

from .._types import PRNGKey

# Keys, and a move of the parameters, over which a function that depends on them shows it.
_KEYS, _FAR = 256, 0.05
# How many evaluations are done at once.
_LANES = 512


class Problem:
    """F(s; key) = fn(params + s direction, key) as a vector, and what its entries are."""

    def __init__(self, fn: Callable, params: PyTree, dt: float | None):
        self.dynamic, self.static = eqx.partition(params, eqx.is_inexact_array)
        self.fn, self.dt = fn, dt
        self._lanes = eqx.filter_jit(jax.vmap(self._lane))

    def __call__(self, dynamic: PyTree, key: PRNGKey) -> PyTree:
        """The floating arrays that `fn` returns."""
        params = eqx.combine(dynamic, self.static)
        out = self.fn(params, key) if self.dt is None else self.fn(params, key, self.dt)
        return eqx.filter(out, eqx.is_inexact_array)

    def vector(self, dynamic: PyTree, key: PRNGKey) -> Float[Array, " outputs"]:
        """They as one vector."""
        return ravel_pytree(self(dynamic, key))[0]

    def _lane(self, direction_key: PRNGKey, key: PRNGKey, s, leaf) -> tuple[Array, Array]:
        """Value and slope at params + s direction; one leaf moves, all if `leaf` is negative."""
        leaves, structure = jax.tree.flatten(random_direction(self, direction_key))
        moves = [jnp.where((leaf < 0) | (leaf == n), d, 0) for n, d in enumerate(leaves)]
        direction = jax.tree.unflatten(structure, moves)

        def along(s):
            moved = jax.tree.map(lambda p, d: p + s.astype(p.dtype) * d, self.dynamic, direction)
            return self.vector(moved, key)

        return jax.jvp(along, (s,), (jnp.ones_like(s),))

    def probe(
        self,
        direction_keys: Key[Array, "*batch"],
        keys: Key[Array, "*batch"],
        shifts: np.ndarray,
        leaves: np.ndarray | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Values and slopes, shape `(*batch, shifts, outputs)`, for arrays of keys; `leaves` says
        which leaf of the parameters moves, by default all.

        One program of a fixed number of lanes, so it is compiled once for all checks.
        """
        batch, number = keys.shape, len(shifts)
        total = keys.size * number
        lane = np.arange(-(-total // _LANES) * _LANES) % total
        key, shift = lane // number, np.asarray(shifts)[lane % number]
        flat, directions = keys.reshape(-1), direction_keys.reshape(-1)
        moving = np.full(keys.size, -1) if leaves is None else leaves.reshape(-1)
        dtype = jnp.result_type(float)
        done = [
            self._lanes(
                directions[key[at]],
                flat[key[at]],
                jnp.asarray(shift[at], dtype),
                jnp.asarray(moving[key[at]], jnp.int32),
            )
            for at in np.split(np.arange(len(lane)), len(lane) // _LANES)
        ]
        values, slopes = (
            np.concatenate([np.asarray(x, np.float64) for x in column])[:total].reshape(
                *batch, number, -1
            )
            for column in zip(*done, strict=True)
        )
        return values, slopes

    @property
    def extra(self) -> tuple[float, ...]:
        """What `fn` takes behind its key."""
        return () if self.dt is None else (self.dt,)


def check_problem(problem: Problem, key: PRNGKey, deterministic: bool) -> None:
    """Refuses functions of which nothing could be learnt."""
    if not jax.tree.leaves(problem.dynamic):
        raise ValueError("`params` holds no floating array: there is nothing to differentiate.")
    fn = lambda key: problem.fn(eqx.combine(problem.dynamic, problem.static), key, *problem.extra)
    shapes = eqx.filter_eval_shape(fn, key)
    leaves = [x for x in jax.tree.leaves(shapes) if isinstance(x, jax.ShapeDtypeStruct)]
    if not any(jnp.issubdtype(x.dtype, jnp.floating) for x in leaves):
        kinds = sorted({str(x.dtype) for x in leaves})
        raise TypeError(
            f"`fn` must return at least one floating array, got {kinds or 'no array'}. An "
            "integer has no derivative; roughsnn.losses.counts has the right one for counts."
        )
    keys = jr.split(jr.fold_in(key, 1), _KEYS)
    here, far = np.moveaxis(problem.probe(keys, keys, np.array([0.0, _FAR]))[0], 1, 0)
    if np.any(np.isnan(here)):
        raise ValueError("`fn` returns nan. (Infinite entries are taken for padding.)")
    if not np.any(np.isfinite(here)):
        raise ValueError(
            "`fn` returns no finite number for these `params`, so there is nothing to compare."
        )
    if not deterministic and np.all(here == here[:1]):
        raise ValueError(
            "`fn` returns the same for all keys. Does it ignore its key? For a model without "
            "noise pass compare='paths'."
        )
    if np.array_equal(here, far, equal_nan=True):
        raise ValueError(
            "`fn` does not change with its parameters: it is constant, and nothing could be "
            "compared."
        )


def random_direction(problem: Problem, key: PRNGKey) -> PyTree:
    """A random direction, in which each number moves by about as much as it is large, so that
    positive ones stay so; a 0 moves by a tenth of what is usual in its array."""
    leaves, structure = jax.tree.flatten(problem.dynamic)
    keys = jr.split(key, len(leaves))

    def one(k, x):
        usual = jnp.sqrt(jnp.mean(x**2))
        size = jnp.abs(x) + 0.1 * jnp.where(usual > 0, usual, 1)
        return jr.normal(k, x.shape, x.dtype) * size.astype(x.dtype)

    return jax.tree.unflatten(structure, map(one, keys, leaves))


def leaf_names(example: PyTree) -> tuple[list[str], np.ndarray]:
    """A name for each leaf of the output, and for each entry the number of its leaf."""
    found = jax.tree_util.tree_leaves_with_path(example)
    names = [jax.tree_util.keystr(path) or "output" for path, _ in found]
    return names, np.repeat(np.arange(len(found)), [math.prod(x.shape) for _, x in found])
