"""Neurodata Without Borders files (NWB), by pynwb."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .session import Session


def _pynwb() -> Any:
    try:
        import pynwb
    except ModuleNotFoundError as e:
        raise ModuleNotFoundError(
            "NWB files need pynwb: install it with `pip install 'roughsnn[nwb]'`."
        ) from e
    return pynwb


class _Tables(NamedTuple):
    """What a file holds of units and trials, as plain arrays."""

    times: list[np.ndarray] | None
    observed: list[np.ndarray] | None
    names: list[str]
    trials: dict[str, np.ndarray]

    @classmethod
    def of(cls, nwbfile: Any) -> "_Tables":
        units, trials = nwbfile.units, _trials(nwbfile.trials)
        if units is None or "spike_times" not in units.colnames:
            return cls(None, None, [], trials)
        numbers, observed = range(len(units.id)), None
        times = [np.asarray(units.get_unit_spike_times(n), float) for n in numbers]
        if "obs_intervals" in units.colnames:
            observed = [np.asarray(units.get_unit_obs_intervals(n), float) for n in numbers]
        if "unit_name" in units.colnames:
            return cls(times, observed, [str(name) for name in units["unit_name"][:]], trials)
        return cls(times, observed, [str(i) for i in units.id[:]], trials)

    def session(self, window: tuple[float, float] | None, allow_empty: bool) -> Session:
        if self.times is None:
            raise ValueError("The NWB file has no table of units with spike times.")
        if window is None:
            window = self._extent() if self.observed is None else self._observed(self.observed)
        return Session(
            self.times,
            t0=window[0],
            t1=window[1],
            names=self.names,
            trials=self.trials,
            allow_empty=allow_empty,
        )

    @staticmethod
    def _observed(found: list[np.ndarray]) -> tuple[float, float]:
        if any(len(x) != 1 for x in found) or any(not np.array_equal(x, found[0]) for x in found):
            raise ValueError(
                "The units were observed in intervals that differ or have gaps: give the `window` "
                "in which all of them were."
            )
        t0, t1 = found[0][0]
        return float(t0), float(t1)

    def _extent(self) -> tuple[float, float]:
        stops = self.trials.get("stop_time", np.zeros(0))
        finite = np.concatenate([[0.0], *(self.times or []), stops])
        finite = finite[np.isfinite(finite)]
        return float(finite.min()), float(finite.max())


def from_nwb(
    nwbfile: Any, *, window: tuple[float, float] | None = None, allow_empty: bool = False
) -> Session:
    """The units and trials of an open NWB file.

    **Arguments:**

    - `nwbfile`: a `pynwb.NWBFile` with a table of units that has spike times; the table of trials
        is read if there is one (its ragged columns are not).
    - `window`: from when to when spikes were recorded, in seconds. By default the `obs_intervals`
        of the units if they have them, and if not from 0 (the session's start), or the first spike
        if that is earlier, to the last spike or the end of the last trial.
    - `allow_empty`: accept units without spikes.

    **Returns:** a [`roughsnn.io.Session`][] in seconds.

    **Raises:** `ValueError` if there are no units, if their observation intervals differ or have
    gaps (give `window`), and as [`roughsnn.io.Session`][].
    """
    return _Tables.of(nwbfile).session(window, allow_empty)


def read_nwb(
    path: str | Path, *, window: tuple[float, float] | None = None, allow_empty: bool = False
) -> Session:
    """The units and trials of an NWB file on disk; arguments as for [`roughsnn.io.from_nwb`][].

    **Raises:** also `FileNotFoundError`, and `ValueError` for a file that is no NWB file, damaged
    or truncated.
    """
    pynwb, path = _pynwb(), Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}.")
    try:
        with pynwb.NWBHDF5IO(str(path), "r") as file:
            tables = _Tables.of(file.read())
    # What h5py, hdmf and pynwb raise for a damaged file is of many kinds.
    except Exception as e:
        raise ValueError(
            f"{path} is no NWB file, or it is damaged ({type(e).__name__}: {e})."
        ) from e
    return tables.session(window, allow_empty)


def to_nwb(session: Session, *, description: str = "spikes", start: datetime | None = None) -> Any:
    """A `pynwb.NWBFile` with the units and the trials of a session.

    **Arguments:**

    - `session`: a [`roughsnn.io.Session`][]; names that are whole numbers become the ids of the
        units, others a column `unit_name`.
    - `description`: of the session.
    - `start`: when the session began; by default now.
    """
    pynwb = _pynwb()
    session = session.in_units("s")
    start = datetime.now(UTC) if start is None else start
    file = pynwb.NWBFile(description, f"roughsnn-{start.timestamp():.6f}", start)
    numbered = all(name.isdecimal() for name in session.names)
    if not numbered:
        file.add_unit_column("unit_name", "the name of the unit")
    for n, (name, times) in enumerate(zip(session.names, session.times, strict=True)):
        more = {} if numbered else {"unit_name": name}
        file.add_unit(
            spike_times=times,
            obs_intervals=[[session.t0, session.t1]],
            id=int(name) if numbered else n,
            **more,
        )
    for name in set(session.trials) - {"start_time", "stop_time"}:
        file.add_trial_column(name, name)
    for n in range(session.num_trials):
        file.add_trial(**{name: column[n] for name, column in session.trials.items()})
    return file


def write_nwb(session: Session, path: str | Path, **options) -> None:
    """Writes a session to a new NWB file; options as for [`roughsnn.io.to_nwb`][]."""
    pynwb = _pynwb()
    with pynwb.NWBHDF5IO(str(path), "w") as file:
        file.write(to_nwb(session, **options))


def _trials(table: Any) -> dict[str, np.ndarray]:
    if table is None or len(table.id) == 0:
        return {}
    columns = {name: table[name] for name in table.colnames}
    # Ragged columns have an index, which has a target.
    flat = {name: np.asarray(c[:]) for name, c in columns.items() if not hasattr(c, "target")}
    return {name: a for name, a in flat.items() if a.ndim == 1 and len(a) == len(table.id)}
