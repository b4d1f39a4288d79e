"""NWB files of sessions, by pynwb."""

import os
import secrets
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from .._check import as_path, check_flag, check_kind
from .nwb_columns import pynwb_module
from .session import Session, as_session
from .tables import Table, is_ragged, num_rows, without

_INTERVALS = ("start_time", "stop_time")


def to_nwb(session: Session, *, description: str = "spikes", start: datetime | None = None) -> Any:
    """A `pynwb.NWBFile` with the units, electrodes, trials, events and epochs of a session.

    **Arguments:**

    - `session`: a [`roughsnn.io.Session`][]; names that are whole numbers become the ids of the
        units, others a column `unit_name`. Groups of electrodes that a column `group_name` or
        `electrode_group` names are made.
    - `description`: of the session.
    - `start`: when the session began; by default now.

    **Raises:** `ValueError` for a column that NWB cannot hold, such as one of mixed types.
    """
    pynwb = pynwb_module()
    session = as_session(session).in_units("s")
    check_kind("description", description, str, "a text")
    start = datetime.now(UTC) if start is None else start
    check_kind("start", start, datetime, "a datetime.datetime")
    file = pynwb.NWBFile(description, f"roughsnn-{start.timestamp():.6f}", start)
    groups = _Groups(file)
    if session.electrodes:
        _add_electrodes(file, session.electrodes, groups)
    _add_units(file, session, groups)
    if session.num_trials:
        file.trials = _intervals("trials", session.trials)
    for name, table in session.epochs.items():
        if num_rows(table):
            made = _intervals(name, table)
            if name in ("epochs", "invalid_times"):
                setattr(file, name, made)
            else:
                file.add_time_intervals(made)
    for name, table in session.events.items():
        if num_rows(table):
            file.add_events_table(_events(name, table))
    return file


def write_nwb(
    session: Session, path: str | Path, *, overwrite: bool = False, **options: Any
) -> None:
    """Writes a session to a new NWB file.

    The file appears when it is complete: a failure leaves nothing, or what was there before.

    **Arguments:**

    - `session`: a [`roughsnn.io.Session`][].
    - `path`: of the file.
    - `overwrite`: replace a file that is there already.
    - `options`: as for [`roughsnn.io.to_nwb`][].

    **Raises:** `TypeError` for a path that is none, `FileExistsError`, `FileNotFoundError` if there
    is no such folder, and as [`roughsnn.io.to_nwb`][].
    """
    pynwb = pynwb_module()
    as_session(session)
    overwrite, path = check_flag("overwrite", overwrite), as_path("path", path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"There is no folder {path.parent}.")
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder: give the path of a file.")

    def refuse_existing() -> None:
        if path.exists() and not overwrite:
            raise FileExistsError(f"There is a file {path} already; overwrite=True replaces it.")

    refuse_existing()
    made = to_nwb(session, **options)
    temporary = path.with_name(f".{secrets.token_hex(8)}.nwb")
    try:
        with pynwb.NWBHDF5IO(str(temporary), "w") as file:
            file.write(made)
        refuse_existing()
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


class _Groups:
    """The groups of electrodes of a file, made where they are named."""

    def __init__(self, file: Any):
        self._file, self._device = file, None

    def __call__(self, name: str) -> Any:
        if name not in self._file.electrode_groups:
            if self._device is None:
                self._device = self._file.create_device("probes")
            self._file.create_electrode_group(name, name, "unknown", self._device)
        return self._file.electrode_groups[name]


def _add_electrodes(file: Any, electrodes: Table, groups: Callable[[str], Any]) -> None:
    number = num_rows(electrodes)
    names = electrodes.get("group_name", ["electrodes"] * number)
    first = {
        "id": electrodes.get("id", np.arange(number)),
        "location": [str(x) for x in electrodes.get("location", ["unknown"] * number)],
        "group": [groups(str(name)) for name in names],
    }
    columns = without(electrodes, "group_name", *first)
    _declare(
        "electrodes", columns, file.add_electrode_column, pynwb_module().ecephys.ElectrodesTable
    )
    _fill("electrodes", file.add_electrode, first, columns)


