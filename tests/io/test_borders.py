"""Spikes on the borders of windows: none is lost, none is there twice, on any clock."""

import itertools
import warnings
from datetime import UTC, datetime
from typing import Any

import jax
import numpy as np
import pytest

import roughsnn as rs

with warnings.catch_warnings(action="ignore"):
    import neo as neo_
    import pynapple as nap  # noqa: F401
    import quantities as pq

# Without the annotations of its decorators.
neo: Any = neo_

# The last has borders near 0 that are what is left of larger numbers.
ORIGINS = [0.0, 7200.0, 1.7e9, -1.2]
WINDOWS = [(0.0, 1 / 3), (0.0, 0.1), (-0.1, 0.2), (-0.3, 0.0), (0.7, 1.0)]
CLOCKS = list(itertools.product(ORIGINS, WINDOWS))


@pytest.fixture(params=[np.float32, np.float64])
def dtype(request):
    jax.config.update("jax_enable_x64", request.param == np.float64)
    yield request.param
    jax.config.update("jax_enable_x64", True)


def touching(origin, window, seed=0, trials=9):
    """Trials that touch but for roundings, and spikes: at random, on and next to the borders."""
    rng, (a, b) = np.random.default_rng(seed), window
    at = origin + np.arange(trials) * (b - a)
    starts, stops = at + a, at + b
    t0, t1 = starts[0], stops[-1]
    inner = np.where(rng.random(trials - 1) < 0.5, starts[1:], stops[:-1])
    near = inner + rng.integers(-6, 7, trials - 1) * np.spacing(max(abs(t0), abs(t1)))
    # Some microseconds apart from each other.
    grid = t0 + (t1 - t0) * (np.sort(rng.choice(9999, 50, replace=False)) + 0.5) / 9999
    trials = {"start_time": starts, "stop_time": stops, "event_time": at}
    times = [grid, np.array([t0, *inner, t1]), near]
    return rs.io.Session(times, t0=t0, t1=t1, trials=trials)


def error(session, window, dtype=np.float64):
    """What the clock and the dtype of the trains may cost."""
    clock = 8 * np.spacing(max(abs(session.t0), abs(session.t1)))
    return clock + np.finfo(dtype).eps * max(map(abs, window))


def on_the_clock(batch):
    """For each neuron the spikes of all trials."""
    moved = [
        [np.asarray(t, float) + zero for t in trial]
        for trial, zero in zip(batch.to_lists(), batch.origin, strict=True)
    ]
    return [np.sort(np.concatenate(each)) for each in zip(*moved, strict=True)]


def same(some, others, atol):
    """Whether lists have as many numbers, and these are the same but for a rounding."""
    for x, y in zip(some, others, strict=True):
        np.testing.assert_allclose(np.asarray(x, float), np.asarray(y, float), rtol=0, atol=atol)


def same_trials(some, others, atol):
    np.testing.assert_array_equal(some.origin, others.origin)
    for trial, other in zip(some.to_lists(), others.to_lists(), strict=True):
        same(trial, other, atol)


@pytest.mark.parametrize(("origin", "window"), CLOCKS)
def test_each_spike_is_in_one_trial(origin, window, dtype):
    """Of windows that touch, and the one on a border is in the later; at the end in the last."""
    for seed in range(3):
        session = touching(origin, window, seed)
        batch, atol = session.aligned("event_time", window), error(session, window, dtype)
        assert batch.times.dtype == dtype
        np.testing.assert_array_equal(batch.origin, session.trials["event_time"])
        same(on_the_clock(batch), session.times, atol)
        on_borders = [trial[1] for trial in batch.to_lists()]
        same(on_borders, [[window[0]]] * (len(on_borders) - 1) + [list(window)], atol)
        # What is before the end is so in the dtype of the train.
        assert all(np.all(t < dtype(window[1])) for trial in batch.to_lists()[:-1] for t in trial)


@pytest.mark.parametrize(("origin", "window"), CLOCKS)
def test_trials_become_the_session_they_are_from(origin, window, dtype):
    """In whatever order they are."""
    for seed in range(3):
        order = np.random.default_rng(seed).permutation(9)
        session = touching(origin, window, seed).select_trials(order)
        batch, atol = session.aligned("event_time", window), error(session, window, dtype)
        back = rs.io.Session.from_trials(batch)
        same(back.times, session.times, atol)
        same([[back.t0, back.t1]], [[session.t0, session.t1]], error(session, window))
        for name in ("start_time", "event_time"):
            np.testing.assert_array_equal(back.trials[name], session.trials[name])
        starts, stops = (np.sort(back.trials[name]) for name in ("start_time", "stop_time"))
        np.testing.assert_array_equal(stops[:-1], starts[1:])
        same_trials(back.aligned("event_time", window), batch, 2 * atol)


