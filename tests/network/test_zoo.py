"""What holds for every neuron and synapse of the table in `tests/zoo.py`."""

from typing import Any

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import roughsnn as rs

from ..helpers import ENGINES, smooth
from ..zoo import NEURONS, PAIRS, SYNAPSES, WEIGHTS, drive, network, population


def features(net: rs.SpikingNetwork, c, engine, dt: float) -> tuple:
    """A smooth functional of spikes and final state, and whose spikes they are."""
    window = rs.Window(0.0, 0.5, dt)
    sim = rs.simulate(net, c, window, key=jr.key(5), max_spikes=80, engine=engine)
    return smooth(sim)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("neuron", "synapse"), PAIRS, ids=map("-".join, PAIRS))
def test_derivatives_are_differences_on_the_same_noise(neuron, synapse, engine):
    """In all parameters at once, along one direction."""
    net = network(neuron, synapse)
    parameters, rest = eqx.partition(net, eqx.is_inexact_array)
    rng, h = np.random.default_rng(1), 1e-6
    scaled = lambda x: jnp.asarray(0.3 * np.abs(x) * rng.normal(size=x.shape))
    way = jax.tree.map(scaled, parameters)

    @jax.jit
    def along(s):
        def moved(s):
            now = jax.tree.map(lambda x, d: x + s * d, parameters, way)
            return features(eqx.combine(now, rest), drive(neuron), ENGINES[engine], 0.01)

        return jax.vmap(lambda s: jax.jvp(moved, (s,), (jnp.ones_like(s),)))(s)

    (value, marks), (slope, _) = along(jnp.array([-h, 0.0, h]))
    assert np.sum(np.asarray(marks[1]) >= 0) >= 3
    np.testing.assert_array_equal(marks[0], marks[2])
    np.testing.assert_allclose(slope[1], (value[2] - value[0]) / (2 * h), rtol=1e-6, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("neuron", "synapse"),
    [("GLIF5", "Alpha"), ("ResonateAndFire", "Exponential"), ("HistoryFilter", "Exponential")],
)
def test_engines_come_together(neuron, synapse):
    """The engines differ by the second order in dt."""
    net, errors = network(neuron, synapse), []
    for dt in (0.01, 0.0025):
        found = [features(net, drive(neuron), engine, dt) for engine in ENGINES.values()]
        np.testing.assert_array_equal(found[0][1], found[1][1])
        errors.append(np.max(np.abs(found[0][0] - found[1][0])))
    assert errors[1] < errors[0] / 4**1.5, errors


@pytest.mark.slow
@pytest.mark.parametrize(("neuron", "synapse"), PAIRS)
def test_solvers_of_diffrax_take_every_neuron(neuron, synapse):
    """With hard thresholds and without noise, where the default is exact."""
    part = population(neuron, synapse, noisy=False, firing=rs.HardThreshold())
    net = rs.SpikingNetwork(part, weights=0.3 * WEIGHTS)
    found = []
    for engine in (rs.EventByEvent(), rs.EventByEvent(dfx.Tsit5())):
        options: Any = dict(key=jr.key(0), max_spikes=80, engine=engine)
        sim = rs.simulate(net, drive(neuron), rs.Window(0.0, 0.4, 0.004), **options)
        found.append(sim.spikes)
    exact, own = found
    assert int(exact.count) >= 3
    np.testing.assert_array_equal(exact.marks, own.marks)
    number = int(exact.count)
    np.testing.assert_allclose(own.times[:number], exact.times[:number], atol=1e-7)


def responses(synapse: str, ts):
    """The potential of a LIF neuron after an arrival at 0.031, in cells of 0.005."""
    pop = rs.Population(1, NEURONS["LIF"](None), None, {"syn": SYNAPSES[synapse](None)})
    net = rs.SpikingNetwork({"in": rs.Source(1), "out": pop}, [rs.Projection("in", "out", [[0.7]])])
    train = rs.SpikeTrain.from_lists([[0.031]], t0=0.0, t1=0.4)
    record = {"out": {"v": ts}}
    sims = [
        rs.simulate(
            net,
            jnp.zeros(1),
            rs.Window(0.0, 0.4, 0.005),
            key=jr.key(0),
            max_spikes=1,
            engine=rs.Lockstep(record=record),
            inputs={"in": train},
        )
    ]
    return sims[0].states["out"]["v"][:, 0]