def _add_units(file: Any, session: Session, groups: Callable[[str], Any]) -> None:
    # The only text that comes back from a number is how Python writes it: "1", but not "01".
    numbered = all(name.isdecimal() and str(int(name)) == name for name in session.names)
    number, columns = len(session.names), dict(session.units)
    first = {
        "id": [int(name) for name in session.names] if numbered else range(number),
        "spike_times": session.times,
        "obs_intervals": [[[session.t0, session.t1]]] * number,
    }
    taken = {"unit_name", *first} & set(columns)
    if taken:
        raise ValueError(
            f"Units in NWB have a column {sorted(taken)[0]!r} of their own: rename it."
        )
    if not numbered:
        columns["unit_name"] = np.array(session.names)
    if "electrodes" in columns:
        first["electrodes"] = _references(columns.pop("electrodes"), num_rows(session.electrodes))
    if "electrode_group" in columns:
        named = columns.pop("electrode_group")
        first["electrode_group"] = [groups(str(name)) for name in named]
    _declare("units", columns, file.add_unit_column, pynwb_module().misc.Units)
    _fill("units", file.add_unit, first, columns)


def _references(references: np.ndarray, number: int) -> list[list[int]]:
    rows = [np.atleast_1d(row).tolist() for row in references]
    wrong = [n for row in rows for n in row if n not in range(number)]
    if wrong:
        raise ValueError(
            f"Column 'electrodes' of the units must hold numbers of the {number} rows of the "
            f"session's table `electrodes`, got {wrong[0]!r}."
        )
    return rows


def _intervals(name: str, table: Table) -> Any:
    kind = pynwb_module().epoch.TimeIntervals
    made, columns = kind(name=name, description=name), without(table, *_INTERVALS)
    _declare(name, columns, made.add_column, kind)
    _fill(name, made.add_interval, {key: table[key].tolist() for key in _INTERVALS}, columns)
    return made


def _events(name: str, table: Table) -> Any:
    kind = pynwb_module().event.EventsTable
    made, columns = kind(name=name, description=name), without(table, "time", "label")
    first = {"timestamp": table["time"].tolist()}
    if "label" in table:
        first["annotation"] = [str(label) for label in table["label"]]
    _declare(name, columns, made.add_column, kind)
    _fill(name, made.add_event, first, columns)
    return made


def _declare(table: str, columns: Table, add: Callable[..., Any], kind: type) -> None:
    """New columns of an empty table; a clear error for one that NWB cannot hold."""
    known = {column["name"] for column in kind.__columns__}  # pyright: ignore
    for name, column in columns.items():
        try:
            for part in column if is_ragged(column) else [column]:
                if part.dtype.kind not in "biufUS":
                    raise ValueError(f"its values are {part.dtype}, not all numbers or all text.")
            if name not in known:
                add(name=name, description=name, index=is_ragged(column))
        except (TypeError, ValueError) as e:
            raise ValueError(f"NWB cannot hold column {name!r} of {table!r}: {e}") from e


def _fill(
    table: str, add: Callable[..., Any], first: Mapping[str, Sequence[Any]], columns: Table
) -> None:
    for n in range(len(next(iter(first.values())))):
        row = {name: values[n] for name, values in first.items()}
        row |= {name: _value(name, column[n]) for name, column in columns.items()}
        try:
            add(**row)
        except (TypeError, ValueError) as e:
            raise ValueError(f"NWB cannot hold row {n} of {table!r}: {e}") from e


def _value(name: str, value: Any) -> Any:
    if np.ndim(value) == 0:
        value = value.item()
    elif value.dtype.kind in "US":
        value = value.tolist()
    # Tags are a list of text for each interval.
    return [value] if name == "tags" and isinstance(value, str) else value
