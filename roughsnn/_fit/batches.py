"""Minibatches: which samples a step sees."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Int, PyTree

from .._misc import check_positive_int
from .._types import PRNGKey


class Batches(eqx.Module):
    """An epoch is a permutation of the samples; what does not fill its last batch is left out."""

    size: int
    samples: int

    @classmethod
    def of(cls, data: PyTree, batch_size: Any) -> "Batches | None":
        """From what [`roughsnn.fit`][] takes; `None` if there are none.

        **Raises:** `ValueError` for data without samples, with different numbers of them, or with
        fewer than a batch has.
        """
        if batch_size is None:
            return None
        size = check_positive_int("batch_size", batch_size)
        numbers: dict[int, str] = {}
        for path, leaf in jax.tree_util.tree_leaves_with_path(data):
            name = f"data{jax.tree_util.keystr(path)}"
            if not eqx.is_array(leaf) or leaf.ndim == 0:
                raise ValueError(
                    f"With `batch_size` each leaf of `data` must be an array with the samples in "
                    f"front, got `{name}` = {leaf}. What is shared by all samples belongs into "
                    "the loss or the model."
                )
            numbers.setdefault(leaf.shape[0], name)
        if len(numbers) != 1:
            found = ", ".join(f"{number} in `{name}`" for number, name in numbers.items())
            raise ValueError(
                "With `batch_size` all leaves of `data` must have the same number of samples in "
                f"front, got {found or 'no leaves'}."
            )
        (samples,) = numbers
        if size > samples:
            raise ValueError(f"`batch_size` is {size}, `data` has only {samples} samples.")
        return cls(size, samples)

    def order(self, key: PRNGKey, step: Int[Array, ""]) -> Int[Array, " samples"]:
        """The permutation of the epoch of a step."""
        key = jr.fold_in(key, step // (self.samples // self.size))
        return jr.permutation(key, jnp.arange(self.samples, dtype=jnp.int32))

    def starts_epoch(self, step: Int[Array, ""]) -> Array:
        """Whether a step needs a new permutation."""
        return step % (self.samples // self.size) == 0

    def batch(self, data: PyTree, order: Array, step: Int[Array, ""]) -> PyTree:
        """The samples of a step."""
        begin = step % (self.samples // self.size) * self.size
        index = jax.lax.dynamic_slice_in_dim(order, begin, self.size)
        return jax.tree.map(lambda leaf: leaf[index], data)
