"""Parameters in which a function jumps, and has the derivative 0 everywhere else."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

from .problem import Problem
from .report import Comparison

# How far each parameter is moved, relative to its size.
_FAR = np.array([-0.05, 0.05])


def find_switches(problem: Problem, key, num_keys: int) -> list[Comparison]:
    """A line for each leaf of the parameters whose derivative is exactly 0 in all outputs and for
    all keys, although the function changes when it moves: the time of a switch that a solver does
    not know of, a count, a comparison."""
    paths = [path for path, _ in jax.tree_util.tree_leaves_with_path(problem.dynamic)]
    shape = (len(paths), num_keys)
    keys = jnp.broadcast_to(jr.split(jr.fold_in(key, 5), num_keys)[None], shape)
    directions = jr.split(jr.fold_in(key, 6), shape)
    leaves = np.broadcast_to(np.arange(len(paths))[:, None], shape)
    values, slopes = problem.probe(directions, keys, np.append(0.0, _FAR), leaves)
    rows = []
    for leaf, path in enumerate(paths):
        here, there, slope = values[leaf, :, :1], values[leaf, :, 1:], slopes[leaf, :, 0]
        known = np.isfinite(here) & np.isfinite(there)
        change = np.where(known, np.abs(there - np.where(known, here, 0)), 0)
        if np.any(slope != 0) or not np.any(change > 0):
            continue
        name = jax.tree_util.keystr(path) or "params"
        note = f"0 everywhere, yet the function jumps as `params{name}` moves by {_FAR[-1]:.0%}"
        rows.append(
            Comparison(
                "switch",
                "all",
                problem.dt,
                "kink",
                int(np.sum(known)),
                0.0,
                float(np.max(change)),
                float(np.max(change)),
                0.0,
                note,
            )
        )
    return rows
