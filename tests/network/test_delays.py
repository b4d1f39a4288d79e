"""Spikes that travel: delays of projections, of each neuron and of each synapse."""

import functools
from typing import Any

import diffrax as dfx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import roughsnn as rs

from ..helpers import ENGINES, check_along_a_direction, compilations, smooth

FIRING = rs.StochasticFiring(rs.ExponentialIntensity(beta=5.0), 0.03)
RNG = np.random.default_rng(7)
WEIGHTS = RNG.normal(size=(4, 4)) * 0.5 * (1 - np.eye(4))
EACH = RNG.uniform(0.015, 0.09, (4, 4))
LISTS = rs.SparseWeights([[1, 2], [0, 3], [3, -1], [0, 1]], RNG.normal(size=(4, 2)) * 0.6)
WIDE = RNG.normal(size=(2, 4)) * 0.5
DRIVE = jnp.array([1.9, 1.8, 1.7, 1.6])
TRAIN = rs.SpikeTrain.from_lists([[0.11, 0.3], [0.052, 0.31]], t0=0.0, t1=0.5)


def population(size: int = 4, sigma=(0.2,), **options) -> rs.Population:
    ports = {"syn": rs.synapses.Exponential(0.05)}
    neuron = rs.neurons.LIF(0.07, rs.Subtract(1.0), sigma)
    return rs.Population(size, neuron, FIRING, ports, **options)


def recurrent(weights, delay, **options) -> rs.SpikingNetwork:
    options = dict[str, Any](max_delay=0.2 if delay is not None else None) | options
    own = rs.Projection("n", "n", weights, delay=delay, **options)
    return rs.SpikingNetwork({"n": population()}, [own])


def two(delays) -> rs.SpikingNetwork:
    """Two populations of one structure: all spikes of a neuron arrive at one port, but not when."""
    blocks = {"aa": (0, 0), "ab": (0, 2), "ba": (2, 0), "bb": (2, 2)}
    projections = []
    for (k, (i, j)), d in zip(blocks.items(), delays, strict=True):
        w, longest = WEIGHTS[i : i + 2, j : j + 2], 0.2 if np.any(d) else None
        options: Any = dict(delay=d, max_delay=longest, autapses=i == j)
        projections.append(rs.Projection(k[0], k[1], w, **options))
    return rs.SpikingNetwork({"a": population(2), "b": population(2)}, projections)


def fed_twice(*delays) -> rs.SpikingNetwork:
    """From outside onto two populations of one structure."""
    own = [
        rs.Projection("in", name, WIDE[:, k : k + 2], delay=d, max_delay=0.2)
        for name, k, d in zip("ab", (0, 2), delays, strict=True)
    ]
    parts: Any = {"in": rs.Source(2), "a": population(2), "b": population(2)}
    return rs.SpikingNetwork(parts, own)


def fed(delay) -> rs.SpikingNetwork:
    """From outside, and from one neuron to the next."""
    own = rs.Projection("n", "n", WEIGHTS, delay=0.021, max_delay=0.2)
    return rs.SpikingNetwork(
        {"in": rs.Source(2), "n": population()},
        [rs.Projection("in", "n", WIDE, delay=delay, max_delay=0.2), own],
    )


def layers(first, delay) -> rs.SpikingNetwork:
    """From one population to the next, and back with a delay."""
    there = rs.Projection(first, "n", WEIGHTS, delay=None if first == "a" else delay)
    back = rs.Projection("n", "a", 0.5 * WEIGHTS.T, delay=delay, max_delay=0.2)
    if first == "noise":
        noise = rs.Poisson(4, 20.0)
        return rs.SpikingNetwork({"noise": noise, "n": population()}, [there])
    return rs.SpikingNetwork({"a": population(), "n": population()}, [there, back])


# What a projection may have for delays: a new way is tested by adding a row.
NETWORKS = {
    "one": lambda: recurrent(WEIGHTS, 0.034),
    "rows": lambda: recurrent(WEIGHTS, EACH[0]),
    "each": lambda: recurrent(WEIGHTS, EACH),
    "autapses": lambda: recurrent(WEIGHTS + 0.3 * np.eye(4), 0.034, autapses=True),
    "lists": lambda: recurrent(LISTS, 0.034),
    "lists-rows": lambda: recurrent(LISTS, EACH[0]),
    "lists-each": lambda: recurrent(LISTS, EACH[:, :2]),
    "populations": lambda: two([0.02, 0.034, EACH[0, :2], 0.0]),
    "populations-each": lambda: two([EACH[:2, :2], EACH[:2, 2:], EACH[2:, :2], EACH[2:, 2:]]),
    "layers": lambda: layers("noise", EACH[0]),
    "back": lambda: layers("a", 0.034),
    "source": lambda: fed(0.043),
    "source-each": lambda: fed(EACH[:2]),
    "source-twice": lambda: fed_twice(0.034, 0.047),
}


