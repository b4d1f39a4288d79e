"""The equations of short-term plasticity, and what is refused."""

import itertools
from typing import Any, NamedTuple

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import paramax
import pytest

import roughsnn as rs

from ..helpers import ENGINES
from .test_plasticity import (
    BOTH,
    DEPRESSING,
    DRIVE,
    TRAIN,
    WEIGHTS,
    Unmoved,
    population,
    recurrent,
    simulated,
)


class _Integrated(NamedTuple):
    """The equations of Tsodyks, Pawelzik & Markram between spikes, for a solver."""

    u: Any
    x: Any


def integrated(p: rs.synapses.TsodyksMarkram, times) -> list[float]:
    """The amplitudes by a solver of diffrax from spike to spike."""

    def slope(t, y, args):
        used = -y.u / p.tau_facilitation
        return _Integrated(used, (1 - y.x) / p.tau_recovery)

    y, last, found = _Integrated(jnp.zeros(()), jnp.ones(())), 0.0, []
    for t in times:
        y = dfx.diffeqsolve(
            dfx.ODETerm(slope),
            dfx.Tsit5(),
            last,
            t,
            0.01,
            y,
            stepsize_controller=dfx.PIDController(1e-10, 1e-12),
        ).ys
        y = jax.tree.map(lambda x: x[-1], y)
        u = y.u + p.utilisation * (1 - y.u)
        found.append(float(u * y.x))
        y, last = _Integrated(u, y.x - u * y.x), t
    return found


@pytest.mark.slow
def test_amplitudes_are_those_of_the_differential_equations():
    times = [0.05, 0.06, 0.09, 0.2, 0.21, 0.215, 0.7]
    train = rs.SpikeTrain.from_lists([times, [0.1]], t0=0.0, t1=1.0, max_spikes=10)
    found = BOTH.amplitudes(train)
    np.testing.assert_allclose(found[train.marks == 0], integrated(BOTH, times), rtol=1e-8)
    np.testing.assert_allclose(found[train.marks == 1], 0.3)
    np.testing.assert_array_equal(found[train.marks == -1], 0)


@pytest.mark.parametrize("interval", [0.02, 0.1, 0.5])
def test_what_a_regular_train_ends_at(interval):
    """The fixed point of u and x."""
    train = rs.SpikeTrain.from_lists([np.arange(1, 200) * interval], t0=0.0, t1=200 * interval)
    used, left = np.exp(-interval / 0.5), np.exp(-interval / 0.2)
    u = 0.3 / (1 - 0.7 * used)
    x = (1 - left) / (1 - (1 - u) * left)
    np.testing.assert_allclose(BOTH.amplitudes(train)[-1], u * x, rtol=1e-9)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("delay", [None, 0.034])
