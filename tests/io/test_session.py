import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import roughsnn as rs

A, B = np.array([0.1, 0.5, 1.2, 1.9]), np.array([0.3, 1.5])
TRIALS = {"start_time": [0.0, 1.0], "stop_time": [1.0, 2.0], "choice": ["left", "right"]}


def session(times=(A, B), **options):
    given: dict[str, Any] = dict(t0=0.0, t1=2.0, trials=TRIALS) | options
    return rs.io.Session(times, **given)


def test_what_it_holds():
    s = session(names=["a", "b"])
    assert s.names == ("a", "b") and s.num_trials == 2 and s.unit == "s"
    np.testing.assert_array_equal(s.times[0], A)
    assert s.trials["choice"].tolist() == ["left", "right"]
    train = s.train(max_spikes=8)
    assert (train.t0, train.t1, train.num_neurons) == (0.0, 2.0, 2)
    np.testing.assert_array_equal(train.to_lists()[1], B)
    with pytest.raises(ValueError, match="read-only"):
        s.times[0][0] = 3.0


def test_units_can_be_selected():
    s = session(names=["a", "b"])
    for wanted in (["b"], [1], np.array([False, True])):
        assert s.select(wanted).names == ("b",)
    assert s.select(["b", "a"]).names == ("b", "a")
    for wanted, message in (
        (["c"], r"no units \['c'\]"),
        ([2], r"in 0 \.\.\. 1"),
        ([-1], r"in 0 \.\.\. 1"),
        (np.array([True]), "a boolean for each"),
    ):
        with pytest.raises(ValueError, match=message):
            s.select(wanted)


def test_trials_are_aligned_to_events():
    s = session()
    batch = s.aligned("start_time", (0.0, 1.0))
    assert batch.times.shape == (2, 3) and (batch.t0, batch.t1) == (0.0, 1.0)
    np.testing.assert_allclose(batch.to_lists()[1][0], A[2:] - 1)
    around = s.aligned([0.5, 1.5], (-0.2, 0.3), max_spikes=5)
    assert around.times.shape == (2, 5)
    np.testing.assert_allclose(around.to_lists()[0][0], [0.0], atol=1e-12)
    np.testing.assert_allclose(around.to_lists()[0][1], [-0.2], atol=1e-12)
    right = s.select_trials(s.trials["choice"] == "right").aligned("start_time", (0.0, 1.0))
    assert right.times.shape[0] == 1
    np.testing.assert_allclose(right.to_lists()[0][1], B[1:] - 1)


def test_units_of_time():
    ms = session().in_units("ms")
    assert (ms.t1, ms.unit) == (2000.0, "ms")
    np.testing.assert_allclose(ms.times[0], A * 1e3)
    np.testing.assert_allclose(ms.trials["stop_time"], [1000.0, 2000.0])
    back = ms.in_units("s")
    np.testing.assert_allclose(back.times[1], B, rtol=1e-15)
    with pytest.raises(ValueError, match="`unit` must be 's', 'ms' or 'us', got 'min'"):
        session().in_units("min")  # pyright: ignore[reportArgumentType]


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 999), unique=True, max_size=6), min_size=2, max_size=4),
    st.floats(0, 3),
)
def test_a_batch_survives_the_way_there_and_back(given_spikes, gap):
    lists = [[np.sort(np.array(t)) * 1e-3 - 0.25, np.array([0.1])] for t in given_spikes]
    made = [rs.SpikeTrain.from_lists(trial, t0=-0.25, t1=0.75, max_spikes=7) for trial in lists]
    batch = jax.tree.map(lambda *z: np.stack(z), *made)
    back = rs.io.Session.from_trials(batch, gap=gap).aligned("event_time", (-0.25, 0.75))
    for trial, other in zip(lists, back.to_lists(), strict=True):
        for spikes, found in zip(trial, other, strict=True):
            np.testing.assert_allclose(spikes, found, atol=1e-9)


