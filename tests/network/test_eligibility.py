"""The three-factor form against automatic differentiation through the spikes."""

import functools
from typing import Any

import diffrax as dfx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import roughsnn as rs

from .. import zoo
from ..helpers import lif_network

T1 = 0.8
LAYERS = (3, 2)
ROOM: Any = dict(max_spikes=200, key=jr.key(4))
WINDOW = rs.Window(0.0, T1, 0.02)
MASK = np.zeros((5, 5), bool)
MASK[:3, 3:] = True


def drive(t):
    return jnp.array([1.8, 1.6, 1.5, 1.3, 1.2]) * (1 + 0.1 * jnp.sin(5 * t))


def feed_forward(weights, hard: bool, noisy: bool = True) -> rs.SpikingNetwork:
    sigma = ((0.0 if hard else 0.3,), (0.2,)) if noisy else None
    stochastic = rs.StochasticFiring(rs.ExponentialIntensity(4.0, 1.0, 1.0), 0.03)
    firing = rs.HardThreshold(1.0) if hard else stochastic
    return lif_network(firing, weights, mu=(12.0, 6.0), sigma=sigma, reset=1.1, mask=MASK)


WEIGHTS = MASK * np.random.default_rng(0).uniform(0.4, 1.2, (5, 5))


def errors(hard, noisy, dt0, **options):
    """The largest error of a spike-time derivative of the last layer; and their size."""
    setting = dict(ROOM, window=rs.Window(0.0, T1, dt0), engine=rs.EventByEvent(**options))
    found = rs.eligibility(feed_forward(WEIGHTS, hard, noisy), drive, **setting)

    def times(weights):
        network = feed_forward(weights, hard, noisy)
        found = rs.simulate(network, drive, **setting).spikes.times
        return found, found

    # Values and derivatives in one program.
    exact, value = jax.device_get(jax.jit(jax.jacfwd(times, has_aux=True))(WEIGHTS))
    train = found.spikes
    np.testing.assert_allclose(train.times, value, rtol=1e-12)
    marks = np.asarray(train.marks)
    last = np.flatnonzero(marks >= 3)
    assert len(last) >= 6
    # Row n: d tau_n / d w[:, k_n].
    wanted = np.stack([exact[n, :, marks[n]] for n in last])
    got = np.asarray(found.time_derivatives)[last]
    assert np.all(got[:, 3:] == 0) and np.all(np.asarray(found.time_derivatives)[marks == -1] == 0)
    return np.max(np.abs(got - wanted)) / np.max(np.abs(wanted))


@pytest.mark.slow
@pytest.mark.parametrize("hard", [True, False])
def test_noise_free_it_is_the_derivative(hard):
    options = dict(solver=dfx.Tsit5(), root_finder=rs.Chandrupatla())
    coarse, fine = (errors(hard, False, dt0, **options) for dt0 in (0.02, 0.005))
    assert fine < 1e-5 and fine < coarse / 8, (coarse, fine)


@pytest.mark.slow
def test_with_noise_it_converges_to_the_derivative():
    coarse, fine = (errors(False, True, T1 / n) for n in (32, 512))
    assert coarse < 2e-3 and fine < 5e-4 and fine < coarse / 2, (coarse, fine)


@pytest.mark.slow
def test_a_local_learning_rule_is_the_gradient_of_the_last_layer():
    network = functools.partial(feed_forward, hard=True, noisy=False)
    engine = rs.EventByEvent(solver=dfx.Tsit5())
    options: Any = dict(window=rs.Window(0.0, T1, 0.005), engine=engine, **ROOM)

    found = rs.eligibility(network(WEIGHTS), drive, **options)
    train = jax.device_get(found.spikes)
    signal = 2 * np.where(train.marks >= 3, train.times, 0)
    own = train.marks[:, None] == np.arange(5)
    learned = np.einsum("n,nj,nk->jk", signal, found.time_derivatives, own)

    def loss(weights):
        train = rs.simulate(network(weights), drive, **options).spikes
        return jnp.sum(jnp.where(train.marks >= 3, train.times, 0) ** 2)

    expected = jax.jit(jax.grad(loss))(WEIGHTS)
    np.testing.assert_allclose(learned, expected, rtol=1e-5, atol=1e-7)


