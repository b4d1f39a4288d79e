"""Which neurons of a train are meant: by their numbers, or by the name of their population."""

from typing import Any, TypeAlias

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from .._check import as_integers
from .._misc import as_numbers, described, is_concrete

# Names and sizes of populations, in the order in which their neurons are numbered.
Sizes: TypeAlias = tuple[tuple[str, int], ...]
# The name of a population that is the only one, and was given none.
ONLY = "neurons"


def check_neurons(neurons: Any, total: int) -> Int[Array, " n"]:
    """Numbers of neurons below `total`, all different as far as they are known."""
    wanted = "a list of integers, at least one"
    if is_concrete(neurons):
        index = as_integers("neurons", neurons, wanted)
    else:
        index = as_numbers("neurons", neurons)
    if index.ndim != 1 or index.shape[0] == 0 or not jnp.issubdtype(index.dtype, jnp.integer):
        raise ValueError(f"`neurons` must be {wanted}, got {described(index)}.")
    if isinstance(index, np.ndarray) and (
        len(set(index.tolist())) < len(index) or index.min() < 0 or index.max() >= total
    ):
        raise ValueError(
            f"`neurons` must be different numbers in 0 ... {total - 1}, got {index.tolist()}."
        )
    return jnp.asarray(index, jnp.int32)


def check_sizes(populations: Sizes, total: int) -> Sizes:
    """Populations that have as many neurons as there are."""
    if populations and sum(size for _, size in populations) != total:
        raise ValueError(
            f"`populations` must have {total} neurons in all, as many as the train, got "
            f"{dict(populations)}."
        )
    return populations


def groups_of(groups: Any, populations: Sizes, total: int) -> tuple[np.ndarray, Sizes]:
    """The number of the group of each neuron, and names and sizes of these; by default a group is a
    population."""
    if groups is None:
        sizes = [size for _, size in populations or ((ONLY, total),)]
        index = np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)
        return index, tuple((name, 1) for name, _ in populations)
    wanted = f"{total} integers, one for each neuron"
    index = as_integers("groups", groups, wanted)
    if index.shape != (total,):
        raise ValueError(f"`groups` must be {wanted}, got shape {index.shape}.")
    if index.min() < 0:
        raise ValueError(f"`groups` must not be negative, got {index.min()}.")
    return index.astype(np.int32), ()


def numbers_of(name: Any, populations: Sizes, total: int) -> range:
    """The numbers of the neurons of a population, or an error that says which there are."""
    if not isinstance(name, str):
        raise TypeError(
            f"A train is indexed by the name of a population, got {described(name)}. One sample of "
            "a batch is `jax.tree.map(lambda x: x[n], batch)`."
        )
    first = 0
    for own, size in populations or ((ONLY, total),):
        if own == name:
            return range(first, first + size)
        first += size
    there = ", ".join(repr(own) for own, _ in populations) or f"{ONLY!r}, which are all"
    raise KeyError(f"{name!r} is no population of the train; there are {there}.")
