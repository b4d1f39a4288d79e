"""Spike times of a recording session, its trials, and how they become spike trains."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Literal

import equinox as eqx
import jax
import numpy as np

from .._misc import check_window, static_float
from .._train.spike_train import SpikeTrain
from .borders import before, between, overlap, rounding, snapped

_SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6}
TimeUnit = Literal["s", "ms", "us"]


def seconds(unit: str) -> float:
    """How many seconds a unit of time has."""
    if unit not in _SECONDS:
        raise ValueError(f"The unit of time must be one of {sorted(_SECONDS)}, got {unit!r}.")
    return _SECONDS[unit]


@dataclasses.dataclass(frozen=True)
class Session:
    """The spikes of some units (neurons) on one clock, and the trials.

    What readers return and writers take. Everything is checked when it is made; nothing is dropped.

    **Arguments:**

    - `times`: for each unit its spike times, strictly increasing, in [t0, t1], but for rounding.
    - `t0`, `t1`: from when to when spikes were recorded.
    - `names`: a name for each unit, all different; by default "0", "1", ...
    - `trials`: a table, `{column: values}`, a value for each trial; `start_time` and `stop_time` if
        there are any trials, other columns (stimulus, choice, time of an event) as you like.
    - `unit`: that of all times, "s", "ms" or "us".
    - `allow_empty`: accept units without spikes.

    **Raises:** `ValueError` for spikes that are not finite, not in order, there twice or outside of
    [t0, t1], for units without spikes, and for trials of no length or columns of different lengths.
    """

    times: tuple[np.ndarray, ...]
    t0: float
    t1: float
    names: tuple[str, ...]
    trials: Mapping[str, np.ndarray]
    unit: TimeUnit

    def __init__(
        self,
        times: Sequence[Sequence[float] | np.ndarray],
        *,
        t0: float,
        t1: float,
        names: Sequence[str] | None = None,
        trials: Mapping[str, Sequence | np.ndarray] | None = None,
        unit: TimeUnit = "s",
        allow_empty: bool = False,
    ):
        t0, t1, _ = check_window(t0, t1, 1.0, "dt")
        seconds(unit)
        given = [str(n) for n in (range(len(times)) if names is None else names)]
        if len(times) == 0:
            raise ValueError("There are no units: `times` must hold a list of spikes for each.")
        if len(given) != len(times) or len(set(given)) < len(given):
            raise ValueError(
                f"`names` must be {len(times)} different ones, one for each unit, got {given}."
            )
        arrays = [_check(t, name, t0, t1) for t, name in zip(times, given, strict=True)]
        empty = [name for t, name in zip(arrays, given, strict=True) if len(t) == 0]
        if empty and not allow_empty:
            raise ValueError(
                f"Units without spikes: {', '.join(empty)}. Leave them out by `select`, or give "
                "allow_empty=True."
            )
        fields = dict(
            times=tuple(arrays),
            t0=t0,
            t1=t1,
            names=tuple(given),
            unit=unit,
            trials=_check_trials({} if trials is None else trials),
        )
        for name, value in fields.items():
            object.__setattr__(self, name, value)

    @property
    def num_trials(self) -> int:
        """The number of trials."""
        return len(next(iter(self.trials.values()), ()))

    def in_units(self, unit: TimeUnit) -> "Session":
        """The same session with times in another unit; other columns of the trials stay."""
        factor = seconds(self.unit) / seconds(unit)
        trials = {
            name: column * factor if name.endswith("_time") else column
            for name, column in self.trials.items()
        }
        return self._with(
            times=[t * factor for t in self.times],
            t0=self.t0 * factor,
            t1=self.t1 * factor,
            trials=trials,
            unit=unit,
        )

    def select(self, units: Sequence[str] | Sequence[int] | np.ndarray) -> "Session":
        """Some of the units: their names, their numbers, or a boolean for each."""
        wanted = np.asarray(units)
        if wanted.dtype == bool:
            if wanted.shape != (len(self.names),):
                raise ValueError(
                    f"`units` must hold a boolean for each of the {len(self.names)} units, got "
                    f"shape {wanted.shape}."
                )
            index = np.flatnonzero(wanted).tolist()
        elif np.issubdtype(wanted.dtype, np.integer):
            index = wanted.tolist()
        else:
            unknown = [n for n in wanted.tolist() if n not in self.names]
            if unknown:
                raise ValueError(f"There are no units {unknown}; there are {list(self.names)}.")
            index = [self.names.index(n) for n in wanted.tolist()]
        if not all(0 <= n < len(self.names) for n in index):
            raise ValueError(f"`units` must be in 0 ... {len(self.names) - 1}, got {index}.")
        return self._with(
            times=[self.times[n] for n in index], names=[self.names[n] for n in index]
        )

    def select_trials(self, keep: np.ndarray) -> "Session":
        """Some of the trials: their numbers, or a boolean for each. All spikes stay."""
        keep = np.asarray(keep)
        return self._with(trials={name: column[keep] for name, column in self.trials.items()})

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

        - `events`: a column of the trials, e.g. `"start_time"`, or times.
        - `window`: from when to when, relative to an event, e.g. `(-0.2, 1.0)`.
        - `max_spikes`: the room for spikes of a trial; by default what the fullest one needs.

        **Returns:** a [`roughsnn.SpikeTrain`][] with a leading axis of trials, in the order of the
        events.

        **Raises:** `ValueError` for an unknown column, events that are not finite, and windows that
        reach beyond the recording.
        """
        a, b, _ = check_window(*window, 1.0, "dt")
        if isinstance(events, str):
            if events not in self.trials:
                raise ValueError(
                    f"There is no column {events!r} of trials; there are {sorted(self.trials)}."
                )
            events = self.trials[events]
        at = np.asarray(events, float)
        if at.ndim != 1 or len(at) == 0:
            raise ValueError(f"`events` must be a list of times, got shape {at.shape}.")
        if not np.all(np.isfinite(at)):
            n = np.flatnonzero(~np.isfinite(at))[0]
            raise ValueError(
                f"The event of trial {n} is at {at[n]}. Leave such trials out by `select_trials`."
            )
        # What adding a time costs in rounding is not outside.
        slack = rounding(self.t0, self.t1, at)
        loose = max(slack, 1e-9 * (self.t1 - self.t0))
        outside = (at + a < self.t0 - loose) | (at + b > self.t1 + loose)
        if np.any(outside):
            n = np.flatnonzero(outside)[0]
            raise ValueError(
                f"The window of trial {n}, [{at[n] + a}, {at[n] + b}], reaches beyond the "
                f"recording, [{self.t0}, {self.t1}]."
            )
        starts = at + a
        stops = snapped(starts, at + b, slack)
        last = stops >= self.t1 - slack
        windows = zip(starts.tolist(), stops.tolist(), last.tolist(), strict=True)
        spikes = [
            [between(times, start, stop, slack, last=end) for times in self.times]
            for start, stop, end in windows
        ]
        ends = np.where(last, b, np.nextafter(b, -np.inf))
        trials = [
            [np.clip(times - t, a, end) for times in trial]
            for trial, t, end in zip(spikes, at, ends, strict=True)
        ]
        need = max(sum(map(len, trial)) for trial in trials)
        room = max(need, 1) if max_spikes is None else max_spikes
        trains = [
            SpikeTrain.from_lists(trial, t0=a, t1=b, max_spikes=room, origin=t)
            for trial, t in zip(trials, at, strict=True)
        ]
        return SpikeTrain.stack(trains)

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

        **Raises:** `ValueError` for trials that overlap on their own clock (give a `gap`).
        """
        if batch.times.ndim != 2:
            raise ValueError(f"`batch` must be a batch of trains, got shape {batch.times.shape}.")
        lists, length, zero = batch.complete().to_lists(), batch.t1 - batch.t0, batch.origin
        if gap is not None or (len(lists) > 1 and np.all(zero == zero[0])):
            gap = 0.0 if gap is None else static_float("gap", gap)
            zero = np.arange(len(lists)) * (length + gap) - batch.t0
        starts = zero + batch.t0
        stops = zero + batch.t1
        slack = rounding(starts, stops, zero)
        stops = snapped(starts, stops, slack)
        if overlap(starts, stops, slack):
            raise ValueError(
                "The trials overlap on their own clock, so that spikes would be there twice: give "
                "a `gap`, which puts them one after the other."
            )
        order = np.argsort(starts, kind="stable")
        ends = before(stops, slack)
        # The last one holds its end.
        ends[order[-1]] = stops[order[-1]]
        shifted = [
            [np.clip(np.asarray(t, float) + zero[n], starts[n], ends[n]) for t in lists[n]]
            for n in order
        ]
        times = [np.concatenate(unit) for unit in zip(*shifted, strict=True)]
        trials = {"start_time": starts, "stop_time": stops, "event_time": zero}
        return cls(
            times,
            t0=float(starts.min()),
            t1=float(stops.max()),
            names=names,
            trials=trials,
            unit=unit,
            allow_empty=True,
        )

    def _with(self, **changes) -> "Session":
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)} | changes
        return Session(**fields, allow_empty=True)


def _check(times, name: str, t0: float, t1: float) -> np.ndarray:
    array = np.array(times, float)
    if array.ndim != 1:
        raise ValueError(f"Unit {name}: the spike times must be a list, got shape {array.shape}.")
    if not np.all(np.isfinite(array)):
        raise ValueError(f"Unit {name}: a spike time is {array[~np.isfinite(array)][0]}.")
    slack = rounding(t0, t1)
    outside = (array < t0 - slack) | (array > t1 + slack)
    if np.any(outside):
        raise ValueError(
            f"Unit {name}: the spike at {array[outside][0]} lies outside of the recording, "
            f"[{t0}, {t1}]."
        )
    array = np.clip(array, t0, t1)
    gaps = np.diff(array)
    if np.any(gaps < 0):
        where = np.flatnonzero(gaps < 0)[0]
        raise ValueError(
            f"Unit {name}: the spike times are not in order, {array[where + 1]} comes after "
            f"{array[where]}. Sort them if that is no sign of a damaged file."
        )
    if np.any(gaps == 0):
        where = np.flatnonzero(gaps == 0)[0]
        raise ValueError(
            f"Unit {name}: the spike at {array[where]} is there twice. Remove one (np.unique) if "
            "that is no sign of a damaged file."
        )
    array.setflags(write=False)
    return array


def _check_trials(trials: Mapping) -> dict[str, np.ndarray]:
    table = {str(name): np.asarray(column) for name, column in trials.items()}
    if not table:
        return table
    missing = {"start_time", "stop_time"} - set(table)
    if missing:
        raise ValueError(f"The trials have no column {sorted(missing)[0]!r}.")
    lengths = {name: len(column) for name, column in table.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"The columns of the trials must have one length, got {lengths}.")
    start, stop = (np.asarray(table[name], float) for name in ("start_time", "stop_time"))
    bad = ~(np.isfinite(start) & np.isfinite(stop) & (stop > start))
    if np.any(bad):
        n = np.flatnonzero(bad)[0]
        raise ValueError(f"Trial {n} goes from {start[n]} to {stop[n]}: it must have a length.")
    return table | {"start_time": start, "stop_time": stop}


def split_trials(batch, test: float = 0.25, *, seed: int = 0):
    """Trials for training and for testing, drawn at random.

    **Arguments:**

    - `batch`: a batch of trains, or any pytree of arrays with a leading axis of trials.
    - `test`: the part that is kept for testing, in (0, 1).
    - `seed`: of the draw.

    **Returns:** `(train, test)`, each in the order of the trials.

    **Raises:** `ValueError` if one of them would be empty.
    """
    arrays, static = eqx.partition(batch, eqx.is_array)
    numbers = {x.shape[0] for x in jax.tree.leaves(arrays) if x.ndim}
    if len(numbers) != 1:
        raise ValueError(f"`batch` must have one leading axis of trials, got {sorted(numbers)}.")
    (number,) = numbers
    held = round(static_float("test", test) * number)
    if not 0 < held < number:
        raise ValueError(f"`test` must leave trials on both sides, got {test} of {number}.")
    shuffled = np.random.default_rng(seed).permutation(number)
    take = lambda index: eqx.combine(jax.tree.map(lambda x: x[np.sort(index)], arrays), static)
    return take(shuffled[held:]), take(shuffled[:held])


def split_time(train: SpikeTrain, at: float) -> tuple[SpikeTrain, SpikeTrain]:
    """One train before and after a time: for training and for testing."""
    return train.window(train.t0, at), train.window(at, train.t1)
