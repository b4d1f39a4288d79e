"""Mean gradients against differences of means; growth as dt -> 0."""

import dataclasses
import statistics
from collections.abc import Sequence

import jax.numpy as jnp
import jax.random as jr
import numpy as np

from .problem import Problem
from .report import Comparison, nothing
from .same_noise import SameNoise

# Level of the test on the mean, over all of its numbers.
_LEVEL = 1e-3
# What must be seen of a derivative for "agrees" to mean something.
_RESOLVED = 0.5


def compare_means(
    problem: Problem, key, same: SameNoise, samples: int, h: float
) -> list[Comparison]:
    """The mean gradient against the difference of the means, along one direction."""
    keys = jr.split(jr.fold_in(key, 4), samples)
    # Five points: the curvature of the mean is not to be seen in the difference.
    shifts, weights = np.array([-2, -1, 1, 2]) * h, np.array([1, -8, 8, -1]) / (12 * h)

    directions = jnp.broadcast_to(same.direction_keys[0], keys.shape)
    values, slopes = problem.probe(directions, keys, np.append(shifts, 0.0))
    values, slope = values[:, :-1], slopes[:, -1]
    # A padded entry is no random variable; a missing one makes its mean undefined.
    known = np.all(np.isfinite(values), axis=(0, 1))
    difference = np.tensordot(np.where(known, values, 0), weights, (1, 0))
    broken = known & ~np.all(np.isfinite(slope), axis=0)
    slope = np.where(known & ~broken, slope, 0)
    gap = slope - difference
    error = np.std(gap, axis=0, ddof=1) / samples**0.5
    limit = statistics.NormalDist().inv_cdf(1 - _LEVEL / (2 * max(1, int(np.sum(known)))))
    curvature = 1e-4 * np.maximum(np.abs(slope.mean(0)), np.abs(difference.mean(0)))
    bound = limit * error + curvature + 1e-12
    distance = np.abs(gap.mean(0))
    rows = []
    for leaf, name in enumerate(same.names):
        mine = known & (same.owner == leaf)
        if not np.any(mine):
            note = "no entry is finite in every sample"
            rows.append(dataclasses.replace(nothing("mean", name, problem.dt), note=note))
            continue
        if np.any(mine & broken):
            note = "the derivative is not finite in every sample"
            line = nothing("mean", name, problem.dt)
            rows.append(dataclasses.replace(line, verdict="disagrees", note=note))
            continue
        at = int(np.argmax(np.where(mine, distance / bound, -1)))
        word = "agrees" if distance[at] <= bound[at] else "disagrees"
        note = f"{distance[at] / max(error[at], 1e-300):.1f} standard errors"
        size = np.maximum(np.abs(slope.mean(0)), np.abs(difference.mean(0)))
        largest = int(np.argmax(np.where(mine, size, -1)))
        if word == "agrees" and not _resolves(bound[largest], size[largest]):
            word = "unresolved"
            needed = samples * (bound[largest] / (_RESOLVED * size[largest] + 1e-300)) ** 2
            note += f"; to see an error of half takes some {needed:.1g} samples"
        rows.append(
            Comparison(
                "mean",
                name,
                problem.dt,
                word,
                int(np.sum(mine)),
                slope[:, at].mean(),
                difference[:, at].mean(),
                distance[at],
                bound[at],
                note,
            )
        )
    return rows


def _resolves(bound: float, size: float) -> bool:
    """Whether a mean derivative of this size that is wrong by half of itself would be seen."""
    return bool(bound <= max(_RESOLVED * size, 1e-9))


def growth(names: list[str], dts: Sequence[float], sizes: np.ndarray) -> list[Comparison]:
    """Whether the derivative of a leaf grows like a power of 1/dt."""
    rows = []
    for leaf, name in enumerate(names):
        size = sizes[:, leaf]
        if not np.all(size > 0):
            continue
        order = float(np.polyfit(np.log(dts), np.log(size), 1)[0])
        grown = size[-1] / size[0]
        word = "diverges" if order < -0.25 and grown > 1.5 else "agrees"
        rows.append(
            Comparison(
                "dt -> 0",
                name,
                float(dts[-1]),
                word,
                len(dts),
                float(size[-1]),
                float(size[0]),
                grown - 1,
                0.5,
                f"size ~ dt^{order:.2f}",
            )
        )
    return rows
