"""Pynapple objects."""

from typing import Any

import numpy as np

from .borders import overlap, rounding
from .session import Session

# Pynapple's resolution of the borders of intervals, in seconds.
_MICROSECOND = 1e-6


def _pynapple() -> Any:
    try:
        import pynapple
    except ModuleNotFoundError as e:
        raise ModuleNotFoundError(
            "Pynapple objects need pynapple: install it with `pip install pynapple`."
        ) from e
    return pynapple


def from_pynapple(group: Any, trials: Any = None, *, allow_empty: bool = False) -> Session:
    """The spikes of a `pynapple.TsGroup`, and the trials of a `pynapple.IntervalSet`.

    **Arguments:**

    - `group`: its time support must be one interval; the metadata `name`, or else the keys, become
        the names of the units.
    - `trials`: its numeric and string metadata become columns. Trials that are a microsecond apart
        touch: pynapple separates what touches by that.
    - `allow_empty`: accept units without spikes.

    **Returns:** a [`roughsnn.io.Session`][] in seconds.

    **Raises:** `TypeError` for other objects; `ValueError` for a time support with gaps
    (`group.restrict`), and as [`roughsnn.io.Session`][].
    """
    nap = _pynapple()
    if not isinstance(group, nap.TsGroup):
        raise TypeError(f"`group` must be a pynapple.TsGroup, got a {type(group).__name__}.")
    support = group.time_support
    if len(support) != 1:
        raise ValueError(
            f"The time support of the group has {len(support)} intervals; a session has one. "
            "Restrict the group to one, or `from_pynapple` for each."
        )
    table = {}
    if trials is not None:
        if not isinstance(trials, nap.IntervalSet):
            raise TypeError(
                f"`trials` must be a pynapple.IntervalSet, got a {type(trials).__name__}."
            )
        start, stop = np.array(trials.start, float), np.array(trials.end, float)
        touch = start[1:] - stop[:-1] <= 1.5 * _MICROSECOND
        stop[:-1] = np.where(touch, start[1:], stop[:-1])
        table = {"start_time": start, "stop_time": stop}
        table |= {name: np.asarray(trials[name]) for name in trials.metadata_columns}
    names = group["name"] if "name" in group.metadata_columns else list(group.keys())
    return Session(
        [np.asarray(group[key].t, float) for key in group.keys()],
        t0=float(support.start[0]),
        t1=float(support.end[0]),
        names=[str(name) for name in names],
        trials=table,
        allow_empty=allow_empty,
    )


def to_pynapple(session: Session) -> tuple[Any, Any]:
    """A `pynapple.TsGroup`, and a `pynapple.IntervalSet` of the trials (`None` without trials).

    Names that are whole numbers become the keys of the group; others its metadata `name`. Trials
    that overlap cannot be in an IntervalSet: `ValueError`. Of trials that touch, as pynapple does,
    the earlier one ends a microsecond before the other.
    """
    nap = _pynapple()
    session = session.in_units("s")
    support = nap.IntervalSet(session.t0, session.t1)
    numbered = all(name.isdecimal() for name in session.names)
    keys = [int(name) for name in session.names] if numbered else range(len(session.names))
    group = nap.TsGroup(
        {
            key: nap.Ts(times, time_support=support)
            for key, times in zip(keys, session.times, strict=True)
        },
        time_support=support,
        metadata=None if numbered else {"name": np.array(session.names)},
    )
    if not session.num_trials:
        return group, None
    start, stop = (session.trials[name] for name in ("start_time", "stop_time"))
    if np.any(np.diff(start) <= 0) or overlap(start, stop, rounding(start, stop)):
        raise ValueError("The trials overlap, or are not in order: pynapple would merge them.")
    stop = np.append(np.minimum(stop[:-1], start[1:] - _MICROSECOND), stop[-1:])
    own = {k: v for k, v in session.trials.items() if k not in ("start_time", "stop_time")}
    return group, nap.IntervalSet(start, stop, metadata=own or None)
