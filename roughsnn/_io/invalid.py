"""Spikes, names, trials, events that cannot be: repaired, left out or refused."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from .borders import rounding
from .report import Finding, Invalid
from .tables import Table, as_reals, as_table, take

_FINITE = "spikes that are not finite"
_OUTSIDE = "spikes outside of the recording"
_ORDER = "spikes that are not in order"
_TWICE = "spikes that are there twice"
_DONE = {_FINITE: "left out", _OUTSIDE: "left out", _ORDER: "sorted", _TWICE: "left out, one kept"}
# What tells units of the same number apart.
_GROUPS = ("electrode_group", "group_name", "probe")


class Mended(NamedTuple):
    """Spike times that can be, which of the given ones they are, and what was wrong."""

    times: np.ndarray
    kept: np.ndarray
    faults: dict[str, int]


def mended(times: Any, name: str, t0: float, t1: float, invalid: Invalid) -> Mended:
    """The spike times of a unit; with `invalid="raise"` the first fault is an error."""
    given = as_reals(f"Unit {name}: the spike `times`", times)
    array = given.astype(float)
    if array.ndim != 1:
        raise ValueError(f"Unit {name}: the spike times must be a list, got shape {array.shape}.")
    index, faults = np.arange(len(array)), {}

    def fault(what: str, count: int, message: str) -> None:
        if invalid == "raise":
            raise ValueError(f"Unit {name}: {message} `invalid` can repair that.")
        faults[what] = count

    finite = np.isfinite(array)
    if not np.all(finite):
        bad = array[~finite]
        fault(_FINITE, len(bad), f"a spike time is {bad[0]}.")
        array, index = array[finite], index[finite]
    slack = rounding(t0, t1)
    if given.dtype == np.float32:
        slack = max(slack, float(np.spacing(np.float32(max(abs(t0), abs(t1))))))
    inside = (array >= t0 - slack) & (array <= t1 + slack)
    if not np.all(inside):
        bad = array[~inside]
        where = f"the spike at {bad[0]} lies outside of the recording, [{t0}, {t1}]."
        fault(_OUTSIDE, len(bad), where)
        array, index = array[inside], index[inside]
    array = np.clip(array, t0, t1)
    late = np.flatnonzero(np.diff(array) < 0)
    if len(late):
        n = late[0]
        where = f"the spike times are not in order, {array[n + 1]} comes after {array[n]}."
        fault(_ORDER, len(late), where)
        order = np.argsort(array, kind="stable")
        array, index = array[order], index[order]
    again = np.append(False, np.diff(array) == 0)[: len(array)]
    if np.any(again):
        where = f"the spike at {array[again][0]} is there twice."
        fault(_TWICE, int(np.sum(again)), where)
        array, index = array[~again], index[~again]
    array.setflags(write=False)
    return Mended(array, index, faults)


def spike_findings(
    units: Sequence[Mended], names: Sequence[str], invalid: Invalid
) -> tuple[np.ndarray, list[Finding]]:
    """Which units stay, and what was found in all of them."""
    keep = np.array([invalid == "repair" or not unit.faults for unit in units])
    findings = []
    for what, done in _DONE.items():
        bad = {
            name: unit.faults[what]
            for name, unit in zip(names, units, strict=True)
            if what in unit.faults
        }
        if bad:
            done = done if invalid == "repair" else "found, whole units left out"
            findings.append(Finding(what, "unit", tuple(bad), sum(bad.values()), done))
    return keep, findings


def distinct(names: Iterable[str]) -> list[str]:
    """The names; those that were there before get a number: "3", "3.1", "3.2"."""
    names = list(names)
    used, seen = set(names), set()
    out = []
    for name in names:
        new, number = name, 0
        while new in seen or (number and new in used):
            number += 1
            new = f"{name}.{number}"
        seen.add(new)
        out.append(new)
    return out


def distinct_units(
    names: Sequence[str], units: Table, invalid: Invalid
) -> tuple[list[str], np.ndarray, list[Finding]]:
    """Names of units that are all different, which units stay, and what was found."""
    where: dict[str, int] = {}
    first = np.array([where.setdefault(name, n) == n for n, name in enumerate(names)])
    if np.all(first):
        return list(names), first, []
    again = {name for name, new in zip(names, first, strict=True) if not new}
    if invalid == "raise":
        raise ValueError(
            f"`names` must be {len(names)} different ones, one for each unit, got {list(names)}. "
            "`invalid` can repair that."
        )
    what = "names of several units"
    if invalid == "drop":
        done = "later units left out"
        found = Finding(what, "unit", tuple(sorted(again)), int(np.sum(~first)), done)
        return list(names), first, [found]
    groups = next((units[name] for name in _GROUPS if name in units), None)
    new = list(names)
    if groups is not None:
        told = [f"{g} {n}" if n in again else n for g, n in zip(groups, names, strict=True)]
        new = told if len(set(told)) == len(told) else new
    new = distinct(new)
    changed = tuple(b for a, b in zip(names, new, strict=True) if a != b)
    found = Finding(what, "unit", changed, len(changed), "renamed")
    return new, np.ones(len(new), bool), [found]


def check_intervals(
    table: Mapping[str, Any], name: str, invalid: Invalid, *, length: bool
) -> tuple[dict[str, np.ndarray], list[Finding]]:
    """A table of intervals, "trials" or epochs; `length` says that none may be of length 0."""
    columns = as_table(table, name)
    if not columns:
        return columns, []
    missing = {"start_time", "stop_time"} - set(columns)
    if missing:
        raise ValueError(f"The {name} have no column {sorted(missing)[0]!r}.")
    for key in ("start_time", "stop_time"):
        columns[key] = _numbers(columns[key], key, name)
    start, stop = columns["start_time"], columns["stop_time"]
    good = np.isfinite(start) & np.isfinite(stop) & (stop > start if length else stop >= start)
    if not np.all(good) and invalid == "raise":
        n = np.flatnonzero(~good)[0]
        what = "Trial" if name == "trials" else f"Of the {name}, row"
        raise ValueError(
            f"{what} {n} goes from {start[n]} to {stop[n]}: it must have a length. `invalid` can "
            "leave it out."
        )
    what = f"{name} without a finite start and a later stop"
    return take(columns, good), _left_out(what, "trial" if name == "trials" else "row", good)


def check_events(
    table: Mapping[str, Any], name: str, invalid: Invalid
) -> tuple[dict[str, np.ndarray], list[Finding]]:
    """A table of events."""
    columns = as_table(table, name)
    if "time" not in columns:
        raise ValueError(f"The {name} have no column 'time'; there are {sorted(columns)}.")
    columns["time"] = _numbers(columns["time"], "time", name)
    good = np.isfinite(columns["time"])
    if not np.all(good) and invalid == "raise":
        n = np.flatnonzero(~good)[0]
        raise ValueError(
            f"Of the {name}, row {n} is at {columns['time'][n]}. `invalid` can leave it out."
        )
    return take(columns, good), _left_out(f"{name} without a finite time", "row", good)


def _numbers(column: np.ndarray, key: str, name: str) -> np.ndarray:
    if column.dtype.kind not in "iuf" or column.ndim != 1:
        raise ValueError(
            f"Column {key!r} of the {name} must be a list of numbers, got {column.dtype} of shape "
            f"{column.shape}."
        )
    return np.asarray(column, float)


def _left_out(what: str, kind: str, good: np.ndarray) -> list[Finding]:
    bad = tuple(map(str, np.flatnonzero(~good)))
    return [Finding(what, kind, bad, len(bad), "left out")] if bad else []
