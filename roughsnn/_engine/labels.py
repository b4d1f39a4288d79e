"""Which random numbers a neuron gets: those of its population's name and its number in it."""

import zlib

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array

from .._model.layout import Layout
from .._random import AntitheticKey, Labels, RandomKey, original, seeds


def of_population(key: RandomKey, name: str) -> RandomKey:
    """The key of a population."""
    folded = jr.fold_in(original(key), zlib.crc32(name.encode()))
    return AntitheticKey(folded) if isinstance(key, AntitheticKey) else folded


def keys_of_part(key: RandomKey, name: str, part: str, size: int) -> Array:
    """The keys by which the neurons of a population draw a part of their state at the start.

    The same whether a key is mirrored or not: what is drawn is a matter of the caller.
    """
    own = jr.fold_in(original(of_population(key, name)), zlib.crc32(part.encode()))
    return jax.vmap(lambda number: jr.fold_in(own, number))(jnp.arange(size, dtype=jnp.uint32))


def labels_of(layout: Layout, key: RandomKey) -> tuple[Labels, ...]:
    """Those of all groups."""
    found = []
    for n in range(len(layout.groups)):
        members = [m for m in layout.members if m.group == n]
        members.sort(key=lambda m: m.start)
        words = [seeds(of_population(key, m.name)) for m in members]
        sizes = [m.stop - m.start for m in members]
        entries = jnp.asarray(np.concatenate([np.arange(size, dtype=np.int32) for size in sizes]))
        if len(words) == 1:
            found.append(Labels(words[0], entries))
        else:
            every = [
                jnp.broadcast_to(w[:, None], (3, size))
                for w, size in zip(words, sizes, strict=True)
            ]
            found.append(Labels(jnp.concatenate(every, 1), entries))
    return tuple(found)


def flat_labels(labels: tuple[Labels, ...]) -> Labels:
    """Those of all neurons, group after group."""
    if len(labels) == 1:
        return labels[0]
    numbers = [one.entries for one in labels if one.entries is not None]
    every = [
        jnp.broadcast_to(one.words.reshape(3, -1), (3, own.shape[0]))
        for one, own in zip(labels, numbers, strict=True)
    ]
    return Labels(jnp.concatenate(every, 1), jnp.concatenate(numbers))
