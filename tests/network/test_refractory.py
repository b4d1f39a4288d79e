"""Refractory times: for so long after a spike there is no other."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from scipy import stats

import roughsnn as rs

from ..helpers import ENGINES, smooth

WEIGHTS = np.array([[0.0, 0.9, -0.5], [0.6, 0.0, 0.7], [-0.4, 0.8, 0.0]])


def network(refractory, *, hard=False, sigma=(0.25,), weights=WEIGHTS):
    rule = (
        rs.HardThreshold(1.0)
        if hard
        else rs.StochasticFiring(rs.ExponentialIntensity(beta=5.0), 0.03)
    )
    ports = {"syn": rs.synapses.Exponential(0.05)}
    neuron = rs.neurons.LIF(0.07, rs.Subtract(1.0), None if hard else sigma)
    pop = rs.Population(3, neuron, rule, ports, refractory=refractory)
    return rs.SpikingNetwork(pop, weights=weights)


DRIVE = jnp.array([1.7, 1.6, 1.5])


@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("refractory", [0.004, 0.05, 0.053])
@pytest.mark.parametrize("engine", ENGINES)
def test_derivatives_are_differences_on_the_same_noise(engine, refractory, hard):
    """In the refractory times, shorter and longer than a cell, and in weights and drive."""
    way = jr.normal(jr.key(0), (3,)), jr.normal(jr.key(1), (3, 3)), jr.normal(jr.key(2), (3,))

    @jax.jit
    def along(s):
        def moved(s):
            hold = refractory * (1 + 0.2 * s * way[0])
            weights = WEIGHTS * (1 + 0.2 * s * way[1])
            net = network(hold, hard=hard, weights=weights)
            drive = DRIVE + 0.2 * s * way[2]
            window = rs.Window(0.0, 0.5, 0.01)
            return smooth(
                rs.simulate(
                    net, drive, window, key=jr.key(5), max_spikes=80, engine=ENGINES[engine]
                )
            )

        return jax.vmap(lambda s: jax.jvp(moved, (s,), (jnp.ones_like(s),)))(s)

    (value, marks), (slope, _) = along(jnp.array([-1e-6, 0.0, 1e-6]))
    assert np.sum(np.asarray(marks[1]) >= 0) >= 8
    np.testing.assert_array_equal(marks[0], marks[2])
    np.testing.assert_allclose(slope[1], (value[2] - value[0]) / 2e-6, rtol=1e-6, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("refractory", [0.0041, 0.053])
def test_engines_come_together(refractory):
    errors = []
    for dt in (0.01, 0.0025):
        found = [
            smooth(
                rs.simulate(
                    network(refractory),
                    DRIVE,
                    rs.Window(0.0, 0.5, dt),
                    key=jr.key(5),
                    max_spikes=80,
                    engine=engine,
                )
            )
            for engine in ENGINES.values()
        ]
        np.testing.assert_array_equal(found[0][1], found[1][1])
        errors.append(np.max(np.abs(found[0][0] - found[1][0])))
    assert errors[1] < errors[0] / 4**1.3, errors


@pytest.mark.parametrize("engine", ENGINES)
def test_a_refractory_poisson_process(engine):
    """Intervals are the refractory time and an exponential one."""
    rate, hold = 20.0, 0.03
    constant = rs.ExponentialIntensity(beta=0.0, timescale=1 / rate)
    pop = rs.Population(
        200, rs.neurons.LIF(0.07), rs.StochasticFiring(constant, 0.0), refractory=hold
    )
    sim = rs.simulate(
        rs.SpikingNetwork(pop),
        jnp.zeros(200),
        rs.Window(0.0, 2.0, 0.02),
        key=jr.key(0),
        max_spikes=8000,
        engine=ENGINES[engine],
    )
    times, marks = np.asarray(sim.spikes.times), np.asarray(sim.spikes.marks)
    intervals = []
    for n in range(200):
        own = times[marks == n]
        # The first eight: the later ones of a window are short ones.
        intervals.append(np.diff(own)[:8])
    intervals = np.concatenate(intervals)
    assert len(intervals) > 1500
    assert np.min(intervals) >= hold
    assert stats.kstest(intervals - hold, "expon", (0, 1 / rate)).pvalue > 0.01


@pytest.mark.parametrize("engine", ENGINES)
def test_a_neuron_that_waits_for_the_end(engine):
    """Driven so much that it is above threshold when it is free: it fires just then."""

    def times(hold):
        pop = rs.Population(
            1, rs.neurons.LIF(0.07, rs.Subtract(1.0)), rs.HardThreshold(1.0), refractory=hold
        )
        sim = rs.simulate(
            rs.SpikingNetwork(pop),
            jnp.array([30.0]),
            rs.Window(0.0, 0.3, 0.01),
            key=jr.key(0),
            max_spikes=20,
            engine=ENGINES[engine],
        )
        return sim.spikes.times[:5], sim.spikes.count

    hold = 0.047
    found, number = times(hold)
    assert int(number) == 7
    np.testing.assert_allclose(np.diff(found), hold, rtol=1e-9)
    slopes = jax.jacfwd(lambda hold: times(hold)[0])(jnp.asarray(hold))
    np.testing.assert_allclose(slopes, np.arange(5.0), atol=1e-9)


@pytest.mark.parametrize(("engine", "error"), [("event", 1e-12), ("lockstep", 2e-5)])
def test_free_just_before_the_threshold(engine, error):
    """In the cell in which the refractory time ends."""
    tau, c = 0.07, 1.96
    pop = rs.Population(
        1, rs.neurons.LIF(tau, rs.Subtract(1.0)), rs.HardThreshold(1.0), refractory=0.047
    )
    sim = rs.simulate(
        rs.SpikingNetwork(pop),
        jnp.array([c]),
        rs.Window(0.0, 0.4, 0.01),
        key=jr.key(0),
        max_spikes=20,
        engine=ENGINES[engine],
    )
    exact = tau * np.log(c / (c - 1)) * np.arange(1, 8)
    np.testing.assert_allclose(sim.spikes.times[:7], exact, rtol=0, atol=error)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("refractory", "strong"), [(0.021, 4), (0.004, 2.5)])
def test_no_two_spikes_are_nearer(engine, refractory, strong):
    """Also where a neuron fires more than once in a cell."""
    net, window = network(refractory, sigma=(0.8,)), rs.Window(0.0, 0.5, 0.01)
    run = lambda key: (
        rs.simulate(
            net, strong * DRIVE, window, key=key, max_spikes=400, engine=ENGINES[engine]
        ).spikes
    )
    trains = jax.jit(jax.vmap(run))(jr.split(jr.key(1), 20))
    nearest = np.inf
    for times, marks in zip(np.asarray(trains.times), np.asarray(trains.marks), strict=True):
        for n in range(3):
            nearest = min(nearest, *np.diff(np.sort(times[marks == n])).tolist())
    assert refractory * (1 - 1e-9) <= nearest < 1.3 * refractory


@pytest.mark.slow
def test_the_variance_of_the_derivative_stays():
    """A potential that were clamped would have a variance that grows as cells become short."""

    def slope(key, cells):
        def last(c):
            sim = rs.simulate(
                network(0.05), c * DRIVE, rs.Window(0.0, 0.5, 0.5 / cells), key=key, max_spikes=60
            )
            return jnp.sum(sim.final.state["v"])

        return jax.jvp(last, (jnp.ones(()),), (jnp.ones(()),))[1]

    found = []
    for cells in (64, 256, 1024):
        slopes = jax.jit(jax.vmap(lambda key, cells=cells: slope(key, cells)))(
            jr.split(jr.key(2), 400)
        )
        found.append(np.std(slopes))
    # The standard error of one is about a tenth.
    assert np.max(found) < 1.4 * np.min(found), found


def test_the_density_of_a_train():
    """Against quadrature of the hazard where the neuron is free."""
    spikes, t1, hold = [0.1, 0.32, 0.41], 0.5, 0.062
    firing = rs.StochasticFiring(rs.ExponentialIntensity(beta=3.0), 0.0)
    pop = rs.Population(1, rs.neurons.LIF(0.07, rs.Subtract(1.0)), firing, refractory=hold)
    net = rs.SpikingNetwork(pop)
    train = rs.SpikeTrain.from_lists([spikes], t0=0.0, t1=t1)
    window = rs.Window(0.0, t1, 0.0025)
    found = rs.clamp(net, jnp.array([0.9]), train, window).log_likelihood[0]
    grid = np.linspace(0, t1, 200_001)
    v = 0.9 * (1 - np.exp(-grid / 0.07))
    for t in spikes:
        v -= np.where(grid > t + 1e-9, np.exp(-np.maximum(grid - t, 0) / 0.07), 0)
    hazard = np.exp(3.0 * (v - 1.0))
    for t in spikes:
        hazard[(grid > t + 1e-9) & (grid < t + hold)] = 0
    log_rates = 3.0 * (np.interp(spikes, grid, v) - 1.0)
    exact = np.sum(log_rates) - np.sum((hazard[1:] + hazard[:-1]) / 2) * (grid[1] - grid[0])
    np.testing.assert_allclose(found, exact, rtol=2e-4)
    near = rs.SpikeTrain.from_lists([[0.1, 0.161]], t0=0.0, t1=t1)
    assert rs.clamp(net, jnp.array([0.9]), near, window).log_likelihood[0] == -np.inf


WRONG = {
    "negative": (dict(refractory=-0.1), "`refractory` must not be negative"),
    "shape": (dict(refractory=np.ones(2)), r"`refractory` must be a number or have shape \(3,\)"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_times(name):
    options, message = WRONG[name]
    with pytest.raises(ValueError, match=message):
        network(**options)
    with pytest.raises(ValueError, match="these neurons never fire"):
        rs.Population(3, rs.neurons.LIF(), None, refractory=0.1)
