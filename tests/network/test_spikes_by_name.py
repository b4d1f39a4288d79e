"""The train of one population of a network."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import roughsnn as rs

from ..helpers import ENGINES
from .test_populations import lif, spikes_of

WINDOW = rs.Window(0.0, 0.5, 0.01, edges=(0.25,))
RUN: Any = dict(window=WINDOW, key=jr.key(2), max_spikes=60)
NETWORK = rs.SpikingNetwork(
    {"in": rs.Source(2), "a": lif(2), "b": lif(3, 0.05)},
    [rs.Projection("in", "b", np.full((2, 3), 0.5)), rs.Projection("a", "b", np.ones((2, 3)))],
)
DRIVE = {"a": jnp.array([1.8, 1.6]), "b": jnp.array([1.7, 0.0, 1.9])}
INPUT = rs.SpikeTrain.from_lists([[0.1], [0.2, 0.3]], t0=0.0, t1=0.5)


def simulated(scale=1.0, **options) -> rs.Simulation:
    drive = {name: scale * c for name, c in DRIVE.items()}
    return rs.simulate(NETWORK, drive, inputs={"in": INPUT}, **(RUN | options))


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
def test_spikes_of_a_population(engine):
    """Sources are not counted, and neurons are numbered within the population."""
    sim = simulated(engine=ENGINES[engine])
    assert sim.spikes.populations == (("a", 2), ("b", 3))
    for name, first, size in (("a", 0, 2), ("b", 2, 3)):
        part = sim.spikes[name]
        wanted = spikes_of(sim, first, size)
        assert part.num_neurons == size and part.times.shape == sim.spikes.times.shape
        for found, times in zip(part.to_lists(), wanted, strict=True):
            np.testing.assert_array_equal(found, times)
        assert int(part.count) == sum(map(len, wanted)) > 0 and not bool(part.overflow)
        assert (part.t0, part.t1, part.populations) == (0.0, 0.5, ())
        np.testing.assert_array_equal(part["neurons"].times, part.times)
    # What the boundary terms need goes with them.
    boundary = sim.spikes["b"].boundary
    assert boundary is not None and sim.spikes.boundary is not None
    np.testing.assert_array_equal(boundary.excess, sim.spikes.boundary.excess[:, 2:])


@pytest.mark.slow
def test_batches():
    """The same as sample by sample, under jit."""
    keys = jr.split(jr.key(0), 4)
    batch = jax.vmap(lambda key: simulated(key=key).spikes)(keys)
    inside = jax.jit(jax.vmap(lambda key: simulated(key=key).spikes["b"]))(keys)
    twice = jax.tree.map(lambda x: x.reshape(2, 2, *x.shape[1:]), batch)["b"]
    part = batch["b"]
    assert part.num_neurons == 3 and part.times.shape == batch.times.shape
    assert twice.times.shape == (2, 2, 60)
    np.testing.assert_array_equal(twice.marks.reshape(4, 60), part.marks)
    for n in range(4):
        one = jax.tree.map(lambda x, n=n: x[n], batch)["b"]
        for x, y in zip(jax.tree.leaves(one), jax.tree.leaves(part), strict=True):
            np.testing.assert_array_equal(x, y[n])
        np.testing.assert_array_equal(inside.marks[n], one.marks)
    assert float(rs.losses.mmd(part, part)) < 1e-6


@pytest.mark.slow
def test_gradients():
    """That of the times of a population, with respect to its input, against differences."""

    def total(scale):
        part = simulated(scale).spikes["b"]
        return jnp.sum(jnp.where(part.marks >= 0, part.times, 0.0))

    value, h = jax.jit(total), 1e-5
    slope = (value(1.0 + h) - value(1.0 - h)) / (2 * h)
    assert abs(float(slope)) > 1e-2
    np.testing.assert_allclose(jax.jit(jax.grad(total))(1.0), slope, rtol=1e-6)


@pytest.mark.slow
def test_boundary_terms():
    """Counts jump; the correction for that of a population is that of the whole train."""

    def count(train, neuron):
        return rs.losses.with_boundary(lambda x: x.counts()[neuron].astype(float), train)

    whole = jax.grad(lambda s: count(simulated(s).spikes, 2))(1.0)
    part = jax.grad(lambda s: count(simulated(s).spikes["b"], 0))(1.0)
    assert abs(float(whole)) > 1e-3
    np.testing.assert_allclose(part, whole, rtol=1e-9)


@pytest.mark.slow
def test_trains_keep_their_names():
    """Where neurons stay those that they were."""
    train = simulated().spikes
    for kept in (
        train.first(3),
        train.with_room(90),
        train.window(0.1, 0.4),
        train.with_spike(4),
        train.in_frame(rs.Window(1.0, 1.5, 0.01)),
        train.complete(),
        rs.SpikeTrain.stack([train, train]),
    ):
        assert kept.populations == train.populations
        assert kept["b"].num_neurons == 3
    assert int(train.with_spike(4)["b"].count) == int(train["b"].count) + 1
    plain = dataclasses.replace(train, populations=())
    for dropped in (
        train.only([0, 3]),
        train.merged([0, 0, 1, 1, 1]),
        train.local(),
        rs.SpikeTrain.stack([train, plain]),
    ):
        assert dropped.populations == ()
    assert bool(train.equals(plain)) and bool(plain.equals(train))
    # What was cut off is missing in each.
    short = simulated(max_spikes=3, throw=False).spikes
    assert bool(short.overflow) and bool(short["a"].overflow) and bool(short["b"].overflow)
    assert int(short["a"].count) + int(short["b"].count) == int(np.sum(short.marks >= 0))
    assert not bool(short.first(2)["a"].overflow)


@pytest.mark.slow
def test_what_else_returns_spikes():
    firing = rs.StochasticFiring(rs.SoftplusIntensity(5.0), 0.03)
    synapse = {"syn": rs.synapses.Exponential(0.05)}
    kind = lambda n: rs.Population(n, rs.neurons.LIF(0.07), firing, synapse)
    net = rs.SpikingNetwork({"a": kind(1), "b": kind(2)})
    train = rs.SpikeTrain.from_lists([[0.1], [0.2], [0.3]], t0=0.0, t1=0.5)
    clamped = rs.clamp(net, jnp.ones(3), train, rs.Window(0.0, 0.5, 0.01))
    assert [x.tolist() for x in clamped.spikes["b"].to_lists()] == [[0.2], [0.3]]
    own = rs.Projection("b", "b", np.zeros((2, 2)))
    net = rs.SpikingNetwork({"b": kind(2)}, [own])
    run = RUN | dict(window=rs.Window(0.0, 0.2, 0.01))
    assert rs.eligibility(net, jnp.ones(2), **run).spikes["b"].num_neurons == 2


def test_a_population_without_a_name():
    net = rs.SpikingNetwork(lif(2))
    train = rs.simulate(net, jnp.full(2, 1.8), **RUN).spikes
    assert train.populations == () == net.sizes
    np.testing.assert_array_equal(train["neurons"].times, train.times)
    # As a recorded one, so that both can go together.
    assert jax.tree.structure(train.first(2)) == jax.tree.structure(INPUT.first(2))


def test_mistakes_are_named():
    train = simulated().spikes
    with pytest.raises(KeyError, match="'c' is no population of the train; there are 'a', 'b'"):
        train["c"]
    with pytest.raises(KeyError, match="'in' is no population"):
        train["in"]
    with pytest.raises(KeyError, match="there are 'neurons', which are all"):
        INPUT["a"]
    wrong: Any = 0
    with pytest.raises(TypeError, match="indexed by the name of a population, got 0"):
        train[wrong]
    with pytest.raises(ValueError, match="must have 5 neurons in all"):
        dataclasses.replace(train, populations=(("a", 2),))


def test_populations_as_one_neuron_each():
    """Multi-unit activity by population, with the derivatives of the counts."""
    train = simulated().spikes
    merged = train.merged()
    assert merged.populations == (("a", 1), ("b", 1)) and merged.num_neurons == 2
    np.testing.assert_array_equal(merged.times, train.times)
    for n, name in enumerate(("a", "b")):
        assert int(merged.counts()[n]) == int(train[name].count)
    boundary, own = train.boundary, merged.boundary
    assert boundary is not None and own is not None
    excess = np.where(boundary.at_risk, boundary.excess, 0)
    np.testing.assert_allclose(
        own.excess, np.stack([excess[:, :2].sum(1), excess[:, 2:].sum(1)], 1)
    )
    risk = np.asarray(boundary.at_risk)
    np.testing.assert_array_equal(
        own.at_risk, np.stack([risk[:, :2].any(1), risk[:, 2:].any(1)], 1)
    )
    some = jnp.array([[True, False, False, True, False]] * 2)
    partly = dataclasses.replace(train, boundary=rs.Boundary(jnp.ones((2, 5)), some, boundary.ts))
    found = partly.merged().boundary
    assert found is not None
    np.testing.assert_array_equal(found.excess, [[1, 1]] * 2)
    np.testing.assert_array_equal(found.at_risk, [[True, True]] * 2)
    alone = dataclasses.replace(train, populations=())
    assert alone.merged().num_neurons == 1 and alone.merged().populations == ()
