"""Weights that learn by the times of spikes."""

from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import roughsnn as rs

from ..helpers import ENGINES, compilations

RULE = rs.synapses.PairSTDP(0.03, 0.04, tau_plus=0.02, tau_minus=0.03, w_max=1.0)
# So large that weights often are at their bounds.
STRONG = rs.synapses.PairSTDP(0.4, 0.45, tau_plus=0.02, tau_minus=0.03, w_max=1.0)
RNG = np.random.default_rng(3)
WEIGHTS = RNG.uniform(0.3, 0.7, (4, 4)) * (1 - np.eye(4))
TARGETS = np.array([[1, 2], [0, 3], [3, -1], [0, 1]])
VALUES = np.where(TARGETS >= 0, RNG.uniform(0.3, 0.7, (4, 2)), 0)
WIDE = RNG.uniform(0.2, 0.8, (4, 2))
FIRING = rs.StochasticFiring(rs.ExponentialIntensity(beta=5.0), 0.03)


def population(size: int = 4, reset: float = 1.0) -> rs.Population:
    ports = {"syn": rs.synapses.Exponential(0.02)}
    return rs.Population(size, rs.neurons.LIF(0.03, rs.Subtract(reset), (0.5,)), FIRING, ports)


def recurrent(weights, rule, **options: Any) -> rs.SpikingNetwork:
    own = rs.Projection("n", "n", weights, plasticity=rule, **options)
    # A neuron that excites itself would run away.
    cells = population(reset=3.0 if options.get("autapses") else 1.0)
    return rs.SpikingNetwork({"n": cells}, [own])


def layers(rule) -> rs.SpikingNetwork:
    """From noise onto one of two populations of one group, and beside it what does not learn."""
    parts: Any = {"noise": rs.Poisson(4, 15.0), "a": population(2), "b": population(2)}
    return rs.SpikingNetwork(
        parts,
        [
            rs.Projection("a", "b", np.full((2, 2), 0.3)),
            rs.Projection("noise", "b", WIDE, plasticity=rule),
            rs.Projection("b", "a", np.full((2, 2), 0.3)),
        ],
    )


# Of a network: the number of the projection that learns, and its source and its target.
NETWORKS = {
    "matrix": (lambda rule: recurrent(WEIGHTS, rule), 0, "n", "n"),
    "lists": (lambda rule: recurrent(rs.SparseWeights(TARGETS, VALUES), rule), 0, "n", "n"),
    "autapses": (
        lambda rule: recurrent(WEIGHTS + 0.05 * np.eye(4), rule, autapses=True),
        0,
        "n",
        "n",
    ),
    "layers": (layers, 1, "noise", "b"),
}


def simulated(net, engine, dt: float = 0.01, t1: float = 1.0, **options: Any):
    options = dict[str, Any](key=jr.key(4), max_spikes=300) | options
    drive = jnp.full(net.num_neurons, 1.45)
    return rs.simulate(net, drive, rs.Window(0.0, t1, dt), engine=engine, **options)


def by_pairs(p: rs.Projection, rule, spikes: rs.SpikeTrain, pre: str, post: str) -> np.ndarray:
    """The weights at the end, spike by spike, with sums over all pairs."""
    weights: Any = p.weights
    lists = isinstance(weights, rs.SparseWeights)
    dense = np.array(weights.to_dense() if lists else weights)
    exists = dense > 0 if lists else np.ones_like(dense) > 0
    exists = exists if p.mask is None else exists & np.array(p.mask)
    a_plus, a_minus, tau_plus, tau_minus, w_max = (float(b.value) for b in rule.bounds())
    of = lambda name: [
        (t, int(k), name) for t, k in zip(*map(np.array, _there(spikes[name])), strict=True)
    ]
    events = sorted(of(pre) if pre == post else of(pre) + of(post))
    sent, received = [], []
    for t, k, name in events:
        if name == pre:
            for s, j in received:
                if exists[k, j]:
                    dense[k, j] -= a_minus * np.exp(-(t - s) / tau_minus)
            dense[k] = np.maximum(dense[k], 0)
            sent.append((t, k))
        if name == post:
            for s, i in sent:
                if exists[i, k]:
                    dense[i, k] += a_plus * np.exp(-(t - s) / tau_plus)
            dense[:, k] = np.minimum(dense[:, k], w_max)
            received.append((t, k))
    if not lists:
        return dense
    rows = np.arange(len(dense))[:, None]
    return np.where(TARGETS >= 0, dense[rows, TARGETS], 0)


