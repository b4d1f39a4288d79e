"""Connections between neurons that are not stored as a matrix."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from .._misc import as_float_array, as_numbers, as_plain, check_positive_int, is_concrete
from .._types import Numeric


class SparseWeights(eqx.Module):
    r"""Weights as lists of targets: neuron k has weight `values[k, j]` onto `targets[k, j]`.

    Takes memory for the synapses that exist, and none for those that do not. Random ones
    are made by [`roughsnn.connectors.fixed_probability`][] and its kin.

    **Arguments:**

    - `targets`: integers, shape `(neurons, synapses)`; -1 is no target.
    - `values`: shape `(neurons, synapses)`.
    - `size`: how many neurons there are to be targets; by default as many as have synapses.

    **Raises:** `ValueError` for shapes that differ, values that are not finite, targets that are no
    neurons, and two synapses onto the same target.
    """

    targets: Int[Array, "neurons synapses"]
    values: Float[Array, "neurons synapses"]
    size: int = eqx.field(static=True)

    def __init__(self, targets: Numeric, values: Numeric, size: int | None = None):
        self.targets = as_numbers("targets", targets)
        self.values = as_float_array("values", values)
        shape = self.targets.shape
        if not jnp.issubdtype(self.targets.dtype, jnp.integer) or len(shape) != 2:
            raise ValueError(
                "`targets` must be integers of shape (neurons, synapses), got "
                f"{self.targets.dtype} of shape {shape}."
            )
        if self.values.shape != shape:
            raise ValueError(
                f"`values` must have the shape of `targets`, {shape}, got {self.values.shape}."
            )
        self.size = check_positive_int("size", shape[0] if size is None else size)
        if not is_concrete(self.targets):
            return
        found = np.asarray(self.targets)
        if found.size and (found.min() < -1 or found.max() >= self.size):
            raise ValueError(
                f"`targets` must be in 0 ... {self.size - 1}, or -1 for none, got values from "
                f"{found.min()} to {found.max()}."
            )
        ordered = np.sort(found, axis=1)
        twice = np.any((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0), axis=1)
        if np.any(twice):
            raise ValueError(
                f"Neuron {np.flatnonzero(twice)[0]} has two synapses onto the same target: add "
                "their weights and keep one; -1 is no target."
            )

    def check_no_autapses(self) -> None:
        """`ValueError` for a population onto itself if a neuron is its own target."""
        if self.shape[0] != self.shape[1]:
            raise ValueError(
                "The lists of a population onto itself must be of one size, got "
                f"{self.shape[0]} lists of targets in 0 ... {self.shape[1] - 1}."
            )
        if not is_concrete(self.targets):
            return
        if np.any(np.asarray(self.targets) == np.arange(self.shape[0])[:, None]):
            raise ValueError(
                "`targets[k]` must not hold k: for synapses of a neuron onto itself say "
                "`autapses=True`; roughsnn.connectors make none with `autapses=False`."
            )

    @property
    def shape(self) -> tuple[int, int]:
        """(neurons, neurons that may be targets)."""
        return self.targets.shape[0], self.size

    def filled(self) -> "SparseWeights":
        """With weights 0 onto neuron 0 in place of those that have no target."""
        there = self.targets >= 0
        filled = jnp.maximum(self.targets, 0), jnp.where(there, self.values, 0)
        return eqx.tree_at(lambda w: (w.targets, w.values), self, filled)

    def row(self, k: Int[Array, ""]) -> Float[Array, " targets"]:
        """The weights of neuron k onto all others."""
        return onto_targets(
            jnp.zeros(self.size, self.values.dtype), self.targets[k], self.values[k]
        )

    def to_dense(self) -> Float[Array, "neurons targets"]:
        """The matrix `weights[pre, post]`."""
        return jax.vmap(self.row)(jnp.arange(self.shape[0]))

    @classmethod
    def from_dense(cls, weights: Numeric) -> "SparseWeights":
        """From a matrix of known numbers; entries that are 0 are no synapses."""
        matrix = np.asarray(as_float_array("weights", as_plain("weights", weights)))
        if matrix.ndim != 2 or not matrix.size:
            raise ValueError(f"`weights` must have shape (pre, post), got {matrix.shape}.")
        there = matrix != 0
        order = np.argsort(~there, axis=1, kind="stable")[:, : max(1, there.sum(1).max())]
        values = np.take_along_axis(matrix, order, 1)
        return cls(np.where(values != 0, order, -1).astype(np.int32), values, matrix.shape[1])


def synapses_of(
    weights: Array | np.ndarray | SparseWeights,
) -> Bool[Array, "pre synapses"] | Bool[np.ndarray, "pre synapses"]:
    """Where there is a synapse whose weight is not 0; NumPy's arrays stay those."""
    if isinstance(weights, SparseWeights):
        return (weights.targets >= 0) & (weights.values != 0)
    return weights != 0


def onto_targets(total: Array, index: Any, values: Array) -> Array:
    """`total` with values added at an index of targets; -1 is none, and gets nothing.

    As no list of targets has to be filled first, there is no copy of it.
    """
    return total.at[index].add(values, mode="drop", wrap_negative_indices=False)


def at_targets(x: Array, index: Any) -> Array:
    """What x is at an index of targets, 0 where that is -1."""
    return x.at[index].get(mode="fill", fill_value=0, wrap_negative_indices=False)