@pytest.mark.parametrize("window", [(0.0, 1 / 3), (-0.1, 0.2), (0.1, 0.7)])
@pytest.mark.parametrize("gap", [None, 0.0, 0.1])
def test_simulated_trials_are_put_one_after_another(window, gap, dtype):
    """All count from 0; spikes at both ends of a trial stay in it."""
    a, b = window
    trial = [np.array([a, (a + b) / 2, b]), np.array([a])]
    batch = rs.SpikeTrain.stack([rs.SpikeTrain.from_lists(trial, t0=a, t1=b) for _ in range(4)])
    session = rs.io.Session.from_trials(batch, gap=gap)
    starts = np.arange(4) * (b - a + (gap or 0.0))
    atol = error(session, window, dtype)
    same(session.times, [np.add.outer(starts - a, t).ravel() for t in trial], atol)
    same([session.trials["start_time"]], [starts], error(session, window))
    assert dtype == np.float32 or session.times[0][-1] == session.t1
    back = session.aligned("event_time", window)
    np.testing.assert_array_equal(back.origin, session.trials["event_time"])
    for found in back.to_lists()[:-1] if gap else back.to_lists():
        same(found, trial, 2 * atol)


def test_a_spike_before_the_end_is_so_since_the_event():
    """Though the difference rounds to the end, where the next trial is the most later."""
    slack, stop = 4 * np.spacing(1.0), -1.0 + 1.1
    spike = np.nextafter(stop, 0.0)
    assert spike - -1.0 == 1.1
    session = rs.io.Session([[spike]], t0=-1.0, t1=1.0)
    batch = session.aligned([-1.0, stop + slack - 1.0], (1.0, 1.1))
    np.testing.assert_array_equal(batch.count, [1, 0])
    assert batch.times[0, 0] == np.nextafter(1.1, 0.0)


def test_trials_that_overlap_need_a_gap():
    session = touching(7200.0, (0.0, 0.1))
    batch = session.aligned("event_time", (0.0, 0.1))
    wide = session.select_trials(np.arange(8)).aligned("event_time", (0.0, 0.1 + 1e-9))
    with pytest.raises(ValueError, match="overlap on their own clock.*`gap`"):
        rs.io.Session.from_trials(wide)
    with pytest.raises(ValueError, match="overlap on their own clock.*`gap`"):
        rs.io.Session.from_trials(batch, gap=-1e-9)
    assert rs.io.Session.from_trials(wide, gap=0.0).num_trials == 8


@pytest.mark.parametrize("origin", ORIGINS)
def test_only_a_rounding_is_not_outside(origin):
    """A spike that is a rounding outside is at the end; there may be one."""
    t0, t1 = origin, origin + 1.2
    ulp = np.spacing(max(abs(t0), abs(t1)))
    session = rs.io.Session([[t0 - 3 * ulp, t1 + 3 * ulp]], t0=t0, t1=t1)
    np.testing.assert_array_equal(session.times[0], [t0, t1])
    np.testing.assert_array_equal(session.train().to_lists()[0], [0.0, t1 - t0])
    for spike in (t0 - 6 * ulp, t1 + 6 * ulp):
        with pytest.raises(ValueError, match="outside of the recording"):
            rs.io.Session([[spike]], t0=t0, t1=t1)
    for spikes in ([t0 - ulp, t0], [t1, t1 + ulp]):
        with pytest.raises(ValueError, match="there twice"):
            rs.io.Session([spikes], t0=t0, t1=t1)
    assert session.aligned([t0], (-ulp, 1.2)).count == 2
    with pytest.raises(ValueError, match="reaches beyond the recording"):
        session.aligned([t0], (-1e-5, 1.2))


def test_a_train_does_not_depend_on_the_clock(dtype):
    """The times are whole on a grid that both dtypes have, at each origin."""
    steps = np.sort(np.random.default_rng(0).choice(2**21, 40, replace=False))
    spikes, events = np.append(steps * 2.0**-20, 2.0), np.array([1.5, 0.5])
    for t0 in ORIGINS[:3]:
        session = rs.io.Session([t0 + spikes], t0=t0, t1=t0 + 2.0)
        train, batch = session.train(), session.aligned(t0 + events, (-0.5, 0.5))
        assert train.origin == t0 and train.times.dtype == dtype
        np.testing.assert_array_equal(train.to_lists()[0], spikes)
        np.testing.assert_array_equal(batch.origin, t0 + events)
        for trial, event in zip(batch.to_lists(), events, strict=True):
            inside = (spikes >= event - 0.5) & ((spikes < event + 0.5) | (event == 1.5))
            np.testing.assert_array_equal(trial[0], spikes[inside] - event)
        back = rs.io.Session.from_trials(batch)
        np.testing.assert_array_equal(back.times[0], session.times[0])


