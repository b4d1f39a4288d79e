"""Borders of windows on the clock of a recording: half-open, and a rounding or two apart is one."""

from typing import Any

import numpy as np

from .._check import as_tuple
from .._misc import static_float


def as_span(name: str, value: Any) -> tuple[float, float]:
    """A pair of times, the first one before the second."""
    wanted = "a pair (start, end), the start before the end"
    pair = as_tuple(name, value, wanted)
    if len(pair) == 2:
        start, end = (static_float(f"{name}[{n}]", pair[n]) for n in range(2))
        if start < end:
            return start, end
    raise ValueError(f"`{name}` must be {wanted}, got {pair}.")


def rounding(*times: np.ndarray | float) -> float:
    """By how much two computations of a time may differ on a clock that shows these.

    It is as large near 0 as elsewhere: what is left of two times there has the rounding of those.
    """
    return 4 * float(np.spacing(max(float(np.max(np.abs(t))) for t in times)))


def snapped(starts: np.ndarray, stops: np.ndarray, slack: float) -> np.ndarray:
    """The stops; one that is a rounding away from the start of another window is that start."""
    order = np.sort(starts)
    near = order[np.clip(np.searchsorted(order, stops - slack), 0, len(order) - 1)]
    return np.where(np.abs(near - stops) <= slack, near, stops)


def overlap(starts: np.ndarray, stops: np.ndarray, slack: float) -> bool:
    """Whether windows, in order of their starts, share more than a border."""
    order = np.argsort(starts, kind="stable")
    starts, stops = starts[order], stops[order]
    return bool(np.any(starts[1:] < stops[:-1] - slack))


def between(
    times: np.ndarray, start: float, stop: float, slack: float, *, last: bool
) -> np.ndarray:
    """Which times are in [start, stop), or at stop if the recording ends there (`last`)."""
    inside = times >= start - slack
    return inside & (times <= stop + slack if last else times < stop - slack)


def before(stops: np.ndarray, slack: float) -> np.ndarray:
    """The latest times that are `between` the start and the stop of windows that are not last."""
    return np.nextafter(stops - slack, -np.inf)