@pytest.mark.slow
def test_it_works_in_batches_and_reports_like_simulate():
    run = lambda key: rs.eligibility(
        feed_forward(WEIGHTS, False), drive, WINDOW, **dict(ROOM, key=key)
    )
    keys = jr.split(jr.key(0), 3)
    together = jax.jit(jax.vmap(run))(keys)
    found = np.asarray(together.time_derivatives)[1]
    np.testing.assert_allclose(found, run(keys[1]).time_derivatives, rtol=1e-9, atol=1e-12)
    few: Any = dict(ROOM, max_spikes=2)
    with pytest.raises(RuntimeError, match="would be enough"):
        rs.eligibility(feed_forward(WEIGHTS, True), drive, WINDOW, **few)
    short = rs.eligibility(feed_forward(WEIGHTS, True), drive, WINDOW, throw=False, **few)
    assert bool(short.spikes.overflow)
    assert short.result == rs.RESULTS.max_events_reached
    broken = lambda t: jnp.where(t < 0.1, drive(t), jnp.inf)
    failed = rs.eligibility(feed_forward(WEIGHTS, True), broken, WINDOW, throw=False, **ROOM)
    assert failed.result == rs.RESULTS.nonfinite_state and bool(failed.spikes.overflow)
    uncoupled = lif_network(rs.HardThreshold(), mu=(5.0, 1.0), size=5)
    with pytest.raises(ValueError, match="must have matrices of weights"):
        rs.eligibility(uncoupled, drive, WINDOW, **ROOM)


def layered(
    weights, neuron: str, hard: bool, noisy: bool, delay, plasticity=None
) -> rs.SpikingNetwork:
    """Three neurons that act on each other and on two more, all of them refractory."""
    firing = rs.StochasticFiring(rs.ExponentialIntensity(beta=5.0), 0.03)
    sigma = ((0.2, 0.0), (0.0, 0.2)) if noisy else (None, None)
    part = lambda size: rs.Population(
        size,
        zoo.NEURONS[neuron](sigma[0]),
        rs.HardThreshold() if hard else firing,
        {"syn": rs.synapses.Exponential(0.05, sigma[1])},
        refractory=0.011,
    )
    inner = rs.Projection("a", "a", zoo.WEIGHTS, delay=0.023)
    mask = np.array([[True, True], [True, False], [True, True]])
    later: Any = dict(delay=delay, max_delay=0.1) if delay else {}
    outer = rs.Projection("a", "b", weights, mask=mask, plasticity=plasticity, **later)
    return rs.SpikingNetwork({"a": part(3), "b": part(2)}, [inner, outer])


def layered_errors(
    neuron: str, hard: bool, noisy: bool, cells: int, delay: float = 0.03, plasticity=None
):
    """As `errors`, of the second layer in what the first one sends to it."""
    level = zoo.MORE.get(neuron, 1.0) * np.array([1.5, 1.3, 1.2, 1.1, 1.25])
    weights = np.abs(zoo.WEIGHTS[:, :2]) + 0.2
    setting: Any = dict(window=rs.Window(0.0, 0.8, 0.8 / cells), max_spikes=80, key=jr.key(5))
    setting["engine"] = rs.EventByEvent()

    def times(weights):
        net = layered(weights, neuron, hard, noisy, delay, plasticity)
        found = rs.simulate(net, jnp.asarray(level), **setting).spikes
        return found.times, found

    exact, train = jax.device_get(jax.jit(jax.jacfwd(times, has_aux=True))(weights))
    net = layered(weights, neuron, hard, noisy, delay, plasticity)
    found = rs.eligibility(net, jnp.asarray(level), **setting)
    np.testing.assert_allclose(found.spikes.times, train.times, rtol=1e-9)
    assert found.spikes.populations == (("a", 3), ("b", 2))
    last = np.flatnonzero(train.marks >= 3)
    assert len(last) >= 4
    wanted = np.stack([exact[n, :, train.marks[n] - 3] for n in last])
    got = np.asarray(found.time_derivatives)[last]
    # The neuron without that synapse.
    silent = train.marks[last] == 4
    assert np.all(got[silent, 1] == 0) and np.all(got[:, 3:] == 0)
    return np.max(np.abs(got[:, :3] - wanted)) / np.max(np.abs(wanted))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("neuron", "hard"),
    [("LIF", True), ("AdaptiveLIF", False), ("GLIF5", False), ("ResonateAndFire", True)],
)
def test_layers_with_delays_and_refractory_times(neuron, hard):
    assert layered_errors(neuron, hard, False, 60) < (1e-9 if hard else 2e-6)