class TestNeo:
    """Of two segments that touch at 0.3 s, which in floats is also 0.2 + 0.1."""

    def block(self, first, second, stop=(0.2 + 0.1) * pq.s, start=300.0 * pq.ms):
        block = neo.Block()
        for units, borders in ((first, (0.2 * pq.s, stop)), (second, (start, 500.0 * pq.ms))):
            segment = neo.Segment()
            for times in units:
                segment.spiketrains.append(
                    neo.SpikeTrain(times, t_start=borders[0], t_stop=borders[1], units=pq.s)
                )
            block.segments.append(segment)
        return block

    @pytest.mark.parametrize("start", [0.2 + 0.1, 0.3])
    @pytest.mark.parametrize("stop", [0.2 + 0.1, 0.3])
    def test_a_spike_that_both_hold_is_one(self, stop, start):
        # Held by both, by the earlier, by the later; by none, where one segment has no spikes.
        first, second = [[0.25, stop], [0.25, stop], [0.25], []], [[start, 0.4], [0.4], [start], []]
        first.append([])
        second.append([start])
        block = self.block(first, second, stop * pq.s, start * 1e3 * pq.ms)
        session = rs.io.from_neo(block)
        expected = [[0.25, 0.3, 0.4], [0.25, 0.3, 0.4], [0.25, 0.3], [], [0.3]]
        same(session.times, expected, 1e-15)
        assert session.trials["stop_time"][0] == session.trials["start_time"][1]
        batch = session.aligned([0.3], (-0.1, 0.0)).to_lists()[0]
        same(batch, [[-0.05], [-0.05], [-0.05], [], []], 1e-15)

    def test_what_is_inside_of_a_segment_stays(self):
        near = [0.25, np.nextafter(0.25, 1.0)]
        assert len(rs.io.from_neo(self.block([near], [[0.4]])).times[0]) == 3
        with pytest.raises(ValueError, match="there twice"):
            rs.io.from_neo(self.block([[0.25, 0.25]], [[0.4]]), invalid="raise")

    @pytest.mark.parametrize("start", [299.0, 300.0 - 1e-9, 100.0])
    def test_segments_that_overlap(self, start):
        with pytest.raises(ValueError, match="overlap in time"):
            rs.io.from_neo(self.block([[0.25]], [[0.4]], start=start * pq.ms))


@pytest.mark.parametrize(("origin", "window"), CLOCKS)
def test_trials_that_touch_become_pynapple_and_come_back(origin, window):
    """Without a warning of pynapple, which keeps nanoseconds."""
    session = touching(origin, window).select([0, 1])
    group, trials = rs.io.to_pynapple(session)
    assert len(trials) == session.num_trials
    np.testing.assert_allclose(trials.start[1:] - trials.end[:-1], 1e-6, rtol=0, atol=3e-7)
    back = rs.io.from_pynapple(group, trials)
    atol = 1e-9 + error(session, window)
    same(back.times, session.times, atol)
    for name in ("start_time", "stop_time"):
        same([back.trials[name]], [session.trials[name]], atol)
    np.testing.assert_array_equal(back.trials["stop_time"][:-1], back.trials["start_time"][1:])


@pytest.mark.parametrize("gap", [0.0, 1e-10, 1e-3])
def test_pynapple_keeps_the_gaps_that_it_can(gap):
    """And does not warn, not of a unit that has one spike."""
    table = {"start_time": [0.0, 0.5 + gap], "stop_time": [0.5, 1.0]}
    session = rs.io.Session([[0.1]], t0=0.0, t1=1.0, trials=table)
    stops = rs.io.from_pynapple(*rs.io.to_pynapple(session)).trials["stop_time"]
    np.testing.assert_allclose(stops, [0.5, 1.0], rtol=0, atol=1e-9)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("origin", ORIGINS)
def test_a_file_keeps_the_borders(origin, tmp_path):
    """An NWB file holds the same numbers, and so the same trials."""
    session = touching(origin, (-0.1, 0.2))
    rs.io.write_nwb(session, tmp_path / "a.nwb", start=datetime(2026, 1, 1, tzinfo=UTC))
    back = rs.io.read_nwb(tmp_path / "a.nwb")
    assert (back.t0, back.t1) == (session.t0, session.t1)
    same(back.times, session.times, 0.0)
    assert back.times[1][0] == back.t0 and back.times[1][-1] == back.t1
    found, expected = (s.aligned("event_time", (-0.1, 0.2)) for s in (back, session))
    same_trials(found, expected, 0.0)