EXACT = {
    "Exponential": lambda t: np.exp(-t / 0.05),
    "Alpha": lambda t: t / 0.05 * np.exp(1 - t / 0.05),
    "DoubleExponential": lambda t: (
        (np.exp(-t / 0.06) - np.exp(-t / 0.01))
        / (lambda p: np.exp(-p / 0.06) - np.exp(-p / 0.01))(np.log(6) * 0.06 * 0.01 / 0.05)
    ),
}


@pytest.mark.parametrize("synapse", SYNAPSES)
def test_postsynaptic_potentials(synapse):
    """Against the convolution of the current with the membrane's response."""
    ts = np.array([0.05, 0.06, 0.1, 0.2, 0.4])
    found = responses(synapse, jnp.asarray(ts))
    nodes, weights = np.polynomial.legendre.leggauss(60)
    for t, v in zip(ts, found, strict=True):
        u = (nodes + 1) / 2 * (t - 0.031)
        current = 0.7 * EXACT[synapse](u)
        exact = np.sum(weights * current * np.exp(-(t - 0.031 - u) / 0.07)) * (t - 0.031) / 2 / 0.07
        # The cell of the arrival is of second order.
        assert abs(v - exact) < 3e-4, (t, v, exact)


def test_after_spike_currents():
    """GLIF 3 without input: what the spikes left decays exponentially."""
    neuron = NEURONS["GLIF3"](None)
    pop = rs.Population(1, neuron, rs.HardThreshold(1.0))
    sim = rs.simulate(
        rs.SpikingNetwork(pop),
        jnp.array([2.0]),
        rs.Window(0.0, 0.5, 0.001),
        key=jr.key(0),
        max_spikes=60,
        engine=rs.EventByEvent(),
    )
    times = np.asarray(sim.spikes.times[: int(sim.spikes.count)])
    assert len(times) >= 3
    for n, (tau, jump, keep) in enumerate(((0.1, -0.4, 0.9), (0.02, 0.3, 1.0))):
        left, before = 0.0, 0.0
        for t in times:
            left, before = keep * left * np.exp(-(t - before) / tau) + jump, t
        exact = left * np.exp(-(0.5 - before) / tau)
        found = sim.final.state[f"currents.{n}"][0]
        np.testing.assert_allclose(found, exact, rtol=1e-9)


def test_free_oscillation():
    """A resonator from (1, 0) turns and decays."""
    pop = rs.Population(1, NEURONS["ResonateAndFire"](None), None)
    t = 0.3
    for engine in ENGINES.values():
        sim = rs.simulate(
            rs.SpikingNetwork(pop),
            jnp.zeros(1),
            rs.Window(0.0, t, 0.02),
            key=jr.key(0),
            max_spikes=1,
            engine=engine,
            initial={"v": jnp.ones(1)},
        )
        exact = np.exp(-t / 0.15) * np.array([np.cos(6 * t), np.sin(6 * t)])
        found = [sim.final.state["v"][0], sim.final.state["w"][0]]
        np.testing.assert_allclose(found, exact, rtol=1e-12)


@pytest.mark.slow
def test_a_reset_to_a_constant_under_noise_is_refused():
    """GLIF 1 as fitted resets to a constant, which does not commute with noise (C3)."""
    neuron = rs.neurons.GLIF(0.07, sigma=0.2)
    net = rs.SpikingNetwork(rs.Population(1, neuron, population("LIF", "Alpha").firing))
    with pytest.raises(ValueError, match="C3"):
        rs.simulate(net, jnp.ones(1), rs.Window(0.0, 0.1, 0.01), key=jr.key(0), max_spikes=3)
