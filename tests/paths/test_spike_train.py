from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import roughsnn as rs
from roughsnn._train.marks import count_by_mark, sum_by_mark

LISTS = [[0.1, 0.5], [], [0.2, 0.3, 0.9]]


def make(lists=LISTS, **options):
    return rs.SpikeTrain.from_lists(lists, t0=0.0, t1=1.0, **options)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.lists(st.floats(0, 1, width=32), max_size=6).map(sorted), min_size=1, max_size=4),
    st.integers(0, 5),
)
def test_lists_survive_the_round_trip(lists, extra):
    total = sum(map(len, lists))
    train = make(lists, max_spikes=max(total + extra, 1))
    for got, expected in zip(train.to_lists(), lists, strict=True):
        np.testing.assert_array_equal(got, expected)
    assert int(train.count) == total
    np.testing.assert_array_equal(train.counts(), [len(x) for x in lists])
    assert np.all(np.diff(np.asarray(train.times)[:total]) >= 0)


def test_window_first_neuron_per_neuron():
    train = make(max_spikes=8)
    np.testing.assert_array_equal(train.window(0.2, 0.5).to_lists()[2], [0.2, 0.3])
    assert int(train.window(0.2, 0.5).count) == 2
    assert int(train.window(0.5, 1.0).count) == 2
    np.testing.assert_array_equal(train.first(2).times, [0.1, 0.2])
    expected = [[0.1, 0.5], [np.inf, np.inf], [0.2, 0.3]]
    np.testing.assert_array_equal(train.per_neuron(2), expected)


def test_only_some_neurons():
    train = make(max_spikes=8)
    for neurons in ([2], [2, 0], [1, 2, 0]):
        # As a subset that is drawn in each step of a fit.
        traced = jax.jit(lambda n: train.only(n))(jnp.array(neurons))
        for part in (train.only(neurons), traced):
            assert part.num_neurons == len(neurons) and part.times.shape == (8,)
            assert part.marks.dtype == train.marks.dtype
            assert int(part.count) == sum(len(LISTS[n]) for n in neurons)
            for found, n in zip(part.to_lists(), neurons, strict=True):
                np.testing.assert_array_equal(found, LISTS[n])
    counted = train.only([0, 2], max_spikes=5)
    assert counted.times.shape == (5,) and not bool(counted.overflow)
    assert train.only([0, 2], max_spikes=20).equals(counted)
    with pytest.raises(ValueError, match="spikes missing"):
        train.only([0, 2], max_spikes=4).complete()
    assert int(train.only([0, 2], max_spikes=4).count) == 4


def test_a_batch_is_refused_where_one_train_is_meant():
    batch = rs.SpikeTrain.stack([make(), make()])
    wrong: list[Any] = [
        lambda: batch.only([0]),
        lambda: batch.window(0.0, 0.5),
        lambda: batch.per_neuron(1),
    ]
    for call in wrong:
        with pytest.raises(ValueError, match="for one train, got a batch of shape .*jax.vmap"):
            call()


def test_a_spike_at_t1_belongs_to_the_last_window():
    assert int(make([[1.0]]).window(0.5, 1.0).count) == 1


def test_equality_ignores_padding():
    assert bool(make().equals(make(max_spikes=9)))
    assert not bool(make().equals(make([[0.1, 0.5], [], [0.2, 0.3]])))
    assert not bool(make().equals(make([[0.1, 0.5], [0.2], [0.3, 0.9]])))
    assert not bool(make().equals(make().window(0.0, 0.95)))


def test_batches():
    batch = rs.SpikeTrain.stack([make(), make([[0.4], [], []])])
    assert batch.times.shape == (2, 5)
    np.testing.assert_array_equal(jax.vmap(lambda s: s.counts())(batch), [[2, 0, 3], [1, 0, 0]])
    np.testing.assert_array_equal(batch.to_lists()[1][0], [0.4])


