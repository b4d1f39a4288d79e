"""Neurons that are not linear, and conductances, in lockstep."""

import dataclasses
from typing import Any

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import roughsnn as rs
from roughsnn._model.layout import layout_of

from ..helpers import ENGINES, in_float32, smooth, standard_error
from ..own_neurons import Cubic, Gate, OnlyV, Plain, Theta

WEIGHTS = np.array([[0.0, 0.9, -0.5], [0.6, 0.0, 0.7], [-0.4, 0.8, 0.0]])
RANDOM = rs.StochasticFiring(rs.ExponentialIntensity(beta=5.0), 0.03)
number = jnp.asarray


def current(sigma: Any = None) -> rs.AbstractSynapse:
    return rs.synapses.Exponential(0.05, sigma)


def gate(sigma: Any = None) -> rs.AbstractSynapse:
    return Gate(rs.synapses.Exponential(0.05, sigma), number(0.5))


def coupled(neuron, firing, synapse, scale=1.0, delay=None, **options) -> rs.SpikingNetwork:
    population = rs.Population(3, neuron, firing, {"syn": synapse}, **options)
    weights = scale * (np.abs(WEIGHTS) if isinstance(synapse, Gate) else WEIGHTS)
    return rs.SpikingNetwork({"a": population}, [rs.Projection("a", "a", weights, delay=delay)])


def theta(synapse, delay=None, peak=30.0) -> rs.SpikingNetwork:
    neuron = Theta(number(0.1), number(-5.0))
    return coupled(neuron, rs.HardThreshold(peak), synapse, 3.0, delay)


def cubic(synapse, delay=None, refractory=None) -> rs.SpikingNetwork:
    neuron = Cubic(number(0.1), number(0.2), number(0.2))
    return coupled(neuron, RANDOM, synapse, 1.0, delay, refractory=refractory)


# A network, its input, and the interpolation of its noise.
CASES = {
    "hard": (lambda: theta(current((0.3,))), 1.2, "linear"),
    "hard-bent": (lambda: theta(gate((0.3,)), 0.013), 1.2, "parabola"),
    "random": (lambda: cubic(current((0.0, 0.2))), 2.4, "linear"),
    "random-bent": (lambda: cubic(current((0.0, 0.2))), 2.4, "parabola"),
    "held": (lambda: cubic(gate((0.0, 0.2)), 0.013, 0.011), 2.4, "linear"),
    "held-bent": (lambda: cubic(gate(), None, 0.011), 2.4, "parabola"),
}


