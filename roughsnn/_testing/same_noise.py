"""Derivatives against differences with the same key."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax.flatten_util import ravel_pytree

from .._misc import as_plain
from .problem import Problem, leaf_names, random_direction
from .report import Comparison, Curve, combine, nothing

# Rounding errors of a solve, in units of eps: what differences may be off by is this
# times eps |F| / step.
ROUNDING = 200


def as_steps(steps: Any) -> np.ndarray:
    """At least two decreasing, positive steps."""
    array = as_plain("steps", steps)
    decreasing = array.ndim == 1 and len(array) > 1 and np.all(np.diff(array) < 0)
    if not decreasing or array[-1] <= 0 or not np.isfinite(array[0]):
        raise ValueError(f"`steps` must be at least two decreasing positive numbers, got {array}.")
    return array


class SameNoise:
    """Derivatives and differences with the same key: arrays (directions, keys, outputs)."""

    def __init__(self, problem: Problem, key, num_keys: int, num_directions: int, steps):
        self.problem = problem
        self.keys = jr.split(jr.fold_in(key, 2), num_keys)
        self.direction_keys = jr.split(jr.fold_in(key, 3), num_directions)
        example = eqx.filter_eval_shape(problem, problem.dynamic, key)
        self.names, self.owner = leaf_names(example)
        # What is computed is no better than the coarsest number that goes in or out.
        arrays = (*jax.tree.leaves(example), *jax.tree.leaves(problem.dynamic))
        self.eps = max(float(jnp.finfo(x.dtype).eps) for x in arrays)
        double = self.eps < 1e-10
        default = np.logspace(-2, -6, 5) if double else np.logspace(-1, -3, 5)
        # A difference says something if its rounding is below this part of the derivative.
        self._finest = 1e-3 if double else 2e-2
        self.steps = default if steps is None else steps
        shifts = np.concatenate([[0.0], self.steps, -self.steps])

        shape = (num_directions, num_keys)
        directions = jnp.broadcast_to(self.direction_keys[:, None], shape)
        keys = jnp.broadcast_to(self.keys[None], shape)
        values, slopes = problem.probe(directions, keys, shifts)
        slope = slopes[:, :, 0]
        n = len(self.steps)
        self.slope, middle = slope, values[:, :, 0]
        up, down = values[:, :, 1 : n + 1], values[:, :, n + 1 :]
        h = self.steps[:, None]
        with np.errstate(invalid="ignore"):
            self.central = (up - down) / (2 * h)
            self.sides = (up - middle[:, :, None]) / h, (middle[:, :, None] - down) / h
        self.finite = np.isfinite(middle) & np.all(np.isfinite(self.central), axis=2)
        if not np.any(self.finite):
            raise ValueError("No entry of the output is finite: there is nothing to compare.")
        # A common scale for each leaf: entries that happen to be small are no better known.
        size = lambda x: self._per_leaf(np.max, np.where(self.finite, np.abs(x), 0))
        self.broken = self.finite & ~np.isfinite(slope)
        known = np.where(self.broken, 0, slope)
        self.scale = np.maximum(size(known), size(np.nan_to_num(self.central[:, :, -1])))
        self.rounding = ROUNDING * self.eps * size(middle)[:, :, None] / h

    def _per_leaf(self, reduce, x):
        """For each entry the maximum (or so) over its leaf."""
        out = np.zeros_like(x)
        for leaf in range(len(self.names)):
            mine = self.owner == leaf
            out[..., mine] = reduce(x[..., mine], axis=-1, keepdims=True)
        return out

    def reverse_against_forward(self) -> Comparison:
        """<w, J d> by both modes."""
        problem, key = self.problem, self.keys[0]
        direction = random_direction(problem, self.direction_keys[0])

        @eqx.filter_jit
        def products():
            value, pull = jax.vjp(lambda p: problem.vector(p, key), problem.dynamic)
            weights = jr.normal(self.direction_keys[0], value.shape, value.dtype)
            weights = jnp.where(jnp.isfinite(value), weights, 0)
            (gradient,) = pull(weights)
            reverse = sum(
                jnp.sum(g * d)
                for g, d in zip(jax.tree.leaves(gradient), jax.tree.leaves(direction), strict=True)
            )
            return reverse, weights

        reverse, weights = (np.asarray(x, np.float64) for x in products())
        terms = np.where(weights != 0, weights * np.nan_to_num(self.slope[0, 0]), 0)
        forward, tolerance = float(np.sum(terms)), ROUNDING * self.eps * np.sum(np.abs(terms))
        error = abs(float(reverse) - forward)
        good = error <= tolerance + 1e-300
        return Comparison(
            "reverse = forward",
            "all",
            problem.dt,
            "agrees" if good else "disagrees",
            1,
            float(reverse),
            forward,
            error,
            float(tolerance),
        )

    def _judge(self):
        """For each entry: verdict, its best difference, that one's error and its allowance."""
        slope = self.slope[:, :, None]
        error = np.abs(self.central - slope)
        allowed = self.rounding + 1e-6 * self.scale[:, :, None]
        informative = self.rounding <= self._finest * self.scale[:, :, None]
        error = np.where(informative & np.isfinite(error), error, np.inf)
        best = np.argmin(error / np.maximum(allowed, 1e-300), axis=2)
        # Two neighbouring steps that agree: the differences have settled.
        with np.errstate(invalid="ignore"):
            gap = np.abs(np.diff(self.central, axis=2))
            close = gap <= 0.1 * error[:, :, 1:] + allowed[:, :, 1:]
        settled = np.any(close & informative[:, :, :-1] & informative[:, :, 1:], axis=2)
        pick = lambda x: np.take_along_axis(x, best[:, :, None], axis=2)[:, :, 0]
        least, bound = pick(error), pick(allowed)
        one_sided = np.min([np.abs(s[:, :, -1] - self.slope) for s in self.sides], axis=0)
        kink = ~settled | (one_sided <= 1e-3 * self.scale)
        verdict = np.where(kink, "kink", "disagrees").astype(object)
        verdict[~np.any(informative, axis=2)] = "unresolved"
        # Nothing moves, and nothing should.
        still = (self.scale == 0) | (np.all(self.central == 0, axis=2) & (self.slope == 0))
        verdict[(least <= bound) | still] = "agrees"
        verdict[self.broken] = "disagrees"
        return verdict, pick(self.central), np.where(still, 0, least), bound

    def against_differences(self) -> list[Comparison]:
        """The derivative against central differences, at the step that knows most."""
        verdict, central, error, bound = self._judge()
        return self._rows("same noise", verdict, central, error, bound)

    def against_reference(self, reference, params) -> list[Comparison]:
        """The derivative against one from elsewhere."""
        problem = self.problem

        @eqx.filter_jit
        def tangents():
            def one(direction_key, key):
                direction = random_direction(problem, direction_key)
                out = reference(params, direction, key, *problem.extra)
                return ravel_pytree(eqx.filter(out, eqx.is_inexact_array))[0]

            return jax.vmap(jax.vmap(one, (None, 0)), (0, None))(self.direction_keys, self.keys)

        other = np.asarray(tangents(), np.float64)
        if other.shape != self.slope.shape:
            raise ValueError(
                f"`reference` must return the structure of the output: it has {other.shape[-1]} "
                f"entries, the output {self.slope.shape[-1]}."
            )
        error = np.abs(other - self.slope)
        bound = (1e-6 + ROUNDING * self.eps) * self.scale
        verdict = np.where(error <= bound, "agrees", "disagrees").astype(object)
        return self._rows("reference", verdict, other, error, bound)

    def _rows(self, check, verdict, other, error, bound) -> list[Comparison]:
        rows = []
        for leaf, name in enumerate(self.names):
            mine = self.finite & (self.owner == leaf)
            if not np.any(mine):
                rows.append(nothing(check, name, self.problem.dt))
                continue
            word, note = combine(verdict[mine])
            ratio = np.where(mine, error / np.maximum(bound, 1e-300), -1)
            if word != "agrees":
                ratio = np.where(verdict == word, ratio, -1)
            at = np.unravel_index(np.argmax(ratio), ratio.shape)
            rows.append(
                Comparison(
                    check,
                    name,
                    self.problem.dt,
                    word,
                    int(np.sum(mine)),
                    self.slope[at],
                    other[at],
                    error[at],
                    bound[at],
                    note,
                )
            )
        return rows

    def curves(self) -> list[Curve]:
        """Median errors against the step of the difference."""
        found = []
        for leaf, name in enumerate(self.names):
            mine = self.finite & (self.owner == leaf)
            if not np.any(mine):
                continue
            scale = np.where(self.scale > 0, self.scale, 1)[:, :, None]
            error = np.abs(self.central - self.slope[:, :, None]) / scale
            middle = lambda x, mine=mine: np.median(np.moveaxis(x, 2, -1)[mine], axis=0)
            found.append(
                Curve(
                    name, self.problem.dt, self.steps, middle(error), middle(self.rounding / scale)
                )
            )
        return found

    def rms(self) -> np.ndarray:
        """The size of the derivative of each leaf."""
        size = []
        for leaf in range(len(self.names)):
            mine = self.finite & (self.owner == leaf)
            size.append(np.sqrt(np.mean(self.slope[mine] ** 2)) if np.any(mine) else 0.0)
        return np.array(size)
