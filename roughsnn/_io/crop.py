"""The part of a recording that lies in a window, and what lies outside."""

import dataclasses
from collections.abc import Mapping

import numpy as np

from .borders import between
from .report import Finding
from .tables import Table, take


@dataclasses.dataclass
class Crop:
    """A half-open window, with its end if the recording ends there, and what was left out of it."""

    t0: float
    t1: float
    slack: float
    last: bool
    findings: list[Finding] = dataclasses.field(default_factory=list)

    def instants(self, what: str, kind: str, times: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """For each of several lists of times which are inside."""
        inside = [
            between(each, self.t0, self.t1, self.slack, last=self.last) for each in times.values()
        ]
        self._note(what, kind, times, inside)
        return inside

    def events(self, tables: Mapping[str, Table]) -> dict[str, Table]:
        """The events that are inside."""
        times = {name: table["time"] for name, table in tables.items()}
        inside = self.instants("events outside of", "table", times)
        return {name: take(tables[name], keep) for name, keep in zip(tables, inside, strict=True)}

    def intervals(self, what: str, tables: Mapping[str, Table]) -> dict[str, Table]:
        """The trials or epochs that lie wholly inside."""
        inside = [self._whole(table) for table in tables.values()]
        self._note(f"{what} not inside of", "table", tables, inside)
        return {name: take(tables[name], keep) for name, keep in zip(tables, inside, strict=True)}

    def _whole(self, table: Table) -> np.ndarray:
        if not table:
            return np.zeros(0, bool)
        start, stop = table["start_time"], table["stop_time"]
        return (start >= self.t0 - self.slack) & (stop <= self.t1 + self.slack)

    def _note(self, what: str, kind: str, names: Mapping, inside: list[np.ndarray]) -> None:
        outside = [int(np.sum(~keep)) for keep in inside]
        bad = tuple(name for name, count in zip(names, outside, strict=True) if count)
        if bad:
            window = f"{what} [{self.t0}, {self.t1})"
            self.findings.append(Finding(window, kind, bad, sum(outside), "left out"))
