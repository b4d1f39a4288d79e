"""Neo objects, read."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from .invalid import distinct
from .neo_blocks import joined
from .reading import Content
from .report import Finding, Invalid, check_invalid
from .session import Session
from .tables import as_column, holds_times, ragged

_TRIALS = "trials"


def neo_module() -> Any:
    """`neo`, if it is installed."""
    try:
        import neo
    except ModuleNotFoundError as e:
        raise ModuleNotFoundError(
            "Neo objects need neo: install it with `pip install 'roughsnn[neo]'`."
        ) from e
    return neo


def from_neo(
    source: Any, *, invalid: Invalid = "repair", time_columns: Sequence[str] = ()
) -> Session:
    """The spike trains of a Neo object, with its trials, events and epochs.

    Annotations of the trains become columns of `units`, their array annotations too (ragged, with a
    value for each spike). Labels of events and epochs become columns `label`.

    **Arguments:**

    - `source`: a `neo.Segment`, a `neo.SpikeTrain`, a list of those, or a `neo.Block`. The trials
        are the epochs called "trials" of a segment; in a block of several segments each segment
        is a trial, and all must have the same units, in the same order, one after the other in
        time; a spike that two segments hold on their common border is one. (Segments that all
        start at 0: `from_neo` each of them, and
        `SpikeTrain.stack([s.train() for s in sessions])`.)
    - `invalid`: what to do about spikes and trials that cannot be, as for
        [`roughsnn.io.Session`][].
    - `time_columns`: names of columns of the trials that hold times in seconds, besides those whose
        names say so; as for [`roughsnn.io.Session`][].

    **Returns:** a [`roughsnn.io.Session`][] in seconds; units have the names of the trains if all
    have one. If anything was repaired or left out, one [`roughsnn.io.DataWarning`][] says what.

    **Raises:** `TypeError` for another object; `ValueError` for no trains, trains of different
    windows, segments that overlap, and as [`roughsnn.io.Session`][].
    """
    check_invalid(invalid)
    neo = neo_module()
    if isinstance(source, neo.Block) and len(source.segments) != 1:
        return joined([_content(s) for s in source.segments]).session(invalid, time_columns)
    return _content(source).session(invalid, time_columns)


def _content(source: Any) -> Content:
    neo = neo_module()
    if isinstance(source, neo.Block):
        source = source.segments[0]
    trains = _trains(source)
    windows = {(_seconds(s.t_start), _seconds(s.t_stop)) for s in trains}
    if len(windows) > 1:
        raise ValueError(
            f"The trains have different windows, {sorted(windows)}: cut them with `time_slice`."
        )
    ((t0, t1),) = windows
    times = [np.asarray(s.rescale("s").magnitude) for s in trains]
    names = [s.name for s in trains]
    content = Content(times, t0, t1, names if all(names) else None)
    _read_annotations(content, trains)
    if isinstance(source, neo.Segment):
        _read_marks(content, source)
    return content


def _trains(source: Any) -> list[Any]:
    neo = neo_module()
    if isinstance(source, neo.Segment):
        source = list(source.spiketrains)
    elif isinstance(source, neo.SpikeTrain):
        source = [source]
    if not isinstance(source, Sequence) or not all(isinstance(s, neo.SpikeTrain) for s in source):
        raise TypeError(
            "`source` must be a neo.Block, neo.Segment, neo.SpikeTrain or a list of those, got a "
            f"{type(source).__name__}."
        )
    if not source:
        raise ValueError("There are no spike trains.")
    return list(source)


def _read_marks(content: Content, segment: Any) -> None:
    """The trials, events and epochs of a segment."""
    trials = next((epoch for epoch in segment.epochs if epoch.name == _TRIALS), None)
    for kind in ("events", "epochs"):
        others = [one for one in getattr(segment, kind) if one is not trials]
        keys = distinct(one.name or kind for one in others)
        tables = getattr(content, kind)
        for key, one in zip(keys, others, strict=True):
            tables[key] = _table(content, one, f"{kind} {key!r}")
    if trials is not None:
        content.trials = _table(content, trials, _TRIALS)
        labels = content.trials.get("label")
        # What `to_neo` writes where there are none.
        if labels is not None and labels.tolist() == [str(n) for n in range(len(labels))]:
            del content.trials["label"]


def _read_annotations(content: Content, trains: Sequence[Any]) -> None:
    """What is known of trains becomes columns of the units."""
    for name in dict.fromkeys(key for train in trains for key in train.annotations):
        values = [train.annotations.get(name) for train in trains]
        _keep(content, content.units, "units", name, values)
    for name in dict.fromkeys(key for train in trains for key in train.array_annotations):
        rows = [train.array_annotations.get(name) for train in trains]
        if any(row is None for row in rows):
            content.not_kept("units", name, "that not all trains have")
        else:
            content.units[name] = ragged(map(np.asarray, rows))


def _table(content: Content, marks: Any, what: str) -> dict[str, Any]:
    """The times of events or epochs, their labels and annotations."""
    times = np.asarray(marks.times.rescale("s").magnitude, float)
    if hasattr(marks, "durations"):
        durations = np.asarray(marks.durations.rescale("s").magnitude, float)
        table: dict[str, Any] = {"start_time": times, "stop_time": times + durations}
    else:
        table = {"time": times}
    for name, values in marks.array_annotations.items():
        if name not in ("labels", "durations"):
            _keep(content, table, what, name, values)
    if len(marks.labels):
        table["label"] = np.asarray(marks.labels).astype(str)
    return table


def _keep(content: Content, table: dict[str, Any], what: str, name: str, values: Any) -> None:
    """Keeps a column; of quantities, times in seconds and others as numbers, which is noted."""
    column: Any = values if _has_unit(values) else list(values)
    if not _has_unit(column) and any(_has_unit(value) for value in values):
        if not all(_has_unit(value) for value in values):
            content.not_kept(what, name, "with a unit for some values only")
            return
        first = values[0].units
        column = [value.rescale(first).magnitude for value in values] * first
    if _has_unit(column):
        try:
            column, unit = column.rescale("s").magnitude, "s"
        except ValueError:
            column, unit = column.magnitude, str(column.dimensionality)
        if unit == "s" and what == _TRIALS:
            content.time_columns.append(name)
        elif unit != "dimensionless" and not (unit == "s" and holds_times(name, column)):
            done = f"kept as numbers in {unit}"
            content.findings.append(Finding.column(what, name, "with a unit", done))
    table[name] = as_column(column)


def _has_unit(value: Any) -> bool:
    return hasattr(value, "dimensionality")


def _seconds(quantity: Any) -> float:
    return float(quantity.rescale("s").magnitude)