def run(net, c, dt, engine: Any = None, t1=1.0, **options) -> rs.Simulation:
    window = rs.Window(0.0, t1, dt)
    drive = c * jnp.array([1.25, 0.85, 1.0], jnp.result_type(c))
    options = {"key": jr.key(3), "max_spikes": 60} | options
    return rs.simulate(net, drive, window, engine=engine or rs.Lockstep(), **options)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_derivatives_are_differences_on_the_same_noise(case):
    """In all parameters at once, along eight directions."""
    interpolation: Any
    make, c, interpolation = CASES[case]
    parameters, rest = eqx.partition(make(), eqx.is_inexact_array)
    rng, h = np.random.default_rng(1), 1e-6
    scaled = lambda x: jnp.asarray(0.3 * np.abs(x) * rng.normal(size=(8, *x.shape)))
    ways = jax.tree.map(scaled, parameters)

    def moved(way, s):
        now = jax.tree.map(lambda x, d: x + s * d, parameters, way)
        noise = rs.Brownian(interpolation)
        return smooth(run(eqx.combine(now, rest), c, 0.01, noise=noise))

    @jax.jit
    @jax.vmap
    def along(way):
        derivative = lambda s: jax.jvp(lambda s: moved(way, s), (s,), (jnp.ones_like(s),))
        return jax.vmap(derivative)(jnp.array([-h, 0.0, h]))

    (value, marks), (slope, _) = along(ways)
    assert np.all(np.sum(np.asarray(marks[:, 1]) >= 0, -1) >= 6)
    np.testing.assert_array_equal(marks[:, 0], marks[:, 2])
    difference = (value[:, 2] - value[:, 0]) / (2 * h)
    np.testing.assert_allclose(slope[:, 1], difference, rtol=1e-6, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("delay", [None, 0.013])
@pytest.mark.parametrize("synapse", [current, gate])
def test_second_order_against_an_adaptive_solver(synapse, delay):
    """Spike times of both engines, against Tsit5 in the potential itself."""
    net = theta(synapse(), delay)
    controller = dfx.PIDController(1e-10, 1e-10)
    exact = run(net, 1.2, 0.01, rs.EventByEvent(dfx.Tsit5(), controller=controller)).spikes
    number = int(exact.count)
    assert number >= 8
    for engine in ENGINES.values():
        errors = []
        for dt in (0.005, 0.00125):
            found = run(net, 1.2, dt, engine).spikes
            np.testing.assert_array_equal(found.marks[:number], exact.marks[:number])
            errors.append(np.max(np.abs(found.times[:number] - exact.times[:number])))
        assert errors[1] < 1e-4 and errors[1] < errors[0] / 4**1.5, errors


@pytest.mark.slow
def test_a_linear_neuron_that_does_not_say_so():
    """Its steps are of second order, with noise on the current, kicks by others, and a hold."""
    errors = []
    for dt in (0.01, 0.0025):
        found = []
        for neuron in (Plain(number(0.07), number(0.0)), rs.neurons.LIF(0.07)):
            net = coupled(neuron, RANDOM, current((0.2,)), refractory=0.004)
            found.append(smooth(run(net, 1.3, dt)))
        np.testing.assert_array_equal(found[0][1], found[1][1])
        errors.append(np.max(np.abs(found[0][0] - found[1][0])))
    assert errors[1] < errors[0] / 4**1.8, errors


@pytest.mark.parametrize("interpolation", ["linear", "parabola"])
def test_stationary_distribution(interpolation):
    """Moments of dv = -(v + 2 v^3) dt + dB, whose density is known: of weak order two."""
    neuron = Cubic(jnp.ones(()), number(2.0), jnp.ones(()))
    dt, size = 1 / 32, 400
    net = rs.SpikingNetwork(rs.Population(size, OnlyV(neuron), None))

    def last(key):
        window, noise = rs.Window(0.0, 6.0, dt), rs.Brownian(interpolation)
        options: Any = dict(key=key, max_spikes=1, noise=noise)
        return rs.simulate(net, jnp.zeros(size), window, **options).final.state["v"]

    v = jnp.reshape(jax.jit(jax.vmap(last))(jr.split(jr.key(0), 100)), -1)
    grid = np.linspace(-5, 5, 4001)
    density = np.exp(-2 * (grid**2 / 2 + grid**4 / 2))
    for power in (2, 4):
        exact = np.sum(grid**power * density) / np.sum(density)
        assert abs(jnp.mean(v**power) - exact) < 4 * standard_error(v**power) + 1.5 * dt**2


@pytest.mark.slow
def test_parabolas_make_single_paths_more_accurate():
    """Against cells a sixteenth as long, of the same Brownian motion."""
    net = rs.SpikingNetwork(rs.Population(64, OnlyV(Cubic(*map(number, (0.1, 0.5, 1.0)))), None))

    def last(dt, interpolation):
        return rs.simulate(
            net,
            jnp.ones(64),
            rs.Window(0.0, 1.0, dt),
            key=jr.key(1),
            max_spikes=1,
            noise=rs.Brownian(interpolation),
        ).final.state["v"]

    exact = last(1 / 1024, "parabola")
    rms = lambda x: float(jnp.sqrt(jnp.mean((x - exact) ** 2)))
    chord = [rms(last(dt, "linear")) for dt in (1 / 64, 1 / 256)]
    bent = [rms(last(dt, "parabola")) for dt in (1 / 64, 1 / 256)]
    assert bent[1] < chord[1] / 5
    # Orders one and one and a half, per path.
    assert chord[0] / chord[1] > 4**0.8 and bent[0] / bent[1] > 4**1.3


@pytest.mark.slow
def test_a_neuron_above_its_threshold_fires_at_once():
    """Far above, too, where the coordinate goes on as a straight line."""
    net = theta(current())
    for engine in ENGINES.values():
        sim = run(net, 1.2, 0.01, engine, initial={"v": jnp.array([1e4, 0.0, 31.0])})
        first = np.asarray(sim.spikes.marks[:2])
        np.testing.assert_array_equal(np.sort(first), [0, 2])
        np.testing.assert_array_equal(sim.spikes.times[:2], [0, 0])


@pytest.mark.slow
def test_two_windows_are_the_whole():
    """With a drift that reads the time, bit for bit."""
    net = coupled(Plain(number(0.07), number(0.4)), RANDOM, gate(), 1.0, 0.013, refractory=0.004)
    whole = run(net, 1.3, 1 / 128)
    window = rs.Window(0.0, 0.5, 1 / 128)
    options: Any = dict(key=jr.key(3), max_spikes=60)
    drive = 1.3 * jnp.array([1.25, 0.85, 1.0])
    first = rs.simulate(net, drive, window, **options)
    second = rs.simulate(net, drive, window.next(), initial=first.final, **options)
    for a, b in zip(
        jax.tree.leaves(whole.final.state), jax.tree.leaves(second.final.state), strict=True
    ):
        np.testing.assert_array_equal(a, b)
    times = np.concatenate(
        [s.times[: int(s.count)] + t for s, t in ((first.spikes, 0.0), (second.spikes, 0.5))]
    )
    np.testing.assert_allclose(times, whole.spikes.times[: int(whole.spikes.count)], rtol=1e-14)


@pytest.mark.slow
def test_records_inside_of_cells():
    """The states of another engine, to second order."""
    ts = jnp.array([0.103, 0.2, 0.4871])
    errors = []
    for dt in (0.01, 0.0025):
        net = theta(gate())
        record = rs.Lockstep({"v": ts, "syn": ts})
        found = run(net, 1.2, dt, record, t1=0.5).states
        saveat = dfx.SaveAt(ts=ts)
        controller = dfx.PIDController(1e-10, 1e-10)
        engine = rs.EventByEvent(dfx.Tsit5(), controller=controller, saveat=saveat)
        exact = run(net, 1.2, dt, engine, t1=0.5).states.ys
        angles = np.arctan(found["v"]) - np.arctan(exact["v"])
        errors.append(np.max(np.abs([angles, found["syn"] - exact["syn"]])))
    assert errors[1] < 1e-3 and errors[1] < errors[0] / 4**1.4, errors


@pytest.mark.slow
def test_likelihood_of_a_simulated_train():
    """Random thresholds at the spikes of a clamped network: uniform quantiles, exact gradients."""
    net = cubic(gate())
    window = rs.Window(0.0, 40.0, 0.02)
    drive = 2.4 * jnp.array([1.25, 0.85, 1.0])
    quiet = eqx.tree_at(lambda n: n.parts[0].neuron.sigma, net, jnp.zeros(()))
    sim = rs.simulate(quiet, drive, window, key=jr.key(0), max_spikes=1200)
    found = rs.clamp(quiet, drive, sim.spikes, window, key=jr.key(1), max_spikes=1200)
    u = np.sort(np.asarray(found.quantiles)[np.asarray(sim.spikes.marks) >= 0])
    number = len(u)
    assert number > 200
    # Kolmogorov & Smirnov at one in a thousand.
    gap = np.max(np.abs(u - (np.arange(number) + 0.5) / number))
    assert gap < 1.95 / number**0.5

    def likelihood(tau):
        moved = eqx.tree_at(lambda n: n.parts[0].neuron.tau, quiet, tau)
        clamped = rs.clamp(moved, drive, sim.spikes, window, key=jr.key(1), max_spikes=1200)
        return jnp.sum(clamped.log_likelihood)

    value = jax.jit(jax.vmap(likelihood))(0.1 + jnp.array([-1e-6, 1e-6]))
    slope = jax.jit(jax.grad(likelihood))(jnp.asarray(0.1))
    np.testing.assert_allclose(slope, (value[1] - value[0]) / 2e-6, rtol=1e-6)


@pytest.mark.slow
def test_float32():
    net = theta(gate(), 0.013)
    low = run(in_float32(net), np.float32(1.2), 0.01).spikes
    high = run(net, 1.2, 0.01).spikes
    assert low.times.dtype == jnp.float32
    np.testing.assert_array_equal(low.marks, high.marks)
    number = int(high.count)
    np.testing.assert_allclose(low.times[:number], high.times[:number], atol=1e-4)


class Shifted(Theta):
    """Its potential is no number of its state."""

    def potential(self, x):
        return x["v"] - 1


@pytest.mark.parametrize("engine", ENGINES)
def test_a_coordinate_needs_a_potential_of_the_state(engine):
    net = coupled(Shifted(number(0.1), number(-5.0)), rs.HardThreshold(30.0), current())
    with pytest.raises(ValueError, match="`potential` of a Shifted.*`coordinate`"):
        run(net, 1.2, 0.01, ENGINES[engine])


@pytest.mark.parametrize("delay", [None, 0.013])
@pytest.mark.parametrize("synapse", [current, gate])
def test_arrivals_at_a_border_are_the_same_from_both_sides(synapse, delay):
    """What reaches a silent neuron does not jump as a spike, or its arrival, crosses a border."""
    neuron = Plain(number(0.07), number(0.0))
    parts = {
        "a": rs.Population(1, neuron, rs.HardThreshold(1.0)),
        "b": rs.Population(1, Cubic(*map(number, (0.1, 0.3, 0.0))), None, {"syn": synapse()}),
    }
    back = [rs.Projection("b", "a", [[0.0]])] if delay is None else []
    if back:
        # A loop, so that the spike is not known when b steps.
        parts["a"] = rs.Population(1, neuron, rs.HardThreshold(1.0), {"syn": current()})
    forth = rs.Projection("a", "b", [[2.0]], delay=delay)
    net = rs.SpikingNetwork(parts, [forth, *back])

    @jax.jit
    def last(c):
        drive = jnp.stack([c, 0 * c])
        window = rs.Window(0.0, 0.1, 0.01)
        sim = rs.simulate(net, drive, window, key=jr.key(0), max_spikes=5)
        return sim.final.state["b"]["v"][0], sim.spikes.times[0]

    # Where the spike, or its arrival, is at 0.07.
    border, low, high = 0.07 - (delay or 0.0), 1.2, 3.0
    c = (low + high) / 2
    for _ in range(60):
        c = (low + high) / 2
        low, high = (c, high) if float(last(c)[1]) > border else (low, c)
    before, after = (last(c * (1 + s)) for s in (-1e-9, 1e-9))
    assert after[1] < border < before[1] and before[1] - after[1] < 1e-9
    assert abs(after[0]) > 1e-3 and abs(after[0] - before[0]) < 1e-8


def test_parameters_for_each_neuron():
    """Only numbers that may have derivatives."""
    neuron = rs.neurons.MultiplicativeLIF(0.07, np.zeros(2), amplitude=jnp.tanh)
    whole: Any = eqx.tree_at(lambda n: n.reset_to, neuron, jnp.array(0))
    firing, ports = rs.HardThreshold(2.0), {"syn": rs.synapses.Exponential(0.05, (0.3,))}
    net = rs.SpikingNetwork(rs.Population(3, neuron, firing, ports))
    (group,) = layout_of(net, ((),)).groups
    each: Any = group.for_each()
    assert each.neuron.tau.shape == (3,) and each.neuron.sigma.shape == (3, 2)
    assert each.neuron.amplitude is neuron.amplitude
    with_whole: Any = dataclasses.replace(group, neuron=whole).for_each()
    assert with_whole.neuron.reset_to.shape == ()
    assert each.firing.threshold.shape == (3,) and each.ports["syn"].sigma.shape == (3, 1)
    assert eqx.tree_equal(each, each.for_each())
    moved = jax.tree.map(lambda x: x + jnp.linspace(0.1, 0.3, 3), neuron.initial())
    np.testing.assert_array_equal(each.spike(moved).v, group.spike(moved).v)
