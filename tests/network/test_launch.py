"""Spikes sent on their way where each synapse has a delay of its own: in large networks, and here
in small ones too."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import roughsnn as rs
from roughsnn._engine import launch, samples

from ..helpers import ENGINES, in_float32, set_limit, smooth

N, LONGEST = 12, 0.1
FIRING = rs.StochasticFiring(rs.ExponentialIntensity(beta=5.0), 0.03)
RNG = np.random.default_rng(3)
WEIGHTS = RNG.normal(size=(N, N)) * 0.4 * (1 - np.eye(N))
EACH = RNG.uniform(0.012, 0.09, (N, N))
# At the shortest and at the longest that there may be.
EACH[0], EACH[1] = 0.01, LONGEST
TARGETS = np.stack([RNG.choice(np.delete(np.arange(N), k), 5, replace=False) for k in range(N)])
# One synapse has no target, and a weight.
PRESENT = np.where(np.arange(TARGETS.size).reshape(TARGETS.shape) == 7, -1, TARGETS)
LISTS = rs.SparseWeights(PRESENT, np.take_along_axis(WEIGHTS, TARGETS, 1))
DRIVE = np.linspace(1.4, 2.2, N)


@pytest.fixture(autouse=True)
def all_are_launched(monkeypatch):
    set_limit(monkeypatch, launch, "_FEW_SYNAPSES", 0)


def population(size: int = N, **options: Any) -> rs.Population:
    ports = {"syn": rs.synapses.Exponential(0.05)}
    return rs.Population(size, rs.neurons.LIF(0.07, rs.Subtract(1.0), (0.2,)), FIRING, ports)


def own(weights, delay, **options: Any) -> rs.SpikingNetwork:
    synapses = rs.Projection("n", "n", weights, delay=delay, max_delay=LONGEST)
    return rs.SpikingNetwork({"n": population()}, [synapses])


def mixed() -> rs.SpikingNetwork:
    """Onto one port: one delay for each synapse twice, for each neuron, and none."""
    half, delays = N // 2, [EACH[:6, :6], EACH[:6, 6:], EACH[6:, 0], None]
    projections = []
    for n, delay in enumerate(delays):
        i, j = half * (n // 2), half * (n % 2)
        options: Any = {} if delay is None else dict(max_delay=LONGEST)
        weights = WEIGHTS[i : i + half, j : j + half]
        projections.append(
            rs.Projection("ab"[n // 2], "ab"[n % 2], weights, delay=delay, **options)
        )
    return rs.SpikingNetwork({"a": population(half), "b": population(half)}, projections)


NETWORKS = {
    "matrix": lambda: own(WEIGHTS, EACH),
    "lists": lambda: own(LISTS, np.take_along_axis(EACH, TARGETS, 1)),
    "mixed": mixed,
}


def simulated(net, engine=None, *, t1: float = 0.4, dt: float = 0.01, **options: Any):
    engine = rs.Lockstep() if engine is None else engine
    options = dict[str, Any](key=jr.key(5), max_spikes=200) | options
    drive = options.pop(
        "drive", jnp.asarray(DRIVE, net["n" if "n" in net.names else "a"].neuron.tau.dtype)
    )
    return rs.simulate(net, drive, rs.Window(0.0, t1, dt), engine=engine, **options)


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_engines_come_together(name):
    net, errors = NETWORKS[name](), []
    for dt in (0.01, 0.0025):
        found = [smooth(simulated(net, engine, t1=0.2, dt=dt)) for engine in ENGINES.values()]
        # As many of each neuron: two of different ones may be so close that they change places.
        first, second = (np.sort(marks) for _, marks in found)
        np.testing.assert_array_equal(first, second)
        errors.append(np.max(np.abs(found[0][0] - found[1][0])))
    assert errors[1] < errors[0] / 4**1.5, errors


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "t1", "in_turn"),
    [
        *(("matrix", 0.4, True), ("lists", 0.4, True), ("mixed", 0.394, True)),
        *(("lists", 0.4, False), ("mixed", 0.394, False)),
    ],
)
def test_as_if_all_synapses_were_looked_at(name, t1, in_turn, monkeypatch):
    """To rounding: spikes, states and all derivatives, also with a shorter last cell, and as other
    devices than a CPU do it."""
    set_limit(monkeypatch, samples, "_IN_TURN", in_turn)
    parameters, rest = eqx.partition((NETWORKS[name](), jnp.asarray(DRIVE)), eqx.is_inexact_array)

    def run(parameters):
        net, drive = eqx.combine(parameters, rest)
        # There is no end from which to go on where the last cell is shorter.
        record = {name: {"v": "last"} for name in net.names}
        sim = simulated(net, rs.Lockstep(record=record), t1=t1, drive=drive)
        times = jnp.where(sim.spikes.marks >= 0, sim.spikes.times, 0)
        states = sum(jnp.sum(jnp.sin(x)) for x in jax.tree.leaves(sim.states))
        return jnp.sum(jnp.cos(3 * times)) + states, sim.spikes.marks

    both = []
    for few in (0, 10**6):
        set_limit(monkeypatch, launch, "_FEW_SYNAPSES", few)
        both.append(jax.jit(lambda p: jax.value_and_grad(run, has_aux=True)(p))(parameters))
    ((a, marks), da), ((b, _), db) = both
    assert np.sum(np.asarray(marks) >= 0) >= 30
    np.testing.assert_allclose(a, b, rtol=1e-12)
    for x, y in zip(*map(jax.tree.leaves, (da, db)), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-8, atol=1e-10)


@pytest.mark.slow
@pytest.mark.parametrize("part", ["weights", "delay", "drive", "all"])
@pytest.mark.parametrize("name", ["matrix", "lists"])
def test_derivatives_are_differences(name, part):
    """Forward and reverse, in weights, in delays, and in what moves the spikes."""
    net = NETWORKS[name]()
    rng, h = np.random.default_rng(1), 1e-6
    held: Any = net.projections[0]
    inner = held.weights.values if name == "lists" else held.weights
    # Those at the ends of their domain stay there.
    inside = (held.delay > 0.01) & (held.delay < LONGEST)
    parameters = {"weights": inner, "delay": held.delay, "drive": jnp.asarray(DRIVE)}
    way = {
        key: jnp.asarray(0.2 * np.abs(x) * rng.normal(size=x.shape) * float(part in (key, "all")))
        for key, x in parameters.items()
    }
    way["delay"] = jnp.where(inside, way["delay"], 0)

    def values(p):
        weights = p["weights"]
        if name == "lists":
            weights = eqx.tree_at(lambda w: w.values, held.weights, weights)
        now = eqx.tree_at(
            lambda n: (n.projections[0].weights, n.projections[0].delay), net, (weights, p["delay"])
        )
        found, marks = smooth(simulated(now, drive=p["drive"]))
        return jnp.sum(jnp.sin(found)), marks

    at = jax.jit(lambda s: values(jax.tree.map(lambda x, d: x + s * d, parameters, way)))
    (up, above), (down, below) = at(h), at(-h)
    np.testing.assert_array_equal(above, below)
    assert np.sum(np.asarray(above) >= 0) >= 30
    difference = (up - down) / (2 * h)
    assert abs(difference) > 1e-3
    _, forward = jax.jit(lambda: jax.jvp(lambda p: values(p)[0], (parameters,), (way,)))()
    slopes = jax.jit(jax.grad(lambda p: values(p)[0]))(parameters)
    reverse = sum(jnp.sum(slopes[key] * way[key]) for key in way)
    np.testing.assert_allclose(forward, difference, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(reverse, forward, rtol=1e-9, atol=1e-12)


@pytest.mark.slow
def test_an_arrival_crosses_a_border():
    """The value is the same from both sides, as a delay moves an arrival over it, and the delays
    are at least a cell."""
    net = own(WEIGHTS, EACH)
    where = lambda n: n.projections[0].delay
    first = simulated(net).spikes
    time, k = float(first.times[0]), int(first.marks[0])
    # To the border of the fourth cell behind it.
    delay = (np.floor(time / 0.01) + 4) * 0.01 - time

    def outcome(d):
        target = (k + 1) % N
        now = eqx.tree_at(where, net, where(net).at[k, target].set(d))
        return jnp.sum(jnp.sin(smooth(simulated(now))[0]))

    both = jnp.asarray([delay - 1e-8, delay + 1e-8])
    value, slope = jax.jit(jax.vmap(jax.value_and_grad(outcome)))(both)
    np.testing.assert_allclose(value[1] - value[0], 1e-8 * jnp.sum(slope), rtol=1e-4, atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", NETWORKS)
def test_two_windows_are_the_whole_bit_for_bit(name, dtype):
    net = in_float32(NETWORKS[name]()) if dtype == "float32" else NETWORKS[name]()
    whole = simulated(net).final
    for cuts in ((0.17, 0.23), (0.01, 0.35, 0.04)):
        initial, start = None, 0.0
        drive = jnp.asarray(DRIVE, net["n" if "n" in net.names else "a"].neuron.tau.dtype)
        for length in cuts:
            window = rs.Window(0.0, length, 0.01, origin=start)
            sim = rs.simulate(net, drive, window, key=jr.key(5), max_spikes=200, initial=initial)
            initial, start = sim.final, start + length
        assert initial is not None and int(jnp.sum(whole.counts)) >= 30
        for a, b in zip(*map(jax.tree.leaves, (whole, initial)), strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.slow
def test_derivatives_through_two_windows():
    """In weights and delays, by spikes that were on their way."""

    def run(weights, delay, cuts):
        net, initial, start, total = own(weights, delay), None, 0.0, 0.0
        for length in cuts:
            window = rs.Window(0.0, length, 0.01, origin=start)
            sim = rs.simulate(net, DRIVE, window, key=jr.key(5), max_spikes=200, initial=initial)
            initial, start = sim.final, start + length
            total = jnp.sum(jnp.sin(sim.final.state["v"]))
        return total

    slopes = [
        jax.jit(jax.grad(lambda w, d, cuts=cuts: run(w, d, cuts), (0, 1)))(
            jnp.asarray(WEIGHTS), jnp.asarray(EACH)
        )
        for cuts in ((0.4,), (0.17, 0.23))
    ]
    for a, b in zip(*slopes, strict=True):
        assert np.max(np.abs(a)) > 1e-2
        np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("shared", [True, False])
def test_a_batch_is_one_after_the_other(shared):
    """Over keys, with weights and delays that are shared or not."""

    @jax.jit
    def run(key, weights, delay):
        sim = simulated(own(weights, delay), key=key)
        return jnp.sum(jnp.sin(smooth(sim)[0]))

    slopes, keys = jax.value_and_grad(run, (1, 2)), jr.split(jr.key(1), 3)
    scale = jnp.ones(3) if shared else jnp.array([1.0, 0.9, 1.1])
    delay = jnp.clip(jnp.asarray(EACH), 0.012, 0.09)
    weights = [s * WEIGHTS for s in scale]
    delays = [s * delay for s in scale]
    axes = (0, None, None) if shared else (0, 0, 0)
    given = (weights[0], delays[0]) if shared else (jnp.stack(weights), jnp.stack(delays))
    found = jax.jit(jax.vmap(slopes, axes))(keys, *given)
    for n in range(3):
        one = jax.tree.leaves(slopes(keys[n], weights[n], delays[n]))
        for a, b in zip(jax.tree.leaves(found), one, strict=True):
            np.testing.assert_allclose(a[n], b, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("size", [12, 150])
def test_all_fire_in_one_cell(size, monkeypatch):
    """Each neuron, by a drive without noise: as if all synapses were looked at."""
    rng = np.random.default_rng(0)
    weights, delay = rng.normal(size=(size, size)) * 0.1, rng.uniform(0.01, 0.05, (size, size))
    lif = rs.neurons.LIF(0.07, rs.Subtract(1.0), None)
    pop = rs.Population(size, lif, rs.HardThreshold(1.0), {"syn": rs.synapses.Exponential(0.05)})

    def run(weights, delay, drive):
        synapses = rs.Projection("n", "n", weights, delay=delay, max_delay=0.06, autapses=True)
        net = rs.SpikingNetwork({"n": pop}, [synapses])
        window = rs.Window(0.0, 0.09, 0.01)
        sim = rs.simulate(net, drive, window, key=jr.key(0), max_spikes=4 * size)
        found = jnp.sum(jnp.sin(sim.final.state["v"]) + sim.final.state["syn"])
        return found, jnp.max(jnp.histogram(sim.spikes.times, 9, (0.0, 0.09))[0])

    drive, both = jnp.linspace(2.6, 2.7, size), []
    for few in (0, 10**6):
        set_limit(monkeypatch, launch, "_FEW_SYNAPSES", few)
        program = jax.jit(lambda *xs: jax.value_and_grad(run, (0, 1, 2), has_aux=True)(*xs))
        both.append(program(jnp.asarray(weights), jnp.asarray(delay), drive))
    assert int(both[0][0][1]) >= size
    for a, b in zip(*map(jax.tree.leaves, both), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11)


def test_second_derivatives():
    """Along a direction in weights, delays and drive: differences of the first."""
    rng, start = np.random.default_rng(2), (jnp.asarray(WEIGHTS), jnp.asarray(EACH), DRIVE)
    start = (start[0], jnp.clip(start[1], 0.012, 0.09), jnp.asarray(DRIVE))
    way = tuple(0.1 * np.abs(x) * rng.normal(size=x.shape) for x in start)

    def run(weights, delay, drive):
        sim = simulated(own(weights, delay), t1=0.15, drive=drive)
        return jnp.sum(jnp.sin(sim.final.state["v"]))

    def slope(s):
        at = lambda s: run(*(x + s * d for x, d in zip(start, way, strict=True)))
        return jax.jvp(at, (s,), (jnp.ones(()),))[1]

    value = jax.jit(slope)
    second = jax.jit(lambda s: jax.jvp(slope, (s,), (jnp.ones(()),))[1])(jnp.zeros(()))
    difference = (value(1e-6) - value(-1e-6)) / 2e-6
    assert abs(second) > 1e-3
    np.testing.assert_allclose(second, difference, rtol=1e-5)


def test_records_within_cells(monkeypatch):
    """As if all synapses were looked at."""
    ts, found = jnp.linspace(0.013, 0.39, 21), []
    for few in (0, 10**6):
        set_limit(monkeypatch, launch, "_FEW_SYNAPSES", few)
        sim = simulated(own(WEIGHTS, EACH), rs.Lockstep(record={"v": ts}))
        found.append(sim.states["v"])
    np.testing.assert_allclose(found[0], found[1], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("value", [0.0099, 0.1001])
def test_delays_that_leave_their_domain(value):
    """Shorter than a cell, and longer than the longest: nothing comes round in silence."""
    delay = jnp.clip(jnp.asarray(EACH), 0.012, 0.09)
    run = jax.jit(lambda d: simulated(own(WEIGHTS, d), throw=False).result)
    assert run(delay) == rs.RESULTS.successful
    assert run(delay.at[3, 4].set(value)) == rs.RESULTS.parameter_outside