@pytest.mark.slow
def test_layers_without_delays():
    assert layered_errors("LIF", False, False, 60, 0.0) < 2e-6


@pytest.mark.slow
@pytest.mark.parametrize("delay", [0.0, 0.03])
def test_synapses_that_tire(delay):
    tires = rs.synapses.TsodyksMarkram(0.4, 0.2, 0.05)
    assert layered_errors("LIF", True, False, 60, delay, tires) < 1e-9


@pytest.mark.slow
def test_weights_that_keep_their_signs():
    """Derivatives are with respect to the weights, however these are made."""
    net = layered(np.abs(zoo.WEIGHTS[:, :2]) + 0.2, "LIF", True, False, 0.03)
    first, second = net.projections
    made = rs.DaleWeights(np.abs(zoo.WEIGHTS[:, :2]) + 0.2, np.ones(3, bool))
    dale = rs.Projection("a", "b", made, delay=0.03, max_delay=0.1, mask=second.mask)
    options: Any = dict(window=rs.Window(0.0, 0.8, 0.02), max_spikes=80, key=jr.key(5))
    level = jnp.array([1.5, 1.3, 1.2, 1.1, 1.25])
    found, wanted = (
        rs.eligibility(rs.SpikingNetwork(net.populations, [first, other]), level, **options)
        for other in (dale, second)
    )
    assert np.any(np.asarray(wanted.time_derivatives) != 0)
    np.testing.assert_allclose(
        found.time_derivatives, wanted.time_derivatives, rtol=1e-6, atol=1e-9
    )


@pytest.mark.slow
def test_noisy_layers_with_delays():
    coarse, fine = (layered_errors("LIF", False, True, cells) for cells in (60, 480))
    assert fine < 5e-3 and fine < coarse / 2, (coarse, fine)


STDP = rs.synapses.PairSTDP(0.01, 0.01, tau_plus=0.02, tau_minus=0.02, w_max=2.0)


def test_what_has_no_traces():
    net = layered(np.ones((3, 2)), "LIF", False, False, 0.03)
    first, second = net.projections
    a, b = net.populations["a"], net.populations["b"]
    sparse = rs.Projection("a", "b", rs.SparseWeights.from_dense(np.ones((3, 2))))
    source = {"a": a, "b": b, "in": rs.Source(2)}
    learns = rs.Projection("a", "b", np.ones((3, 2)), plasticity=STDP)
    level = np.ones(5)
    for populations, projections, message in (
        ({"a": a, "b": b}, [first, sparse], "must have matrices of weights"),
        ({"a": a, "b": b}, [first, second, second], r"`projections\[2\]` is the second from 'a'"),
        (source, [first], "must have no roughsnn.Source, got 'in'"),
        ({"a": a, "b": b}, [learns], r"`projections\[0\]` learns, by a PairSTDP"),
    ):
        given: Any = dict(ROOM, window=WINDOW)
        if "in" in populations:
            projections = [*projections, rs.Projection("in", "a", np.ones((2, 3)))]
        with pytest.raises(ValueError, match=message):
            rs.eligibility(rs.SpikingNetwork(populations, projections), level, **given)