def test_a_current_is_that_of_the_amplitudes(engine, delay):
    """From outside, and from neurons that fire by themselves, onto a neuron that does not."""
    silent = rs.Population(1, rs.neurons.LIF(0.07), None, {"syn": rs.synapses.Exponential(0.05)})
    net = rs.SpikingNetwork(
        {"in": rs.Source(2), "noise": rs.Poisson(2, 20.0), "out": silent},
        [
            rs.Projection(pre, "out", [[0.7], [0.5]], delay=delay, plasticity=plasticity)
            for pre, plasticity in (("in", BOTH), ("noise", DEPRESSING))
        ],
    )
    sim = rs.simulate(
        net,
        jnp.zeros(3),
        rs.Window(0.0, 0.5, 0.01),
        key=jr.key(1),
        max_spikes=60,
        inputs={"in": TRAIN},
        engine=ENGINES[engine],
    )
    exact = 0.0
    for train, plasticity in ((TRAIN, BOTH), (sim.spikes["noise"], DEPRESSING)):
        there = train.marks >= 0
        assert np.sum(np.asarray(there)) >= 7
        weights, since = np.array([0.7, 0.5])[train.marks], 0.5 - (delay or 0.0) - train.times
        arrived = there & (since >= 0)
        own = weights * plasticity.amplitudes(train) * np.exp(-np.where(arrived, since, 0) / 0.05)
        exact += np.sum(np.where(arrived, own, 0))
    np.testing.assert_allclose(sim.final.state["out"]["syn"][0], exact, rtol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("delay", [None, 0.043])
@pytest.mark.parametrize("hidden", [False, True])
def test_the_density_of_a_train(delay, hidden):
    """Against quadrature: the first neuron reaches the second, which is observed, by amplitudes
    that are known."""
    times, t1, w = [0.1, 0.32, 0.33], 0.5, 1.9
    second, strong = [0.21, 0.405], integrated(BOTH, times)
    neuron = rs.neurons.LIF(0.07, rs.Subtract(1.0))
    pop = rs.Population(
        3 if hidden else 2,
        neuron,
        rs.StochasticFiring(rs.ExponentialIntensity(beta=3.0), 0.0),
        {"syn": rs.synapses.Exponential(0.05)},
    )
    weights = np.zeros((pop.size, pop.size))
    weights[0, 1] = w
    own = rs.Projection("n", "n", weights, delay=delay, plasticity=BOTH)
    net = rs.SpikingNetwork({"n": pop}, [own])
    train = rs.SpikeTrain.from_lists([times, second], t0=0.0, t1=t1)
    drive = jnp.array([1.0, 0.8, 0.7])[: pop.size]
    options: Any = dict(observed=[0, 1], key=jr.key(0), max_spikes=20) if hidden else {}
    found = [
        rs.clamp(net, drive, train, rs.Window(0.0, t1, dt), **options).log_likelihood[1]
        for dt in (0.005, 0.00125)
    ]
    exact, borders = 0.0, [0.0, *second, t1]
    for n, (begin, end) in enumerate(itertools.pairwise(borders)):
        grid = np.linspace(begin, end, 100_001)
        v = 0.8 * (1 - np.exp(-grid / 0.07)) - sum(np.exp((t - grid) / 0.07) for t in second[:n])
        for t, a in zip(times, strong, strict=True):
            since = np.maximum(grid - t - (delay or 0.0), 0)
            v += a * w * 0.05 / 0.02 * (np.exp(-since / 0.07) - np.exp(-since / 0.05))
        hazard = np.exp(3.0 * (v - 1.0))
        exact -= np.sum((hazard[1:] + hazard[:-1]) / 2) * (grid[1] - grid[0])
        exact += 0 if end == t1 else np.log(hazard[-1])
    errors = np.abs(np.array(found) - exact)
    assert errors[1] < min(errors[0] / 4**1.5, 1e-5), errors


@pytest.mark.slow
@pytest.mark.parametrize("observed", [[0, 1, 2, 3], [0, 2]])
@pytest.mark.parametrize("delay", [None, 0.034])
def test_the_density_does_not_depend_on_the_parts(delay, observed):
    """One population, or two that are one list, each neuron with two rows."""
    pop = lambda n: population(n, sigma=None)
    own = rs.Projection("n", "n", WEIGHTS, delay=delay, plasticity=BOTH)
    one = rs.SpikingNetwork({"n": pop(4)}, [own])
    halves = {"a": slice(0, 2), "b": slice(2, 4)}
    pairs = [(x, y) for x in halves for y in halves]
    four = [
        rs.Projection(
            x,
            y,
            WEIGHTS[halves[x], halves[y]],
            delay=delay,
            plasticity=BOTH,
            autapses=x == y,
        )
        for x, y in pairs
    ]
    parts = rs.SpikingNetwork({"a": pop(2), "b": pop(2)}, four)
    times = [[0.1, 0.15, 0.3], [0.12, 0.2], [0.05, 0.31, 0.36], [0.22]]
    train = rs.SpikeTrain.from_lists([times[k] for k in observed], t0=0.0, t1=0.5)
    quiet = {"s": -1e3 * jnp.ones(4)}, {k: {"s": -1e3 * jnp.ones(2)} for k in halves}
    found = [
        rs.clamp(
            net,
            jnp.asarray(DRIVE),
            train,
            rs.Window(0.0, 0.5, 0.01),
            observed=observed,
            key=jr.key(0),
            max_spikes=60,
            initial=initial,
        ).log_likelihood
        for net, initial in zip((one, parts), quiet, strict=True)
    ]
    np.testing.assert_allclose(found[0], found[1], rtol=1e-11)


def test_parameters_stay_in_their_range():
    net = recurrent(WEIGHTS, rs.synapses.TsodyksMarkram([0.3, 0.5, 1.0, 0.1], 0.2, 0.5))
    held = rs.constrained(net)
    now: Any = paramax.unwrap(held).projections[0].plasticity
    np.testing.assert_allclose(now.utilisation, [0.3, 0.5, 1 - 1e-4, 0.1])
    raw: Any = eqx.filter(held.projections[0].plasticity, eqx.is_inexact_array)
    far = jax.tree.map(lambda x: x + 30.0, raw)
    there: Any = paramax.unwrap(eqx.combine(far, held.projections[0].plasticity))
    assert np.all((0 < there.utilisation) & (there.utilisation <= 1))
    run = lambda u: simulated(
        recurrent(WEIGHTS, rs.synapses.TsodyksMarkram(u, 0.2)), rs.Lockstep(), throw=False
    )
    assert jax.jit(run)(jnp.asarray(1.0)).result == rs.RESULTS.successful
    assert jax.jit(run)(jnp.asarray(1.01)).result == rs.RESULTS.parameter_outside


class Wide(Unmoved):
    def spike(self, x):
        return jnp.ones(2), x


class Other(Unmoved):
    def spike(self, x):
        return self.one, (x, x)


WRONG = {
    "none": (lambda: recurrent(WEIGHTS, "strong"), "`plasticity` must be a roughsnn.Abstract"),
    "size": (
        lambda: recurrent(WEIGHTS, rs.synapses.TsodyksMarkram([0.1, 0.2], 0.2)),
        r"`utilisation` must have shape \(\) or \(4,\) for 4 neurons, got \(2,\)",
    ),
    "wide": (lambda: recurrent(WEIGHTS, Wide()), r"numbers of shape \(\), got shapes"),
    "other": (lambda: recurrent(WEIGHTS, Other()), "another one of the structure of `initial`"),
    "use": (
        lambda: rs.synapses.TsodyksMarkram(1.2, 0.2),
        "`utilisation` must be more than 0 and at most 1, got 1.2",
    ),
    "no use": (lambda: rs.synapses.TsodyksMarkram(0.0, 0.2), "`utilisation` must be more than 0"),
    "tau": (lambda: rs.synapses.TsodyksMarkram(0.5, -0.2), "`tau_recovery` must be positive"),
    "tau_f": (lambda: rs.synapses.TsodyksMarkram(0.5, 1, 0.0), "`tau_facilitation` must be pos"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_plasticity(name):
    make, message = WRONG[name]
    with pytest.raises((ValueError, TypeError), match=message):
        make()
