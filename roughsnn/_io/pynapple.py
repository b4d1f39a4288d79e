"""Pynapple objects."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from .borders import overlap, rounding
from .reading import Content
from .report import Finding, Invalid, Report, check_invalid
from .session import Session, as_session
from .tables import Table, as_column, is_ragged, ragged, without

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


def from_pynapple(
    group: Any,
    trials: Any = None,
    *,
    invalid: Invalid = "repair",
    time_columns: Sequence[str] = (),
) -> Session:
    """The spikes of a `pynapple.TsGroup`, and the trials of a `pynapple.IntervalSet`.

    **Arguments:**

    - `group`: its time support must be one interval; the metadata `name`, or else the keys, become
        the names of the units, and other metadata columns of `units`.
    - `trials`: its metadata become columns. Trials that are a microsecond apart touch: pynapple
        separates what touches by that.
    - `invalid`: what to do about spikes and trials that cannot be, as for
        [`roughsnn.io.Session`][].
    - `time_columns`: names of metadata of the trials that hold times, besides those whose names say
        so; as for [`roughsnn.io.Session`][].

    **Returns:** a [`roughsnn.io.Session`][] in seconds. If anything was repaired or left out, one
    [`roughsnn.io.DataWarning`][] says what.

    **Raises:** `TypeError` for other objects; `ValueError` for a time support with gaps
    (`group.restrict`), and as [`roughsnn.io.Session`][].
    """
    check_invalid(invalid)
    nap = _pynapple()
    if not isinstance(group, nap.TsGroup):
        raise TypeError(f"`group` must be a pynapple.TsGroup, got a {type(group).__name__}.")
    support = group.time_support
    if len(support) != 1:
        raise ValueError(
            f"The time support of the group has {len(support)} intervals; a session has one. "
            "Restrict the group to one, or `from_pynapple` for each."
        )
    units = _metadata(group)
    units.pop("rate", None)
    names = units.pop("name", list(group.keys()))
    times = [np.asarray(group[key].t, float) for key in group.keys()]
    t0, t1 = float(support.start[0]), float(support.end[0])
    content = Content(times, t0, t1, [str(name) for name in names], units)
    if trials is not None:
        if not isinstance(trials, nap.IntervalSet):
            raise TypeError(
                f"`trials` must be a pynapple.IntervalSet, got a {type(trials).__name__}."
            )
        start, stop = np.array(trials.start, float), np.array(trials.end, float)
        touch = start[1:] - stop[:-1] <= 1.5 * _MICROSECOND
        stop[:-1] = np.where(touch, start[1:], stop[:-1])
        content.trials = {"start_time": start, "stop_time": stop, **_metadata(trials)}
    return content.session(invalid, time_columns)


def to_pynapple(session: Session) -> tuple[Any, Any]:
    """A `pynapple.TsGroup`, and a `pynapple.IntervalSet` of the trials (`None` without trials).

    Columns of units and trials become metadata. Names that are whole numbers become the keys of the
    group; others its metadata `name`. Of trials that touch, as pynapple does, the earlier one ends
    a microsecond before the other.

    Electrodes, events and epochs are in neither of the two, and pynapple has a `rate` of its own:
    one [`roughsnn.io.DataWarning`][] names what is left out.

    **Raises:** `ValueError` for trials that overlap, which cannot be in an IntervalSet.
    """
    nap = _pynapple()
    session = as_session(session).in_units("s")
    support = nap.IntervalSet(session.t0, session.t1)
    # The only text that comes back from a number is how Python writes it: "1", but not "01".
    numbered = all(name.isdecimal() and str(int(name)) == name for name in session.names)
    keys = [int(name) for name in session.names] if numbered else range(len(session.names))
    units = without(session.units, "rate", "name", "electrodes")
    trials = without(session.trials, "start_time", "stop_time")
    losses = [
        Finding.column("units", name, "that pynapple has itself")
        for name in ("rate", "name")
        if name in session.units
    ]
    for name in ("electrodes", "events", "epochs"):
        if getattr(session, name) or name in session.units:
            losses.append(Finding(name, "table", (name,), 1, "not kept"))
    Report(tuple(losses)).warn("A TsGroup and an IntervalSet cannot hold all of the session")
    if not numbered:
        units["name"] = np.array(session.names)
    group = nap.TsGroup(
        {
            key: nap.Ts(times, time_support=support)
            for key, times in zip(keys, session.times, strict=True)
        },
        time_support=support,
        metadata=_columns(units),
    )
    if not session.num_trials:
        return group, None
    start, stop = (session.trials[name] for name in ("start_time", "stop_time"))
    if np.any(np.diff(start) <= 0) or overlap(start, stop, rounding(start, stop)):
        raise ValueError("The trials overlap, or are not in order: pynapple would merge them.")
    stop = np.append(np.minimum(stop[:-1], start[1:] - _MICROSECOND), stop[-1:])
    return group, nap.IntervalSet(start, stop, metadata=_columns(trials))


def _columns(table: Table) -> dict[str, Any] | None:
    return {name: ragged(c) if c.ndim > 1 else c for name, c in table.items()} or None


def _metadata(thing: Any) -> dict[str, Any]:
    return {
        name: _stacked(as_column(np.asarray(thing.get_info(name))))
        for name in thing.metadata_columns
    }


def _stacked(column: np.ndarray) -> np.ndarray:
    """Rows of one shape as one array."""
    if is_ragged(column) and len({np.shape(row) for row in column}) == 1:
        return np.stack(list(column))
    return column
