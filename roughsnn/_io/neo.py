"""Neo objects."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from .borders import overlap, rounding, snapped
from .session import Session

_TRIALS = "trials"


def _neo() -> Any:
    try:
        import neo
    except ModuleNotFoundError as e:
        raise ModuleNotFoundError(
            "Neo objects need neo: install it with `pip install 'roughsnn[neo]'`."
        ) from e
    return neo


def from_neo(source: Any, *, allow_empty: bool = False) -> Session:
    """The spike trains of a Neo object, and its trials.

    **Arguments:**

    - `source`: a `neo.Segment`, a `neo.SpikeTrain`, a list of those, or a `neo.Block`. The trials
        are the epochs called "trials" of a segment; in a block of several segments each segment
        is a trial, and all must have the same units, in the same order, one after the other in
        time; a spike that two segments hold on their common border is one. (Segments that all
        start at 0: `from_neo` each of them, and
        `SpikeTrain.stack([s.train() for s in sessions])`.)
    - `allow_empty`: accept units without spikes.

    **Returns:** a [`roughsnn.io.Session`][] in seconds; units have the names of the trains if those
    are there and all different.

    **Raises:** `TypeError` for another object; `ValueError` for no trains, trains of different
    windows, segments that overlap, and as [`roughsnn.io.Session`][].
    """
    neo = _neo()
    if isinstance(source, neo.Block):
        if len(source.segments) != 1:
            return _joined(list(source.segments), allow_empty)
        source = source.segments[0]
    trials = {}
    if isinstance(source, neo.Segment):
        epochs = [e for e in source.epochs if e.name == _TRIALS]
        trials = _from_epoch(epochs[0]) if epochs else {}
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
    windows = {(_seconds(s.t_start), _seconds(s.t_stop)) for s in source}
    if len(windows) > 1:
        raise ValueError(
            f"The trains have different windows, {sorted(windows)}: cut them with `time_slice`."
        )
    ((t0, t1),) = windows
    return Session(
        [np.asarray(s.rescale("s").magnitude, float) for s in source],
        t0=t0,
        t1=t1,
        names=_names(source),
        trials=trials,
        allow_empty=allow_empty,
    )


def to_neo(session: Session) -> Any:
    """A `neo.Segment` with the spike trains of a session, and an epoch "trials" if it has any.

    The epoch has times and durations; other columns of the trials become its array annotations.
    """
    neo = _neo()
    session = session.in_units("s")
    segment = neo.Segment()
    for name, times in zip(session.names, session.times, strict=True):
        segment.spiketrains.append(
            neo.SpikeTrain(times, units="s", t_start=session.t0, t_stop=session.t1, name=name)
        )
    if session.num_trials:
        start, stop = (session.trials[name] for name in ("start_time", "stop_time"))
        own = {k: v for k, v in session.trials.items() if k not in ("start_time", "stop_time")}
        labels = np.arange(session.num_trials).astype(str)
        segment.epochs.append(
            neo.Epoch(
                times=start,
                durations=stop - start,
                labels=labels,
                units="s",
                name=_TRIALS,
                array_annotations=own,
            )
        )
    return segment


def _seconds(quantity: Any) -> float:
    return float(quantity.rescale("s").magnitude)


def _names(trains: Sequence[Any]) -> list[str] | None:
    names = [s.name for s in trains]
    return names if all(names) and len(set(names)) == len(names) else None


def _from_epoch(epoch: Any) -> dict[str, np.ndarray]:
    start = np.asarray(epoch.times.rescale("s").magnitude, float)
    durations = np.asarray(epoch.durations.rescale("s").magnitude, float)
    more = {name: np.asarray(column) for name, column in epoch.array_annotations.items()}
    more.pop("labels", None)
    return {"start_time": start, "stop_time": start + durations, **more}


def _one_after_another(parts: Sequence[np.ndarray], slack: float) -> np.ndarray:
    """The spikes of a unit; one on the border of two segments, which both may hold, once."""
    times = np.concatenate(parts)
    again = np.diff(times) <= slack
    # Only where one segment ends: a doubled spike inside of one is a fault.
    ends = np.isin(np.arange(len(again)), np.cumsum([len(p) for p in parts])[:-1] - 1)
    return times[np.append(~(again & ends), np.ones(min(len(times), 1), bool))]


def _joined(segments: Sequence[Any], allow_empty: bool) -> Session:
    """Segments one after the other as the trials of one session."""
    parts = [from_neo(s, allow_empty=True) for s in segments]
    if not parts:
        raise ValueError("The block has no segments.")
    if len({part.names for part in parts}) > 1:
        raise ValueError("The segments of the block must have the same units, in one order.")
    starts, stops = np.array([p.t0 for p in parts]), np.array([p.t1 for p in parts])
    slack = rounding(starts, stops)
    if np.any(np.diff(starts) <= 0) or overlap(starts, stops, slack):
        raise ValueError(
            "The segments of the block overlap in time. If each starts at 0: "
            "SpikeTrain.stack([from_neo(s).train() for s in block.segments])."
        )
    stops = snapped(starts, stops, slack)
    units = zip(*(p.times for p in parts), strict=True)
    times = [_one_after_another(each, slack) for each in units]
    return Session(
        times,
        t0=starts[0],
        t1=stops[-1],
        names=parts[0].names,
        trials={"start_time": starts, "stop_time": stops},
        allow_empty=allow_empty,
    )
