"""What is said of a simulation that failed, and of those that are left."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import roughsnn as rs


def poisson(rate, neurons):
    firing = rs.StochasticFiring(rs.ExponentialIntensity(0.0, 0.0, 1 / rate))
    return rs.SpikingNetwork(rs.Population(neurons, rs.neurons.LIF(1.0), firing))


def run(rate, dt0, max_spikes, engine, neurons=2, throw=True, number=None):
    one = lambda key: rs.simulate(
        poisson(rate, neurons),
        jnp.ones(neurons),
        rs.Window(0.0, 1.0, dt0),
        max_spikes=max_spikes,
        key=key,
        engine=engine,
        throw=throw,
    )
    return one(jr.key(0)) if number is None else jax.vmap(one)(jr.split(jr.key(0), number))


ENGINES = {"lockstep": rs.Lockstep(), "event": rs.EventByEvent()}
# The rate of two neurons, the length of a cell, the room, and what is said.
CAUSES = {
    "out of capacity": (30.0, 0.005, 20, r"Got 20; at the rate so far (40|80) would be enough"),
    "far too little": (100.0, 0.001, 1, r"Got 1; at the rate so far (128|256) would be enough"),
    "dt0": (60.0, 0.02, 40, r"(fires more often than every other cell|in most cells).*`dt0`"),
}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("case", CAUSES)
def test_overflow_names_its_likelier_cause(case, engine):
    rate, dt0, room, message = CAUSES[case]
    with pytest.raises(RuntimeError, match=message):
        run(rate, dt0, room, ENGINES[engine])


@pytest.mark.slow
def test_what_lockstep_names_is_enough():
    with pytest.raises(RuntimeError) as found:
        run(30.0, 0.005, 8, rs.Lockstep())
    enough = int(str(found.value).split("so far ")[1].split()[0])
    assert int(run(30.0, 0.005, enough, rs.Lockstep()).spikes.count) <= enough


def test_crowded_cells_that_may_be_a_runaway():
    burst = rs.StepPath([0.9, 0.93], [[0.0], [3.0], [0.0]])
    firing = rs.StochasticFiring(rs.ExponentialIntensity(4.0, 1.0, 0.1))
    neuron = rs.neurons.LIF(1 / 50, rs.Subtract(0.0))
    net = rs.SpikingNetwork(rs.Population(1, neuron, firing))
    with pytest.raises(RuntimeError, match="fell behind by several cells"):
        rs.simulate(net, burst, rs.Window(0.0, 1.0, 0.01), max_spikes=999, key=jr.key(0))
    with pytest.raises(RuntimeError, match="in most cells: the activity runs away, or `dt0`"):
        run(60.0, 0.05, 999, rs.Lockstep(), neurons=2)


@pytest.fixture(scope="module")
def some_failed():
    return run(20.0, 0.03, 200, rs.Lockstep(), neurons=1, throw=False, number=400)


@pytest.mark.slow
def test_samples_that_are_left_are_said_to_be_no_fair_sample(some_failed):
    failed = np.asarray(some_failed.result != rs.RESULTS.successful)
    assert 0.02 < failed.mean() < 0.2
    number = f"{failed.sum()} of 400 samples failed \\(crowded_cell: {failed.sum()}\\)"
    with pytest.warns(rs.SelectionWarning, match=number) as found:
        kept = rs.drop_failed(some_failed)
    off = float(str(found[0].message).split("may be off by ")[1].split(",")[0])
    assert off == pytest.approx(failed.mean(), rel=0.05)
    np.testing.assert_array_equal(kept.spikes.times, np.asarray(some_failed.spikes.times)[~failed])
    assert rs.check(kept) is kept
    # They fire less regularly and more rarely than the model: the bias is there, and bounded.
    counts = np.asarray(kept.spikes.count)
    for least in (18, 22, 26):
        exact = 1 - sum(
            np.exp(-20) * 20.0**k / np.prod(np.arange(1.0, k + 1)) for k in range(least)
        )
        error = 3 * (exact * (1 - exact) / len(counts)) ** 0.5
        assert abs(np.mean(counts >= least) - exact) < off + error


def test_nothing_is_said_where_nothing_failed():
    batch = run(20.0, 0.005, 200, rs.Lockstep(), neurons=1, throw=False, number=4)
    assert rs.drop_failed(batch) is batch


def test_what_cannot_be_dropped(some_failed):
    with pytest.raises(TypeError, match="takes what has a `result`.*got a SpikeTrain"):
        rs.drop_failed(some_failed.spikes)
    with pytest.raises(TypeError, match="outside of `jit`"):
        jax.jit(rs.drop_failed)(some_failed)
    one = jax.tree.map(lambda x: x[0], some_failed)
    with pytest.raises(ValueError, match="one axis of samples"):
        rs.drop_failed(one)
    gone = np.flatnonzero(np.asarray(some_failed.result != rs.RESULTS.successful))[:2]
    with pytest.raises(ValueError, match="All 2 samples failed"):
        rs.drop_failed(jax.tree.map(lambda x: x[gone], some_failed))
