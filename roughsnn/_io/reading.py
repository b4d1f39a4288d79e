"""What all readers have in common: from what a file holds to a session, with one warning."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from .._check import as_tuple
from .report import Finding, Invalid, Report
from .session import Session, cropped


@dataclasses.dataclass
class Content:
    """What a file or an object of another library holds, in seconds and not yet checked."""

    times: list[np.ndarray]
    t0: float
    t1: float
    names: list[str] | None = None
    units: dict[str, Any] = dataclasses.field(default_factory=dict)
    trials: dict[str, Any] = dataclasses.field(default_factory=dict)
    electrodes: dict[str, Any] = dataclasses.field(default_factory=dict)
    events: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    epochs: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    time_columns: list[str] = dataclasses.field(default_factory=list)
    findings: list[Finding] = dataclasses.field(default_factory=list)

    def session(
        self,
        invalid: Invalid,
        time_columns: Sequence[str],
        window: tuple[float, float] | None = None,
    ) -> Session:
        """The session, cut to a window; what was found but not asked for becomes a warning."""
        named = as_tuple("time_columns", time_columns, "a list of names")
        made = Session(
            self.times,
            t0=self.t0,
            t1=self.t1,
            names=self.names,
            units=self.units,
            trials=self.trials,
            time_columns=[*dict.fromkeys([*named, *self.time_columns])],
            invalid=invalid,
        ).with_tables(
            electrodes=self.electrodes, events=self.events, epochs=self.epochs, invalid=invalid
        )
        report = Report(tuple(self.findings)) + made.report
        report.warn("The data were not taken as they are")
        object.__setattr__(made, "report", report)
        return made if window is None else cropped(made, *window)

    def not_kept(self, table: str, name: str, why: str) -> None:
        """Notes a column that cannot be read."""
        self.findings.append(Finding.column(table, name, why))