def test_times_are_differentiable_through_selections():
    def last_time(shift):
        train = make()
        moved = rs.SpikeTrain(
            train.times + shift, train.marks, train.count, train.overflow, 0.0, 1.0, 3
        )
        return moved.window(0.25, 0.95).times[2]

    assert float(jax.grad(last_time)(jnp.asarray(0.0))) == 1.0


@pytest.mark.parametrize(
    ("lists", "options", "match"),
    [
        ([[0.5, 0.1]], {}, r"`times\[0\]` must be in increasing order"),
        ([[0.5], [1.5]], {}, r"`times\[1\]` must lie in"),
        ([[-0.1]], {}, "must lie in"),
        ([[np.nan]], {}, "must be finite"),
        ([[[0.1]]], {}, "must be a list of spike times"),
        ([], {}, "one list of spike times for each neuron"),
        ([[0.1, 0.2]], {"max_spikes": 1}, "`max_spikes` is too small: got 1, the train has 2"),
        ([[0.1]], {"max_spikes": 0}, "`max_spikes` must be a positive integer"),
    ],
)
def test_bad_lists(lists, options, match):
    with pytest.raises(ValueError, match=match):
        make(lists, **options)


def test_bad_windows():
    with pytest.raises(ValueError, match="must lie inside"):
        make().window(0.5, 2.0)
    with pytest.raises(ValueError, match="`t1` must be larger"):
        make().window(0.5, 0.5)
    with pytest.raises(ValueError, match="must share"):
        rs.SpikeTrain.stack([make(), make([[0.1]])])
    for neurons in ([3], [0, 0], [-1]):
        with pytest.raises(ValueError, match="different numbers in 0 ... 2"):
            make().only(neurons)
    bad: list[Any] = [[], 1, [0.5]]
    for neurons in bad:
        with pytest.raises(ValueError, match="list of integers"):
            make().only(neurons)


def test_a_train_with_spikes_missing_is_refused():
    train = make()
    cut = rs.SpikeTrain(train.times, train.marks, train.count, jnp.array(True), 0.0, 1.0, 3)
    with pytest.raises(ValueError, match="spikes missing"):
        cut.complete()
    assert not bool(cut.first(5).overflow)
    assert bool(cut.first(6).overflow)


def test_merged_trains_hold_the_spikes_of_all_neurons_of_a_group():
    train = rs.SpikeTrain.from_lists([[0.1, 0.5], [0.2], [0.3]], t0=0.0, t1=1.0, max_spikes=6)
    merged = train.merged([1, 0, 1])
    assert merged.num_neurons == 2
    found = [np.asarray(z).tolist() for z in merged.to_lists()]
    np.testing.assert_allclose(found[0], [0.2])
    np.testing.assert_allclose(found[1], [0.1, 0.3, 0.5])
    for bad in ([0, 1], [0.0, 1.0, 1.0], [0, -1, 1]):
        with pytest.raises(ValueError, match="`groups` must"):
            train.merged(bad)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("neurons", [5, 3000])
def test_sums_by_neuron(neurons):
    """Few spikes and neurons go another way than many."""
    rng = np.random.default_rng(neurons)
    marks = rng.integers(0, neurons, 200).astype(np.int32)
    marks[::7] = -1
    values = rng.normal(size=(200, 3))
    expected = np.zeros((neurons, 3))
    np.add.at(expected, marks[marks >= 0], values[marks >= 0])
    found = jax.jit(sum_by_mark, static_argnums=2)(values, marks, neurons)
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)
    number = np.bincount(marks[marks >= 0], minlength=neurons)
    np.testing.assert_array_equal(count_by_mark(jnp.asarray(marks), neurons), number)
    slope = jax.grad(lambda v: jnp.sum(sum_by_mark(v, jnp.asarray(marks), neurons) ** 2))
    np.testing.assert_allclose(
        slope(jnp.asarray(values)),
        np.where(marks[:, None] >= 0, 2 * expected[marks], 0),
        atol=1e-12,
    )
