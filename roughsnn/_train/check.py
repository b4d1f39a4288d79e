"""Checks of the spike trains that kernels and losses are given."""

from typing import Any

import numpy as np

from .._misc import described, is_concrete
from .spike_train import SpikeTrain


def check_same_kind(x: Any, y: Any, names: tuple[str, str] = ("x", "y")) -> None:
    """Two trains, or batches of them, of the same window and neurons.

    What has been made of trains has these, too.
    """
    for name, z in zip(names, (x, y), strict=True):
        if not all(hasattr(z, part) for part in ("t0", "t1", "num_neurons")):
            _refuse(name, z)
    kinds = [(z.t0, z.t1, z.num_neurons) for z in (x, y)]
    if kinds[0] != kinds[1]:
        raise ValueError(
            f"`{names[0]}` and `{names[1]}` must have the same window and number of neurons, got "
            f"(t0, t1, num_neurons) = {kinds[0]} and {kinds[1]}."
        )


def _refuse(name: str, x: Any) -> None:
    raise TypeError(f"`{name}` must be a roughsnn.SpikeTrain, got {described(x)}.")


def check_trains(name: str, x: Any, *, batch: bool = False) -> None:
    """A train, or a batch, whose spikes (where they are known) are in order, in the window and
    of neurons that there are."""
    if not isinstance(x, SpikeTrain):
        _refuse(name, x)
    if x.times.ndim != 1 + batch:
        wanted = (
            "a batch of trains with times of shape (samples, spikes)"
            if batch
            else "one train with times of shape (spikes,)"
        )
        raise ValueError(
            f"`{name}` must be {wanted}, got {x.times.shape}. Use jax.vmap over keys, or "
            "SpikeTrain.stack."
        )
    if x.times.shape[0] == 0 and batch:
        raise ValueError(f"`{name}` must hold at least one train, got an empty batch.")
    if x.num_neurons < 1:
        raise ValueError(f"`{name}` must have at least one neuron, got {x.num_neurons}.")
    if not is_concrete(x.times, x.marks):
        return
    times, marks = np.asarray(x.times), np.asarray(x.marks)
    there = marks >= 0
    if np.any(marks >= x.num_neurons) or np.any(marks < -1):
        raise ValueError(
            f"`{name}` has marks from {marks.min()} to {marks.max()}; neurons are 0 ... "
            f"{x.num_neurons - 1}, and -1 is padding."
        )
    if np.any(there[..., 1:] & ~there[..., :-1]):
        raise ValueError(f"`{name}` has padding (mark -1) before a spike; it must come last.")
    known = times[there]
    # One rounding more than the window: the last spike of a cell may lie on its end.
    slack = 1e-6 * (x.t1 - x.t0)
    if not np.all((known >= x.t0 - slack) & (known <= x.t1 + slack)):
        raise ValueError(
            f"`{name}` has spikes outside of its window [{x.t0}, {x.t1}], or times that are not "
            "finite."
        )
    if np.any(there[..., 1:] & (times[..., 1:] < times[..., :-1])):
        raise ValueError(f"`{name}` has spike times that are not in increasing order.")


def check_several(name: str, x: Any) -> None:
    """A batch of at least two trains."""
    check_trains(name, x, batch=True)
    if x.times.shape[0] < 2:
        raise ValueError(
            f"`{name}` must hold at least two trials, which are compared with each other, got "
            f"{x.times.shape[0]}."
        )


def check_batches(x: Any, y: Any) -> None:
    """Two batches of trains of the same window and neurons."""
    for name, z in (("x", x), ("y", y)):
        check_trains(name, z, batch=True)
    check_same_kind(x, y)