def simulated(net: rs.SpikingNetwork, engine, dt: float = 0.01, **options):
    window = rs.Window(0.0, 0.5, dt)
    inputs = {"in": TRAIN} if "in" in net.names else {}
    options = dict[str, Any](key=jr.key(5), max_spikes=60, inputs=inputs) | options
    drive = jnp.tile(DRIVE, net.num_neurons // 4)
    return rs.simulate(net, drive, window, engine=engine, **options)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", NETWORKS)
def test_derivatives_are_differences_on_the_same_noise(name, engine):
    """In all parameters at once, the delays among them, along one direction."""
    check_along_a_direction(lambda net: simulated(net, ENGINES[engine]), NETWORKS[name]())


def random_slopes(engine, number: int, h: float = 1e-6):
    """Of random networks with delays and refractory times, as one program: derivatives along a
    random direction, differences on the same noise, whether the same neurons fire, how many."""

    def values(key, s):
        keys = iter(jr.split(key, 16))
        weights, delay, hold, drive, tau = (
            (1 + 0.2 * s * jr.normal(next(keys), shape)) * jr.uniform(next(keys), shape) * (b - a)
            + a
            for shape, a, b in (
                ((4, 4), -1.0, 1.0),
                ((4, 4), 0.012, 0.1),
                ((4,), 0.005, 0.06),
                ((4,), 1.2, 2.5),
                ((), 0.04, 0.1),
            )
        )
        ports = {"syn": rs.synapses.Exponential(0.05)}
        lif = rs.neurons.LIF(tau, rs.Subtract(1.0), (0.2,))
        pop = rs.Population(4, lif, FIRING, ports, refractory=hold)
        own = rs.Projection("n", "n", weights, delay=delay, max_delay=0.2, autapses=True)
        net = rs.SpikingNetwork({"n": pop}, [own])
        sim = rs.simulate(
            net, drive, rs.Window(0.0, 0.4, 0.01), key=next(keys), max_spikes=80, engine=engine
        )
        found, marks = smooth(sim)
        return jnp.sum(found), marks

    def one(key):
        at = lambda s: values(key, s)
        _, slope, marks = jax.jvp(at, (jnp.zeros(()),), (jnp.ones(()),), has_aux=True)
        (up, above), (down, below) = at(h), at(-h)
        same = jnp.all(above == below)
        return slope, (up - down) / (2 * h), same, jnp.sum(marks >= 0)

    return jax.jit(jax.vmap(one))(jr.split(jr.key(11), number))


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
def test_random_networks(engine):
    """Derivatives are differences in 32 of them."""
    slopes, differences, same, spikes = random_slopes(ENGINES[engine], 32)
    assert np.all(same) and np.min(spikes) >= 3
    np.testing.assert_allclose(slopes, differences, rtol=1e-6, atol=2e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_engines_come_together(name):
    """They differ by the second order in dt."""
    net, errors = NETWORKS[name](), []
    for dt in (0.01, 0.00125):
        found = [smooth(simulated(net, engine, dt)) for engine in ENGINES.values()]
        np.testing.assert_array_equal(found[0][1], found[1][1])
        errors.append(np.max(np.abs(found[0][0] - found[1][0])))
    assert errors[1] < errors[0] / 8**1.5, errors


@pytest.mark.slow
def test_a_potential_after_a_delay():
    """Against the response of the membrane, wherever in a cell the spike arrives."""
    for delay in (0.02, 0.0234, 0.2, 0.1999):
        silent = rs.Population(
            1, rs.neurons.LIF(0.07), None, {"syn": rs.synapses.Exponential(0.05)}
        )
        net = rs.SpikingNetwork(
            {"in": rs.Source(1), "out": silent}, [rs.Projection("in", "out", [[0.7]], delay=delay)]
        )
        train = rs.SpikeTrain.from_lists([[0.03]], t0=0.0, t1=0.4)
        for engine in ENGINES.values():
            sim = rs.simulate(
                net,
                jnp.zeros(1),
                rs.Window(0.0, 0.4, 0.01),
                key=jr.key(0),
                max_spikes=1,
                inputs={"in": train},
                engine=engine,
            )
            t = 0.4 - 0.03 - delay
            exact = 0.7 * 0.05 / 0.02 * (np.exp(-t / 0.07) - np.exp(-t / 0.05))
            np.testing.assert_allclose(sim.final.state["out"]["v"][0], exact, rtol=5e-4)


@pytest.mark.slow
@pytest.mark.parametrize("method", ENGINES)
def test_an_arrival_crosses_a_border(method):
    """Values are the same from both sides, and the more so derivatives the shorter cells are."""

    def potential(delay, dt):
        projection = rs.Projection("in", "n", WIDE, delay=delay, max_delay=0.1)
        net = rs.SpikingNetwork({"in": rs.Source(2), "n": population(sigma=None)}, [projection])
        return smooth(simulated(net, ENGINES[method], dt))[0]

    # The first spike of the train is at 0.11: it arrives at the border at 0.15.
    both, jumps = jnp.asarray([0.04 - 1e-8, 0.04 + 1e-8]), []
    for dt in (0.01, 0.0025):
        sides = jax.vmap(
            lambda d, dt=dt: jax.jvp(lambda d: potential(d, dt), (d,), (jnp.ones(()),))
        )
        value, slope = jax.jit(sides)(both)
        change = 1e-8 * (slope[0] + slope[1])
        np.testing.assert_allclose(value[1] - value[0], change, rtol=1e-5, atol=1e-12)
        jumps.append(np.max(np.abs(slope[1] - slope[0])))
    assert jumps[1] < jumps[0] / 3, jumps


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["one", "rows", "each"])
def test_large_weights_as_small_ones(kind):
    """Lists and a matrix of 70 neurons, whose derivative is that of the sum over spikes, and
    differences; with spikes that were on their way at the start."""
    n, rng = 70, np.random.default_rng(0)
    weights = rng.normal(size=(n, n)) * 0.3 * (1 - np.eye(n))
    delay = rng.uniform(0.012, 0.1, {"one": (), "rows": (n,), "each": (n, n)}[kind])
    ports = {"syn": rs.synapses.Exponential(0.05)}
    lif = rs.neurons.LIF(0.07, rs.Subtract(1.0), None)
    of = lambda size: rs.Population(size, lif, FIRING, ports)
    drive = jnp.linspace(2.0, 3.0, n)

    def lists(w):
        columns = np.stack([np.delete(np.arange(n), k) for k in range(n)])
        rows = np.arange(n)[:, None]
        values, own = w[rows, columns], delay if kind != "each" else delay[rows, columns]
        targets = rs.SparseWeights(columns, values)
        return rs.SpikingNetwork({"n": of(n)}, [rs.Projection("n", "n", targets, delay=own)])

    def matrix(w):
        return rs.SpikingNetwork({"n": of(n)}, [rs.Projection("n", "n", w, delay=delay)])

    def run(build, w):
        net, window = build(w), rs.Window(0.0, 0.1, 0.01)
        first = rs.simulate(net, drive, window, key=jr.key(0), max_spikes=200)
        sim = rs.simulate(
            net, drive, window.next(), key=jr.key(0), max_spikes=200, initial=first.final
        )
        return jnp.sum(jnp.sin(sim.final.state["v"]) + sim.final.state["syn"]), sim.spikes.count

    start = jnp.asarray(weights)
    found = [
        jax.jit(jax.value_and_grad(functools.partial(run, build), has_aux=True))(start)
        for build in (lists, matrix)
    ]
    (a, number), da = found[0]
    (b, _), db = found[1]
    assert int(number) > 30
    np.testing.assert_allclose(a, b, rtol=1e-12)
    np.testing.assert_allclose(da, db, rtol=1e-9, atol=1e-12)
    way = jnp.asarray(rng.normal(size=(n, n)) * (1 - np.eye(n)))
    run_along = jax.jit(lambda s: run(matrix, start + s * way)[0])
    difference = (run_along(1e-6) - run_along(-1e-6)) / 2e-6
    np.testing.assert_allclose(jnp.sum(da * way), difference, rtol=1e-6)


@pytest.mark.slow
def test_a_batch_of_delays():
    """Each sample with its own, as one after the other."""
    delays = jnp.array([0.011, 0.05, 0.094])

    @jax.value_and_grad
    def run(d):
        sim = simulated(recurrent(WEIGHTS, d, max_delay=0.1), rs.Lockstep())
        return jnp.sum(smooth(sim)[0])

    values, slopes = jax.jit(jax.vmap(run))(delays)
    for n, d in enumerate(delays):
        value, slope = run(d)
        np.testing.assert_allclose(values[n], value, rtol=1e-12)
        np.testing.assert_allclose(slopes[n], slope, rtol=1e-9)


@pytest.mark.parametrize("engine", ENGINES)
def test_other_numbers_compile_nothing(engine):
    """Delays that differ a little are one program, although shapes depend on the longest."""

    def run(factor):
        own = rs.Projection("n", "n", factor * WEIGHTS, delay=factor * EACH)
        net = rs.SpikingNetwork({"n": population(refractory=factor * 0.01)}, [own])
        return simulated(net, ENGINES[engine]).spikes.times

    first = run(1.0)
    with compilations() as found:
        second = run(0.99)
    assert not found
    assert not np.array_equal(first, second)


@pytest.mark.slow
def test_records_within_cells():
    """States at any time are those of the event engine, up to the second order."""
    ts = jnp.linspace(0.02, 0.49, 301)
    net = NETWORKS["rows"]()
    errors = []
    for dt in (0.01, 0.0025):
        a = simulated(net, rs.Lockstep(record={"v": ts}), dt).states["v"]
        b = simulated(net, rs.EventByEvent(saveat=dfx.SaveAt(ts=ts)), dt).states.ys["v"]
        errors.append(np.max(np.abs(a - b)))
    assert errors[1] < errors[0] / 4**1.5, errors


def test_the_density_of_a_train():
    """Against quadrature: two neurons, the first of which reaches the second after a delay."""
    times, t1, delay, w = [0.1, 0.32, 0.33], 0.5, 0.043, 0.9
    second = [0.21, 0.405]
    neuron = rs.neurons.LIF(0.07, rs.Subtract(1.0))
    pop = rs.Population(
        2,
        neuron,
        rs.StochasticFiring(rs.ExponentialIntensity(beta=3.0), 0.0),
        {"syn": rs.synapses.Exponential(0.05)},
    )
    net = rs.SpikingNetwork(
        {"n": pop}, [rs.Projection("n", "n", [[0.0, w], [0.0, 0.0]], delay=delay)]
    )
    train = rs.SpikeTrain.from_lists([times, second], t0=0.0, t1=t1)
    drive = jnp.array([1.0, 0.8])
    found = rs.clamp(net, drive, train, rs.Window(0.0, t1, 0.0025)).log_likelihood[1]
    grid = np.linspace(0, t1, 200_001)
    v = 0.8 * (1 - np.exp(-grid / 0.07))
    for t in times:
        since = np.maximum(grid - t - delay, 0)
        v += w * 0.05 / 0.02 * (np.exp(-since / 0.07) - np.exp(-since / 0.05))
    for t in second:
        v -= np.where(grid > t + 1e-9, np.exp(-np.maximum(grid - t, 0) / 0.07), 0)
    hazard = np.exp(3.0 * (v - 1.0))
    log_rates = 3.0 * (np.interp(second, grid, v) - 1.0)
    exact = np.sum(log_rates) - np.sum((hazard[1:] + hazard[:-1]) / 2) * (grid[1] - grid[0])
    np.testing.assert_allclose(found, exact, rtol=2e-4)


@pytest.mark.slow
def test_ends_of_other_networks():
    window = rs.Window(0.0, 0.1, 0.01)
    run = lambda net, engine, window, **options: rs.simulate(
        net, DRIVE, window, key=jr.key(0), max_spikes=60, engine=engine, **options
    )
    first = run(NETWORKS["one"](), rs.EventByEvent(), window).final
    with pytest.raises(ValueError, match="it has 40 places .* this one has 3. Give the same"):
        other = rs.EventByEvent(max_pending=3)
        run(NETWORKS["one"](), other, window.next(), initial=first)
    with pytest.raises(ValueError, match="this one has 0"):
        run(recurrent(WEIGHTS, None), rs.EventByEvent(), window.next(), initial=first)
    inputs = {"in": rs.SpikeTrain.from_lists([[0.05], []], t0=0.0, t1=0.1)}
    final = run(NETWORKS["source"](), rs.Lockstep(), window, inputs=inputs).final
    with pytest.raises(ValueError, match=r"\[0\]: with delays of shape \(\), .* of shape \(2, 4\)"):
        run(NETWORKS["source-each"](), rs.Lockstep(), window.next(), initial=final, inputs=inputs)


def test_too_many_on_their_way():
    net = recurrent(WEIGHTS, 0.19)
    with pytest.raises(RuntimeError, match="raise `max_pending`"):
        simulated(net, rs.EventByEvent(max_pending=1))
    with pytest.raises(ValueError, match="`max_pending` must be"):
        rs.EventByEvent(max_pending=0)


@pytest.mark.parametrize("delay", [0.0099, 0.2])
def test_delays_that_leave_their_domain_in_a_program(delay):
    """Shorter than a cell, and longer than the longest."""
    run = lambda d: simulated(recurrent(WEIGHTS, d, max_delay=0.1), rs.Lockstep(), throw=False)
    assert jax.jit(run)(jnp.asarray(0.05)).result == rs.RESULTS.successful
    assert jax.jit(run)(jnp.asarray(delay)).result == rs.RESULTS.parameter_outside
