"""From spikes on one clock to trials, and back."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from .._misc import static_float
from .._train.check import check_trains
from .._train.spike_train import SpikeTrain
from .borders import before, between, overlap, rounding, snapped


def aligned_trials(
    spikes: Sequence[np.ndarray],
    recording: tuple[float, float],
    events: np.ndarray,
    window: tuple[float, float],
    max_spikes: int | None,
) -> SpikeTrain:
    """The windows around events; see `Session.aligned`."""
    (t0, t1), (a, b) = recording, window
    if events.ndim != 1 or len(events) == 0:
        raise ValueError(f"`events` must be a list of times, got shape {events.shape}.")
    if not np.all(np.isfinite(events)):
        n = np.flatnonzero(~np.isfinite(events))[0]
        raise ValueError(
            f"The event of trial {n} is at {events[n]}. Leave such trials out: "
            "`select_trials(where={column: np.isfinite})`."
        )
    # What adding a time costs in rounding is not outside.
    slack = rounding(t0, t1, events)
    loose = max(slack, 1e-9 * (t1 - t0))
    outside = (events + a < t0 - loose) | (events + b > t1 + loose)
    if np.any(outside):
        n = np.flatnonzero(outside)[0]
        raise ValueError(
            f"The window of trial {n}, [{events[n] + a}, {events[n] + b}], reaches beyond the "
            f"recording, [{t0}, {t1}]."
        )
    starts = events + a
    stops = snapped(starts, events + b, slack)
    last = stops >= t1 - slack
    windows = zip(starts.tolist(), stops.tolist(), last.tolist(), strict=True)
    inside = [
        [times[between(times, start, stop, slack, last=end)] for times in spikes]
        for start, stop, end in windows
    ]
    ends = np.where(last, b, np.nextafter(b, -np.inf))
    trials = [
        [np.clip(times - t, a, end) for times in trial]
        for trial, t, end in zip(inside, events, ends, strict=True)
    ]
    need = max(sum(map(len, trial)) for trial in trials)
    room = max(need, 1) if max_spikes is None else max_spikes
    return SpikeTrain.stack(
        SpikeTrain.from_lists(trial, t0=a, t1=b, max_spikes=room, origin=t)
        for trial, t in zip(trials, events, strict=True)
    )


def joined_trials(batch: SpikeTrain, gap: float | None) -> dict[str, Any]:
    """What a session of trials on one clock is made of; see `Session.from_trials`."""
    check_trains("batch", batch, batch=True)
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
    return dict(
        times=[np.concatenate(unit) for unit in zip(*shifted, strict=True)],
        t0=float(starts.min()),
        t1=float(stops.max()),
        trials={"start_time": starts, "stop_time": stops, "event_time": zero},
    )
