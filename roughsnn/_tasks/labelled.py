"""Inputs with labels, in batches, and in splits whose random numbers are kept apart."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Int, PyTree

from .._check import as_integers
from .._misc import check_positive_int, check_seed, described


class Labelled(eqx.Module):
    """Samples of a classification task: inputs, and the class of each.

    **Arguments:**

    - `inputs`: an array, a batch of [`roughsnn.SpikeTrain`][], or any pytree of arrays whose first
        axis is the sample.
    - `labels`: shape `(samples,)`, integers in 0 ... classes - 1.
    - `classes`: how many classes there are; each has a sample.

    **Raises:** `TypeError`/`ValueError` for labels that are no integers or out of range, classes
        without a sample, and inputs of another number of samples.
    """

    inputs: PyTree
    labels: Int[np.ndarray, " samples"]
    classes: int = eqx.field(static=True)

    def __init__(self, inputs: PyTree, labels: Any, classes: int):
        self.classes = check_positive_int("classes", classes)
        wanted = f"integers in 0 ... {self.classes - 1}, one for each sample"
        index = as_integers("labels", labels, wanted)
        if index.ndim != 1 or not len(index):
            raise ValueError(f"`labels` must be {wanted}, got {described(index)}.")
        if index.min() < 0 or index.max() >= self.classes:
            raise ValueError(f"`labels` must be {wanted}, got {index.min()} ... {index.max()}.")
        missing = np.setdiff1d(np.arange(self.classes), index)
        if len(missing):
            raise ValueError(
                f"No sample has the label {', '.join(map(str, missing))}: each of the `classes` "
                f"needs one, of {self.classes}. Give fewer, or number those that there are."
            )
        leaves = jax.tree.leaves(inputs)
        if not leaves:
            raise ValueError(f"`inputs` must hold arrays, got {described(inputs)}.")
        for leaf in leaves:
            if np.ndim(leaf) == 0 or len(leaf) != len(index):
                raise ValueError(
                    f"`inputs` must have the {len(index)} samples of the labels on their first "
                    f"axis, got shape {np.shape(leaf)}."
                )
        self.inputs, self.labels = inputs, index.astype(np.int32)

    def __len__(self) -> int:
        return len(self.labels)

    def batches(self, size: int, *, seed: int | Sequence[int]) -> Iterator[tuple[PyTree, Any]]:
        """Pairs (inputs, labels) of `size` samples in random order, each sample once at most: what
        is left at the end is not a batch.

        **Arguments:**

        - `size`: how many samples, at most as many as there are.
        - `seed`: of the order; several numbers, such as a seed and that of the epoch, make one.
        """
        size = check_positive_int("size", size)
        if size > len(self):
            raise ValueError(f"`size` must be at most the {len(self)} samples, got {size}.")
        order = _generator(seed).permutation(len(self))
        for first in range(0, len(self) - size + 1, size):
            own = order[first : first + size]
            yield jax.tree.map(lambda x, own=own: x[own], self.inputs), self.labels[own]


class Splits(NamedTuple):
    """The samples to train with, those to choose by, and those to report."""

    train: Labelled
    validation: Labelled
    test: Labelled


def generators(seed: int, number: int) -> list[np.random.Generator]:
    """Generators that are independent of one another."""
    children = np.random.SeedSequence(check_seed(seed)).spawn(number)
    return [np.random.default_rng(child) for child in children]


def check_samples(samples: Any) -> tuple[int, int, int]:
    """How many samples of each split."""
    wanted = "three positive integers: samples for training, validation and test"
    index = as_integers("samples", samples, wanted)
    if index.shape != (3,) or index.min() < 1:
        raise ValueError(f"`samples` must be {wanted}, got {described(samples)}.")
    train, validation, test = index.tolist()
    return train, validation, test


def _generator(seed: int | Sequence[int]) -> np.random.Generator:
    wanted = "an integer, or several, not negative"
    index = as_integers("seed", [seed] if isinstance(seed, int | np.integer) else seed, wanted)
    if index.size == 0 or index.min() < 0:
        raise ValueError(f"`seed` must be {wanted}, got {seed!r}.")
    return np.random.default_rng(index.tolist())