@pytest.mark.slow
def test_splits():
    firing = rs.StochasticFiring(rs.ExponentialIntensity())
    net = rs.SpikingNetwork(rs.Population(1, rs.neurons.LIF(1 / 15), firing))
    simulate = lambda k: (
        rs.simulate(
            net,
            lambda t: jnp.ones(1),
            rs.Window(0.0, 2.0, 0.05),
            max_spikes=9,
            key=k,
            engine=rs.EventByEvent(),
        ).spikes
    )
    batch = jax.jit(lambda: jax.vmap(simulate)(jr.split(jr.key(0), 8)))()
    first = jax.tree.map(lambda z: jnp.asarray(np.asarray(z)[0]), batch)
    train, test = rs.io.split_trials(batch, 0.25, seed=1)
    assert train.times.shape[0] == 6 and test.times.shape[0] == 2
    both = np.concatenate([train.times, test.times])
    assert sorted(map(tuple, both.tolist())) == sorted(map(tuple, batch.times.tolist()))
    again = rs.io.split_trials({"a": batch, "x": jnp.arange(8)}, 0.25, seed=1)[1]
    np.testing.assert_array_equal(again["a"].times, test.times)
    before, after = jax.jit(lambda train: rs.io.split_time(train, 1.5))(first)
    assert (before.t1, after.t0, after.t1) == (1.5, 1.5, 2.0)
    assert before.count + after.count == first.count
    for wrong in (0.0, 1.0, 0.01):
        with pytest.raises(ValueError, match="trials on both sides"):
            rs.io.split_trials(batch, wrong)
    with pytest.raises(ValueError, match="one leading axis"):
        rs.io.split_trials({"a": batch, "x": jnp.arange(3)})
    with pytest.raises(ValueError, match="`seed` must be an integer from 0 on, got -1"):
        rs.io.split_trials(batch, seed=-1)
    unsorted = dataclasses.replace(first, times=first.times[::-1], marks=first.marks[::-1])
    with pytest.raises(ValueError, match="`train` has padding .* before a spike"):
        rs.io.split_time(unsorted, 1.5)


@pytest.mark.parametrize(
    ("times", "options", "message"),
    [
        ((A, [0.3, np.nan]), {}, "Unit 1: a spike time is nan"),
        ((A, [np.inf]), {}, "Unit 1: a spike time is inf"),
        ((A, [0.3, 0.3]), {}, "Unit 1: the spike at 0.3 is there twice"),
        ((A, [0.4, 0.3]), {}, "Unit 1: the spike times are not in order, 0.3 comes after 0.4"),
        ((A, [2.5]), {}, r"Unit 1: the spike at 2.5 lies outside of the recording, \[0.0, 2.0\]"),
        ((A, [[0.3]]), {}, r"Unit 1: the spike times must be a list, got shape \(1, 1\)"),
        ((), {}, "There are no units"),
        ((A, B), {"names": ["a", "a"]}, "2 different ones"),
        ((A, B), {"names": ["a"]}, "2 different ones"),
        ((A, B), {"t1": 0.0}, "`t1` must be larger"),
        ((A, B), {"unit": "h"}, "`unit` must be 's', 'ms' or 'us', got 'h'"),
        ((A, B), {"trials": {"start_time": [0.0]}}, "no column 'stop_time'"),
        ((A, B), {"trials": dict(TRIALS, choice=["left"])}, "must have one length"),
        ((A, B), {"trials": dict(TRIALS, stop_time=[0.0, 2.0])}, "Trial 0 goes from 0.0 to 0.0"),
        ((A, B), {"trials": dict(TRIALS, stop_time=[1.0, np.nan])}, "Trial 1 goes from 1.0 to nan"),
    ],
)
def test_bad_sessions(times, options, message):
    with pytest.raises(ValueError, match=message):
        session(times, **options)


def test_bad_alignment():
    s = session()
    for events, window, message in (
        ("go", (0.0, 1.0), r"no column 'go' of trials; there are \['choice', 'start_time'"),
        ("start_time", (0.0, 1.5), r"window of trial 1, \[1.0, 2.5\], reaches beyond"),
        ("start_time", (-0.1, 0.5), "window of trial 0"),
        (
            "start_time",
            (0.5, 0.5),
            "`window` must be a pair .start, end., the start before the end",
        ),
        ([np.nan], (0.0, 1.0), "event of trial 0 is at nan"),
        ([], (0.0, 1.0), "list of times"),
    ):
        with pytest.raises(ValueError, match=message):
            s.aligned(events, window)
    with pytest.raises(ValueError, match="`max_spikes` is too small"):
        s.aligned("start_time", (0.0, 1.0), max_spikes=1)
    empty = session((A, []))
    assert empty.select([1]).aligned("start_time", (0.0, 1.0)).times.shape == (2, 1)
