"""The noise of a network: numbers for all neurons and channels that are drawn, in a row."""

from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from .._model.layout import Layout
from .._model.network import SpikingNetwork
from .._path.base import AbstractGridPath
from .._path.brownian import labelled_path
from .._path.grid import GridPath
from .._random import RandomKey, seeds
from .._window import Window
from .labels import of_population


def check_noise(noise: Any, network: SpikingNetwork) -> None:
    """`TypeError`/`ValueError` for what is no path of values for all neurons and channels."""
    if not isinstance(noise, AbstractGridPath):
        raise TypeError(
            "`noise` must be a roughsnn.Brownian, or a path like a roughsnn.GridPath, got a "
            f"{type(noise).__name__}."
        )
    channels = max(p.channels for p in network.simulated.values())
    shape, got = (network.num_neurons, channels), jax.eval_shape(noise.arrays)[0].shape[1:]
    if got != shape:
        raise ValueError(
            f"`noise` must have values of shape (neurons, channels) = {shape}, with a channel for "
            f"each entry of `sigma`, got {got}."
        )


def flat_path(layout: Layout, path: AbstractGridPath) -> GridPath:
    """A path of values of shape (neurons, channels), group after group."""

    def flat(x: Array) -> Array:
        columns = []
        for group in layout.groups:
            own = group.of_network(jnp.moveaxis(x, 1, -1))
            own = jnp.moveaxis(own, -1, 1)[..., : group.channels]
            columns.append(own.reshape(x.shape[0], -1))
        return jnp.concatenate(columns, 1)

    increments, areas = path.arrays()
    areas = None if areas is None else flat(areas)
    fixed: Any = dict(dt=path.dt, areas=areas, hurst=path.hurst)
    return GridPath(flat(increments), t0=path.t0, t1=path.t1, **fixed)


def drawn_path(
    layout: Layout,
    key: RandomKey,
    window: Window,
    interpolation: Literal["linear", "parabola"],
    dtype: Any,
    first: Any,
) -> GridPath:
    """Brownian noise by population, neuron, channel and time since the first window."""
    entries, words = [], []
    for n, group in enumerate(layout.groups):
        members = [m for m in layout.members if m.group == n]
        for m in sorted(members, key=lambda m: m.start):
            number = np.arange(m.stop - m.start, dtype=np.uint32)[:, None] * group.channels
            own = (number + np.asarray(group.drawn, np.uint32)).reshape(-1)
            if own.size:
                entries.append(own.astype(np.uint32))
                words.append(seeds(of_population(key, m.name)))
    every = words[0]
    if len(words) > 1:
        wide = [
            jnp.broadcast_to(w[:, None], (3, e.size)) for w, e in zip(words, entries, strict=True)
        ]
        every = jnp.concatenate(wide, 1)
    return labelled_path(
        window.t0,
        window.t1,
        window.dt0,
        words=every,
        entries=jnp.asarray(np.concatenate(entries)),
        interpolation=interpolation,
        dtype=dtype,
        first=first,
    )