def _there(train: rs.SpikeTrain):
    there = np.asarray(train.marks) >= 0
    return np.asarray(train.times)[there], np.asarray(train.marks)[there]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("rule", [RULE, STRONG], ids=["weak", "strong"])
@pytest.mark.parametrize("name", NETWORKS)
def test_weights_are_sums_over_pairs(name, rule, engine):
    """Of all spikes that there were, cut at each to their bounds."""
    make, number, pre, post = NETWORKS[name]
    net = make(rule)
    # In lockstep in cells in which no neuron fires twice: the second spike would be counted late.
    sim = simulated(net, ENGINES[engine], 0.01 if engine == "event" else 0.0005)
    assert min(int(np.sum(sim.spikes[part].marks >= 0)) for part in (pre, post)) >= 15
    exact = by_pairs(net.projections[number], rule, sim.spikes, pre, post)
    found = sim.final.weights[number]
    np.testing.assert_allclose(found, exact, rtol=1e-9, atol=1e-12)
    start: Any = net.projections[number].weights
    start = start.filled().values if isinstance(start, rs.SparseWeights) else start
    assert np.max(np.abs(found - start)) > 0.05
    if rule is STRONG and name != "layers":
        assert np.sum((found == 0) & (start > 0)) + np.sum(found == 1) >= 1


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_engines_come_together(name):
    """Spikes are as strong as the weights that they find: they differ by the second order in dt."""
    net, errors = NETWORKS[name][0](STRONG), []
    for dt in (0.004, 0.001):
        t1 = 0.28 if name == "layers" else 0.5
        a, b = (simulated(net, engine, dt, t1) for engine in ENGINES.values())
        np.testing.assert_array_equal(a.spikes.marks, b.spikes.marks)
        there = a.spikes.marks >= 0
        assert np.sum(np.asarray(there)) >= 8
        errors.append(np.max(np.abs(np.where(there, a.spikes.times - b.spikes.times, 0))))
    assert errors[1] < errors[0] / 4**1.5, errors


@pytest.mark.parametrize("engine", ENGINES)
def test_spikes_bring_the_weight_that_they_find(engine):
    """A current, by the weights at the times of spikes."""
    silent = rs.Population(1, rs.neurons.LIF(0.03), None, {"syn": rs.synapses.Exponential(0.05)})
    net = rs.SpikingNetwork(
        {"noise": rs.Poisson(3, 15.0), "out": silent},
        [rs.Projection("noise", "out", np.full((3, 1), 0.9), plasticity=STRONG)],
    )
    sim = simulated(net, ENGINES[engine], 0.002)
    # Its target never fires: nothing changes.
    times, _ = _there(sim.spikes["noise"])
    exact = 0.9 * np.sum(np.exp(-(1.0 - times) / 0.05))
    np.testing.assert_allclose(sim.final.weights[0], 0.9)
    np.testing.assert_allclose(sim.final.state["out"]["syn"][0], exact, rtol=2e-3)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", NETWORKS)
def test_two_windows_are_the_whole(name, engine):
    net = NETWORKS[name][0](STRONG)

    def run(window, initial=None):
        drive = jnp.full(net.num_neurons, 1.45)
        options: Any = dict(key=jr.key(4), max_spikes=300, engine=ENGINES[engine])
        return rs.simulate(net, drive, window, initial=initial, **options)

    whole = run(rs.Window(0.0, 0.5, 0.01))
    rest = run(rs.Window(0.2, 0.5, 0.01), run(rs.Window(0.0, 0.2, 0.01)).final)
    leaves = lambda sim: jax.tree.leaves(sim.final.state)
    for a, b in zip(leaves(whole), leaves(rest), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-13)


@pytest.mark.slow
def test_a_batch():
    """Each sample with weights that are its own, as one after the other."""
    net, keys = recurrent(WEIGHTS, STRONG), jr.split(jr.key(0), 3)
    run = lambda key: simulated(net, rs.Lockstep(), key=key).final.weights[0]
    together = jax.jit(jax.vmap(run))(keys)
    for n, key in enumerate(keys):
        np.testing.assert_allclose(together[n], run(key), rtol=1e-7)
    assert np.ptp(together, 0).max() > 0.1


