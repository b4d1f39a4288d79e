"""Lists of spike times, one for each neuron, as one padded array in time order."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from .._check import as_tuple
from .._misc import check_positive_int
from .borders import check_times, rounded


class Flat(NamedTuple):
    """The times of all neurons, the neuron of each, how many there are, and of how many neurons."""

    times: np.ndarray
    marks: np.ndarray
    total: int
    neurons: int


def flattened(
    times: Sequence[Sequence[float] | np.ndarray],
    t0: float,
    t1: float,
    max_spikes: int | None,
    dtype: Any,
) -> Flat:
    """Lists in [t0, t1] in one array of a dtype, with room for `max_spikes`."""
    lists = as_tuple("times", times, "a list of spike times for each neuron")
    if len(lists) == 0:
        raise ValueError("`times` must hold one list of spike times for each neuron.")
    arrays = [check_times(t, n, t0, t1) for n, t in enumerate(lists)]
    total = sum(len(a) for a in arrays)
    room = max(total, 1) if max_spikes is None else check_positive_int("max_spikes", max_spikes)
    if total > room:
        raise ValueError(f"`max_spikes` is too small: got {room}, the train has {total} spikes.")
    marks = np.repeat(np.arange(len(arrays)), [len(a) for a in arrays])
    order = np.argsort(np.concatenate(arrays), kind="stable")
    flat = np.concatenate([rounded(a, n, t1, dtype) for n, a in enumerate(arrays)])
    padding = room - total
    return Flat(
        np.concatenate([flat[order], np.full(padding, np.inf)]),
        np.concatenate([marks[order], np.full(padding, -1)]),
        total,
        len(arrays),
    )
