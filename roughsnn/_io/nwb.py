"""Neurodata Without Borders files (NWB), read by pynwb."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .._check import as_path
from .borders import as_span
from .invalid import distinct
from .nwb_columns import as_measured, plain_column, pynwb_module
from .reading import Content
from .report import Finding, Invalid, check_invalid
from .session import Session
from .tables import as_column

_LEFT = "not kept"
_SPIKES = ("spike_times", "obs_intervals", "unit_name")


def from_nwb(
    nwbfile: Any,
    *,
    window: tuple[float, float] | None = None,
    invalid: Invalid = "repair",
    time_columns: Sequence[str] = (),
) -> Session:
    """The units, electrodes, trials, events and epochs of an open NWB file.

    Events are the tables of events and the annotation series of the file, epochs its other tables
    of intervals. What cannot be kept is named in `report`.

    **Arguments:**

    - `nwbfile`: a `pynwb.NWBFile` with a table of units that has spike times.
    - `window`: the part to read, in seconds, as by [`roughsnn.io.Session.restrict`][]; where it
        reaches further than the file shows, it says from when to when spikes were recorded. By
        default the `obs_intervals` of the units if they have them, and if not from 0 (the session's
        start), or the first spike if that is earlier, to the last spike or the end of the last
        trial.
    - `invalid`: what to do about spikes and trials that cannot be, and about units of one name, as
        for [`roughsnn.io.Session`][]. Where units were observed in different intervals, `"repair"`
        and `"drop"` read the part in which all of them were.
    - `time_columns`: names of columns of the trials that hold times, besides those whose names say
        so; as for [`roughsnn.io.Session`][].

    **Returns:** a [`roughsnn.io.Session`][] in seconds. If anything was repaired or left out, one
    [`roughsnn.io.DataWarning`][] says what.

    **Raises:** `TypeError` for another object; `ValueError` if there are no units, if their
    observation intervals have gaps (give `window`), and as [`roughsnn.io.Session`][].
    """
    check_invalid(invalid)
    if not isinstance(nwbfile, pynwb_module().NWBFile):
        raise TypeError(f"`nwbfile` must be a pynwb.NWBFile, got a {type(nwbfile).__name__}.")
    return _Reader(nwbfile).session(window, invalid, time_columns)


def read_nwb(
    path: str | Path,
    *,
    window: tuple[float, float] | None = None,
    invalid: Invalid = "repair",
    time_columns: Sequence[str] = (),
) -> Session:
    """The content of an NWB file on disk; arguments as for [`roughsnn.io.from_nwb`][].

    **Raises:** also `FileNotFoundError`, and `ValueError` for a file that is no NWB file, damaged
    or truncated.
    """
    check_invalid(invalid)
    pynwb, path = pynwb_module(), as_path("path", path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}.")
    try:
        with pynwb.NWBHDF5IO(str(path), "r") as file:
            reader = _Reader(file.read())
    # What h5py, hdmf and pynwb raise for a damaged file is of many kinds.
    except Exception as e:
        raise ValueError(
            f"{path} is no NWB file, or it is damaged ({type(e).__name__}: {e})."
        ) from e
    return reader.session(window, invalid, time_columns)


class _Reader:
    """What a file holds, as plain arrays: it may be closed then."""

    def __init__(self, nwbfile: Any):
        self.content = content = Content([], 0.0, 0.0)
        self.observed: list[np.ndarray] = []
        content.trials = self._table(nwbfile.trials, "trials")
        content.electrodes = self._table(nwbfile.electrodes, "electrodes", skip=("group",))
        if content.electrodes:
            content.electrodes = {"id": np.asarray(nwbfile.electrodes.id[:]), **content.electrodes}
        for table in (nwbfile.epochs, nwbfile.invalid_times, *nwbfile.intervals.values()):
            if table is not None and len(table.id) and table.name != "trials":
                content.epochs[table.name] = self._table(table, f"epochs {table.name!r}")
        self._read_events(nwbfile)
        units = nwbfile.units
        self.has_spikes = units is not None and "spike_times" in units.colnames
        if self.has_spikes:
            self._read_units(units)

    def _read_units(self, units: Any) -> None:
        content, numbers = self.content, range(len(units.id))
        content.times = [as_measured(units.get_unit_spike_times(n)) for n in numbers]
        if "obs_intervals" in units.colnames:
            each = [np.asarray(units.get_unit_obs_intervals(n), float) for n in numbers]
            self.observed = [intervals for intervals in each if len(intervals)]
        names = units["unit_name"] if "unit_name" in units.colnames else units.id
        content.names = [str(name) for name in names[:]]
        content.units = self._table(units, "units", skip=_SPIKES)

    def session(
        self, window: tuple[float, float] | None, invalid: Invalid, time_columns: Sequence[str]
    ) -> Session:
        """The session; the file is not needed for it."""
        content = self.content
        if not self.has_spikes:
            raise ValueError("The NWB file has no table of units with spike times.")
        if window is not None:
            window = as_span("window", window)
        self._check_observed(invalid)
        if not self.observed:
            content.t0, content.t1 = self._extent()
        elif window is None:
            content.t0, content.t1 = self._observed(invalid)
        else:
            every = np.concatenate(self.observed)
            content.t0, content.t1 = float(every.min()), float(every.max())
        if window is not None:
            content.t0, content.t1 = min(content.t0, window[0]), max(content.t1, window[1])
        if content.t0 == content.t1:
            raise ValueError(
                "The file has neither spikes nor trials nor observation intervals: give the "
                "`window` in which spikes were recorded."
            )
        return content.session(invalid, time_columns, window)

    def _check_observed(self, invalid: Invalid) -> None:
        """Leaves out observation intervals that are none."""
        good = [x[np.isfinite(x).all(axis=1) & (x[:, 0] < x[:, 1])] for x in self.observed]
        bad = sum(map(len, self.observed)) - sum(map(len, good))
        what = "observation intervals without a finite start and a later stop"
        if bad and invalid == "raise":
            raise ValueError(f"The units have {bad} {what}. `invalid` can leave them out.")
        if bad:
            self.content.findings.append(
                Finding(what, "column", ("obs_intervals",), bad, "left out")
            )
        self.observed = [x for x in good if len(x)]

    def _observed(self, invalid: Invalid) -> tuple[float, float]:
        if any(len(x) != 1 for x in self.observed):
            raise ValueError(
                "The units were observed in intervals that have gaps: give the `window` in which "
                "all of them were."
            )
        starts, stops = np.concatenate(self.observed).T
        t0, t1 = float(starts.max()), float(stops.min())
        if np.all(starts == t0) and np.all(stops == t1):
            return t0, t1
        if invalid == "raise" or not t0 < t1:
            raise ValueError(
                "The units were observed in intervals that differ: give the `window` in which all "
                "of them were."
            )
        what = f"observation intervals that differ, of which [{t0}, {t1}] is common"
        self.content.findings.append(
            Finding(what, "column", ("obs_intervals",), len(starts), "cut to that")
        )
        return t0, t1

    def _extent(self) -> tuple[float, float]:
        stops = np.asarray(self.content.trials.get("stop_time", np.zeros(0)))
        finite = np.concatenate([[0.0], *self.content.times, stops]).astype(float)
        finite = finite[np.isfinite(finite)]
        return float(finite.min()), float(finite.max())

    def _read_events(self, nwbfile: Any) -> None:
        pynwb, found = pynwb_module(), []
        for table in nwbfile.events.values():
            columns = self._table(table, f"events {table.name!r}")
            named = {"timestamp": "time", "annotation": "label"}
            if columns:
                found.append((table.name, {named.get(k, k): c for k, c in columns.items()}))
        for group in (nwbfile.acquisition, nwbfile.stimulus):
            for series in group.values():
                if not isinstance(series, pynwb.misc.AnnotationSeries):
                    continue
                times = np.asarray(series.timestamps[:], float)
                labels = as_column(np.asarray(series.data[:], object))
                if len(labels) == len(times):
                    found.append((series.name, {"time": times, "label": labels}))
                else:
                    what = f"{len(labels)} annotations at {len(times)} times"
                    self.content.findings.append(Finding(what, "series", (series.name,), 1, _LEFT))
        names = distinct(name for name, _ in found)
        self.content.events = dict(zip(names, (table for _, table in found), strict=True))

    def _table(self, table: Any, what: str, skip: Sequence[str] = ()) -> dict[str, np.ndarray]:
        if table is None or len(table.id) == 0:
            return {}
        columns = {}
        for name in table.colnames:
            if name not in skip:
                column = plain_column(table[name])
                if column is None or column.ndim == 0 or len(column) != len(table.id):
                    self.content.not_kept(what, name, "that hold no plain values")
                else:
                    columns[name] = column
        return columns