@pytest.mark.slow
def test_the_mean_of_a_pair():
    """Of two independent Poisson processes at rates r and s: without bounds a weight moves by
    r s (a_plus tau_plus - a_minus tau_minus) per time, less what is not yet there at the start."""
    rates, t1 = np.array([20.0, 15.0]), 1.0
    parts = {"in": rs.Poisson(1, rates[0]), "out": _poisson_with_port(rates[1])}
    rule = rs.synapses.PairSTDP(0.02, 0.01, tau_plus=0.02, tau_minus=0.03, w_max=1e3)
    net = rs.SpikingNetwork(parts, [rs.Projection("in", "out", [[500.0]], plasticity=rule)])
    window = rs.Window(0.0, t1, 0.001)
    run = lambda key: rs.simulate(net, jnp.zeros(2), window, key=key, max_spikes=300).final.weights[
        0
    ][0, 0]
    moved = jax.jit(jax.vmap(run))(jr.split(jr.key(1), 2000)) - 500.0
    grows = lambda a, tau: a * tau * (t1 - tau * (1 - np.exp(-t1 / tau)))
    exact = np.prod(rates) * (grows(0.02, 0.02) - grows(0.01, 0.03))
    assert abs(np.mean(moved) - exact) < 4 * np.std(moved) / np.sqrt(len(moved))
    assert abs(exact) > 10 * np.std(moved) / np.sqrt(len(moved))


def _poisson_with_port(rate: float) -> rs.Population:
    noise = rs.Poisson(1, rate)
    return rs.Population(1, noise.neuron, noise.firing, {"syn": rs.synapses.Exponential(0.02)})


@pytest.mark.parametrize("engine", ENGINES)
def test_it_has_no_pathwise_gradient(engine):
    """Neither in weights nor in what moves spikes, forward and reverse; the error says why."""

    def total(weights, drive):
        net = recurrent(weights, RULE)
        sim = rs.simulate(
            net,
            drive,
            rs.Window(0.0, 0.2, 0.01),
            key=jr.key(4),
            max_spikes=40,
            engine=ENGINES[engine],
        )
        return jnp.sum(jnp.where(sim.spikes.marks >= 0, sim.spikes.times, 0))

    at = jnp.asarray(WEIGHTS), jnp.full(4, 1.2)
    assert np.isfinite(total(*at))
    for number in (0, 1):
        for transform in (jax.grad, jax.jacfwd):
            with pytest.raises(TypeError, match="no pathwise gradient: where two spikes change"):
                transform(total, number)(*at)


@pytest.mark.parametrize("engine", ENGINES)
def test_other_numbers_compile_nothing(engine):
    rule = lambda f: rs.synapses.PairSTDP(0.4 * f, 0.45, 0.02, 0.03 * f, 1.0)
    first = simulated(recurrent(WEIGHTS, rule(1.0)), ENGINES[engine]).final.weights[0]
    with compilations() as found:
        second = simulated(recurrent(WEIGHTS, rule(0.9)), ENGINES[engine]).final.weights[0]
    assert not found
    assert not np.array_equal(first, second)


WRONG = {
    "negative": (lambda: recurrent(-WEIGHTS, RULE), r"must be in \[0, w_max=1.0\], got values"),
    "large": (lambda: recurrent(2 * WEIGHTS, RULE), r"must be in \[0, w_max=1.0\]"),
    "delay": (lambda: recurrent(WEIGHTS, RULE, delay=0.1), "only without `delay`"),
    "dale": (
        lambda: recurrent(rs.DaleWeights(WEIGHTS, np.full(4, True)), RULE),
        "not roughsnn.DaleWeights",
    ),
    "source": (
        lambda: rs.SpikingNetwork(
            {"in": rs.Source(4), "n": population()},
            [rs.Projection("in", "n", WEIGHTS, plasticity=RULE)],
        ),
        "a Source: only populations that are simulated",
    ),
    "array": (
        lambda: rs.synapses.PairSTDP(np.ones(2), 1.0, 1.0, 1.0, 1.0),
        r"`a_plus` must be a number, got shape \(2,\)",
    ),
    "tau": (
        lambda: rs.synapses.PairSTDP(1.0, 1.0, 0.0, 1.0, 1.0),
        "`tau_plus` must be positive",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_rules(name):
    make, message = WRONG[name]
    with pytest.raises(ValueError, match=message):
        make()


def test_what_needs_weights_that_stay():
    net, window = recurrent(WEIGHTS, RULE), rs.Window(0.0, 0.1, 0.01)
    train = rs.SpikeTrain.from_lists([[0.01]] * 4, t0=0.0, t1=0.1)
    with pytest.raises(TypeError, match=r"`projections\[0\]` learns, by a PairSTDP"):
        rs.clamp(net, jnp.ones(4), train, window, key=jr.key(0))
