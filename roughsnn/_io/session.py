"""Spike times of a recording session, and the tables that belong to them."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from .._check import as_tuple, check_choice, check_kind
from .._misc import check_window, described
from .._train.spike_train import SpikeTrain
from .borders import as_span, rounding
from .crop import Crop
from .invalid import check_events, check_intervals, distinct_units, mended, spike_findings
from .report import Invalid, Report, check_invalid
from .select import rows
from .tables import Table, as_reals, as_table, is_ragged, num_rows, scaled, take, with_spikes
from .trials import aligned_trials, joined_trials

_SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6}
TimeUnit = Literal["s", "ms", "us"]
_LATER = ("electrodes", "events", "epochs", "report")


def seconds(unit: str) -> float:
    """How many seconds a unit of time has."""
    check_choice("unit", unit, tuple(_SECONDS))
    return _SECONDS[unit]


@dataclasses.dataclass(frozen=True)
class Session:
    """The spikes of some units (neurons) on one clock, the trials, and what is known of both.

    What readers return and writers take. Everything is checked when it is made, and nothing is
    dropped in silence. A table is a mapping `{column: values}`; the first axis of the values is the
    row, further axes and ragged columns (object arrays of arrays) are allowed.

    **Arguments:**

    - `times`: for each unit its spike times, strictly increasing, in [t0, t1], but for rounding.
    - `t0`, `t1`: from when to when spikes were recorded.
    - `names`: a name for each unit, all different; by default "0", "1", ...
    - `units`: a table with a row for each unit (quality, depth, ...). A ragged column with as many
        values as the units have spikes follows the spikes. A column `electrodes` holds numbers of
        rows of the table `electrodes`.
    - `trials`: a table with a row for each trial; `start_time` and `stop_time` if there are any
        trials, other columns (stimulus, choice, time of an event) as you like.
    - `unit`: that of all times, "s", "ms" or "us". Columns of trials, events and epochs are times
        if their name ends in `_time` and they hold numbers, or in `_times` and they hold floats.
    - `time_columns`: names of other columns of the trials that hold times.
    - `invalid`: what to do about spikes that are not finite, not in order, there twice or outside
        of [t0, t1], about units of one name, and trials of no length. `"raise"`: refuse the first.
        `"repair"`: sort spikes, keep one of doubled ones, rename units, and leave out single spikes
        and trials. `"drop"`: leave out whole units and trials.

    **Attributes:** the arguments, and

    - `electrodes`: a table with a row for each electrode.
    - `events`: `{name: table}`, times with `time` and, where they have one, `label`.
    - `epochs`: `{name: table}`, intervals other than trials with `start_time`, `stop_time` and,
        where they have one, `label`. These three are set by
        [`roughsnn.io.Session.with_tables`][].
    - `report`: a [`roughsnn.io.Report`][] of what was repaired or left out.

    **Raises:** `ValueError` for what `invalid` does not repair, and for columns of wrong lengths;
    `TypeError` for times that are no numbers, names that are neither texts nor whole numbers, and
    tables that are none.
    """

    times: tuple[np.ndarray, ...]
    t0: float
    t1: float
    names: tuple[str, ...]
    units: Table
    trials: Table
    unit: TimeUnit
    time_columns: tuple[str, ...]
    electrodes: Table
    events: Mapping[str, Table]
    epochs: Mapping[str, Table]
    report: Report

    def __init__(
        self,
        times: Sequence[Sequence[float] | np.ndarray],
        *,
        t0: float,
        t1: float,
        names: Sequence[str] | None = None,
        units: Mapping[str, Any] | None = None,
        trials: Mapping[str, Any] | None = None,
        unit: TimeUnit = "s",
        time_columns: Sequence[str] = (),
        invalid: Invalid = "raise",
    ):
        t0, t1, _ = check_window(t0, t1, 1.0, "dt")
        seconds(unit)
        check_invalid(invalid)
        times = as_tuple("times", times, "a list of spike times for each unit")
        given = [str(n) for n in range(len(times))] if names is None else _as_names(names)
        if len(times) == 0:
            raise ValueError("There are no units: `times` must hold a list of spikes for each.")
        if len(given) != len(times):
            raise ValueError(
                f"`names` must be {len(times)} different ones, one for each unit, got {given}."
            )
        table = as_table({} if units is None else units, "units", len(times))
        given, first, renamed = distinct_units(given, table, invalid)
        found = [mended(t, n, t0, t1, invalid) for t, n in zip(times, given, strict=True)]
        good, findings = spike_findings(found, given, invalid)
        keep = np.flatnonzero(first & good)
        if not len(keep):
            raise ValueError(f"Each unit has a fault, so that none is left: {findings[0]}.")
        table = with_spikes(table, [len(t) for t in times], [unit.kept for unit in found])
        trials, bad_trials = check_intervals(
            {} if trials is None else trials, "trials", invalid, length=True
        )
        fields = dict(
            times=tuple(found[n].times for n in keep),
            t0=t0,
            t1=t1,
            names=tuple(given[n] for n in keep),
            units=take(table, keep),
            trials=trials,
            unit=unit,
            time_columns=_check_time_columns(time_columns, trials),
            electrodes={},
            events={},
            epochs={},
            report=Report((*renamed, *findings, *bad_trials)),
        )
        for name, value in fields.items():
            object.__setattr__(self, name, value)

    @property
    def num_trials(self) -> int:
        """The number of trials."""
        return num_rows(self.trials)

    def with_tables(
        self,
        *,
        units: Mapping[str, Any] | None = None,
        trials: Mapping[str, Any] | None = None,
        electrodes: Mapping[str, Any] | None = None,
        events: Mapping[str, Mapping[str, Any]] | None = None,
        epochs: Mapping[str, Mapping[str, Any]] | None = None,
        invalid: Invalid = "raise",
    ) -> "Session":
        """The same spikes with other tables; those that are not given stay.

        A column is added by `session.with_tables(units=session.units | {"snr": snr})`.

        **Arguments:**

        - `units`, `trials`, `electrodes`, `events`, `epochs`: as for the class.
        - `invalid`: what to do about trials of no length, events that are not finite and epochs
            that end before they start; as for the class.

        **Raises:** `ValueError` for what `invalid` does not repair, for columns of wrong lengths,
        events without a column `time`, and epochs that are called "trials".
        """
        check_invalid(invalid)
        given = dict(
            units=units, trials=trials, electrodes=electrodes, events=events, epochs=epochs
        )
        changes = {name: table for name, table in given.items() if table is not None}
        return self._with(invalid=invalid, **changes)

    def in_units(self, unit: TimeUnit) -> "Session":
        """The same session with times in another unit; columns that hold no times stay."""
        factor = seconds(self.unit) / seconds(unit)
        change = lambda table, *more: scaled(table, factor, more)
        return self._with(
            # Two spikes that are a rounding apart may become one.
            invalid="repair",
            times=[t * factor for t in self.times],
            t0=self.t0 * factor,
            t1=self.t1 * factor,
            trials=change(self.trials, *self.time_columns),
            events={n: change(table, "time", "duration") for n, table in self.events.items()},
            epochs={name: change(table) for name, table in self.epochs.items()},
            unit=unit,
        )

    def select(
        self,
        units: Sequence[str] | Sequence[int] | np.ndarray | None = None,
        *,
        where: Mapping[str, Any] | None = None,
    ) -> "Session":
        """Some of the units, by name, by number or by what is known of them.

        **Arguments:** one of

        - `units`: names, numbers, or a boolean for each unit.
        - `where`: `{column: accepted}` for columns of `units`, all of which must accept a unit:
            a value, a list of values, or a function of the column that returns booleans, such as
            `{"quality": ["good", "mua"], "depth": lambda d: d < 500}`.

        **Raises:** `ValueError` for names, numbers and columns that are not there, and if no unit
        is left.
        """
        index = rows(units, where, self.units, "units", self.names)
        if not len(index):
            raise ValueError(f"No units are left of {len(self.names)} by {where or units}.")
        return self._with(
            times=[self.times[n] for n in index],
            names=[self.names[n] for n in index],
            units=take(self.units, index),
        )

    def select_trials(
        self,
        keep: Sequence[int] | np.ndarray | None = None,
        *,
        where: Mapping[str, Any] | None = None,
    ) -> "Session":
        """Some of the trials; all spikes stay.

        **Arguments:** one of

        - `keep`: numbers, or a boolean for each trial.
        - `where`: as for [`roughsnn.io.Session.select`][], with columns of `trials`.

        **Raises:** `ValueError` for numbers and columns that are not there.
        """
        index = rows(keep, where, self.trials, "trials", self.num_trials)
        return self._with(trials=take(self.trials, index))

    def restrict(self, t0: float, t1: float) -> "Session":
        """The part from `t0` to `t1`, and a report of what lay outside.

        Spikes and events outside go, and trials and epochs that do not lie wholly inside. The
        window is half-open, but for the end of the recording, which belongs to it.

        **Raises:** `ValueError` for a window that reaches beyond the recording.
        """
        t0, t1, _ = check_window(t0, t1, 1.0, "dt")
        loose = max(rounding(self.t0, self.t1), 1e-9 * (self.t1 - self.t0))
        if t0 < self.t0 - loose or t1 > self.t1 + loose:
            raise ValueError(
                f"The window [{t0}, {t1}] reaches beyond the recording, [{self.t0}, {self.t1}]."
            )
        return cropped(self, max(t0, self.t0), min(t1, self.t1))

    def train(self, *, max_spikes: int | None = None) -> SpikeTrain:
        """The whole session as one [`roughsnn.SpikeTrain`][], counted from its start (`origin`).

        **Raises:** `ValueError` where spikes of a unit would become one in JAX's default dtype.
        """
        return SpikeTrain.from_lists(
            [times - self.t0 for times in self.times],
            t0=0.0,
            t1=self.t1 - self.t0,
            max_spikes=max_spikes,
            origin=self.t0,
        )

    def aligned(
        self,
        events: str | Sequence[float] | np.ndarray,
        window: tuple[float, float],
        *,
        max_spikes: int | None = None,
    ) -> SpikeTrain:
        """A trial around each event: a batch of trains, times counted from the event (`origin`).

        A spike that lies in the windows of two events is in both trials; one on the border of two
        is in the later. Only a window that ends with the recording holds a spike at its end.

        **Arguments:**

        - `events`: a column of the trials, e.g. `"start_time"`, or times, e.g.
            `session.events["lick"]["time"]`.
        - `window`: from when to when, relative to an event, e.g. `(-0.2, 1.0)`.
        - `max_spikes`: the room for spikes of a trial; by default what the fullest one needs.

        **Returns:** a [`roughsnn.SpikeTrain`][] with a leading axis of trials, in the order of the
        events.

        **Raises:** `ValueError` for an unknown column, events that are not finite, and windows that
        are no pair or reach beyond the recording; `TypeError` for events that are no numbers.
        """
        a, b = as_span("window", window)
        if isinstance(events, str):
            if events not in self.trials:
                raise ValueError(
                    f"There is no column {events!r} of trials; there are {sorted(self.trials)}."
                )
            events = self.trials[events]
        at = as_reals("`events`", events).astype(float)
        return aligned_trials(self.times, (self.t0, self.t1), at, (a, b), max_spikes)

    @classmethod
    def from_trials(
        cls, batch: SpikeTrain, *, gap: float | None = None, names=None, unit: TimeUnit = "s"
    ) -> "Session":
        """A batch of trains on one clock, the inverse of `aligned("event_time", (t0, t1))`.

        The column `event_time` has the time 0 of each trial. A spike at the very end of a trial is
        just before the start of the next.

        **Arguments:**

        - `batch`: a [`roughsnn.SpikeTrain`][] with a leading axis of trials.
        - `gap`: the time between trials, one after the other from 0 on. By default trials are
            where their `origin` says, if they have one (those of [`roughsnn.io.Session.aligned`][]
            do), and without gaps if all have the same, as simulated ones.
        - `names`, `unit`: as for the class.

        **Raises:** `ValueError` for trials that overlap on their own clock (give a `gap`), and for
        spikes that are not in order, not in the window or of no neuron; `TypeError` for what is no
        batch of trains.
        """
        return cls(**joined_trials(batch, gap), names=names, unit=unit)

    def _with(self, *, invalid: Invalid = "raise", **changes: Any) -> "Session":
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)} | changes
        later = {name: values.pop(name) for name in _LATER}
        made = Session(**values, invalid=invalid)
        later["electrodes"] = as_table(later["electrodes"], "electrodes")
        findings = list(made.report)
        for kind in ("events", "epochs"):
            tables = {}
            check_kind(kind, later[kind], Mapping, "a mapping {name: table}")
            for name, table in later[kind].items():
                title = f"{kind} {name!r}"
                if title == "epochs 'trials'":
                    raise ValueError("Epochs cannot be called 'trials': those are `trials`.")
                tables[name], found = (
                    check_events(table, title, invalid)
                    if kind == "events"
                    else check_intervals(table, title, invalid, length=False)
                )
                findings += found
            later[kind] = tables
        later["report"] += findings
        for name, value in later.items():
            object.__setattr__(made, name, value)
        return made


def as_session(session: Any) -> Session:
    """`session`, or a `TypeError`."""
    return check_kind("session", session, Session, "a roughsnn.io.Session")


def cropped(session: Session, t0: float, t1: float) -> Session:
    """As `restrict`, for windows that may reach beyond the recording."""
    slack = rounding(session.t0, session.t1, t0, t1)
    crop = Crop(t0, t1, slack, t1 >= session.t1 - slack)
    spikes = dict(zip(session.names, session.times, strict=True))
    kept = [np.flatnonzero(x) for x in crop.instants("spikes outside of", "unit", spikes)]
    return session._with(
        t0=t0,
        t1=t1,
        times=[times[index] for times, index in zip(session.times, kept, strict=True)],
        units=with_spikes(session.units, [len(t) for t in session.times], kept),
        trials=crop.intervals("trials", {"trials": session.trials})["trials"],
        events=crop.events(session.events),
        epochs=crop.intervals("epochs", session.epochs),
        report=session.report + crop.findings,
    )


def _check_time_columns(names: Sequence[str], trials: Table) -> tuple[str, ...]:
    names = as_tuple("time_columns", names, "a list of names")
    for name in names:
        if not isinstance(name, str):
            raise TypeError(f"`time_columns` must be a list of names, got {described(name)} in it.")
        if name not in trials:
            raise ValueError(
                f"There is no column {name!r} of trials to hold times; there are {sorted(trials)}."
            )
        column = trials[name]
        if any(
            part.dtype.kind not in "iuf" for part in (column if is_ragged(column) else [column])
        ):
            raise ValueError(f"Column {name!r} of the trials holds no numbers, and so no times.")
    return names


def _as_names(names: Any) -> list[str]:
    """Names as texts; numbers of units are names, too."""
    wanted = "a name for each unit"
    given = as_tuple("names", names, wanted)
    for name in given:
        if not isinstance(name, str | int | np.integer) or isinstance(name, bool):
            raise TypeError(f"`names` must be {wanted}, got {described(name)} among them.")
    return [str(name) for name in given]
