"""The networks of `networks.py` in Brian2, beside ours: run times and population statistics.

pip install -e . --group benchmarks --group peers
python -m pytest benchmarks/test_brian2.py --benchmark-columns=min,median,rounds

Brian2 with its Cython target, after a first run that compiles; Euler steps, float64, as it comes.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import roughsnn as rs

from .networks import ALPHA, BETA, SIGMA, TAU, Network

brian2: Any = pytest.importorskip("brian2")
pytestmark = pytest.mark.filterwarnings("ignore")


class Peer:
    """The same network in Brian2."""

    def __init__(self, network: Network, dt0: float):
        b = brian2
        b.prefs.codegen.target = "cython"
        b.defaultclock.dt = dt0 * b.second
        equations = """
        dv/dt = (current + c - v) / tau1 / second + sigma * xi / second**0.5 : 1
        dcurrent/dt = -current / tau2 / second : 1
        ds/dt = exp(beta * (v - 1)) / second : 1
        c : 1 (constant)
        """
        names = dict(tau1=TAU[0], tau2=TAU[1], sigma=SIGMA, beta=BETA, alpha=ALPHA)
        reset = "v -= 1; s = log(rand()) - alpha"
        group = b.NeuronGroup(
            network.neurons,
            equations,
            threshold="s > 0",
            reset=reset,
            method="euler",
            namespace=names,
        )
        group.c = network.drive
        group.s = "log(rand()) - alpha"
        synapses = b.Synapses(group, group, "w : 1", on_pre="current += w")
        pre = np.repeat(np.arange(network.neurons), network.targets.shape[1])
        synapses.connect(i=pre, j=network.targets.reshape(-1))
        synapses.w = network.values.reshape(-1)
        self.monitor = b.SpikeMonitor(group)
        self.network = b.Network(group, synapses, self.monitor)
        self.network.store()

    def run(self, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Times and neurons of the spikes of one second."""
        self.network.restore()
        brian2.seed(seed)
        # The thresholds at the start are drawn anew.
        self.monitor.source.s = "log(rand()) - alpha"
        self.network.run(1 * brian2.second)
        return np.asarray(self.monitor.t / brian2.second), np.asarray(self.monitor.i)


SIZES = [(1000, 100), (4000, 100), (10000, 100), (1000, 999), (4000, 3999)]


@pytest.mark.parametrize(("neurons", "synapses"), SIZES)
@pytest.mark.parametrize("engine", ["roughsnn", "brian2"])
def test_run(benchmark, engine, neurons, synapses):
    """One second in steps of 1 ms; where all neurons are connected, ours have dense weights."""
    network = Network(neurons, synapses)
    benchmark.group = f"{neurons} neurons, {synapses} synapses each"
    if engine == "brian2":
        peer = Peer(network, 0.001)
        peer.run()
        benchmark.pedantic(peer.run, rounds=5)
        return
    weights = network.sparse()
    if synapses == neurons - 1:
        weights = weights.to_dense()
    compiled = jax.jit(network.simulate).lower(weights, jr.key(0)).compile()
    run = functools.partial(compiled, weights, jr.key(0))
    benchmark.pedantic(lambda: jax.block_until_ready(run()), rounds=5, warmup_rounds=1)


def statistics(times: np.ndarray, marks: np.ndarray, neurons: int) -> np.ndarray:
    """Mean rate, mean CV of the intervals of neurons with 3 spikes, mean correlation of the counts
    of pairs in bins of 50 ms, spread of the rates over neurons."""
    counts = np.zeros((neurons, 20))
    np.add.at(counts, (marks, np.minimum((times * 20).astype(int), 19)), 1)
    rates = counts.sum(1)
    order = np.lexsort((times, marks))
    gaps, same = np.diff(times[order]), np.diff(marks[order]) == 0
    owner = marks[order][1:][same]
    gaps = gaps[same]
    number = np.bincount(owner, minlength=neurons)
    sums, squares = np.zeros((2, neurons))
    np.add.at(sums, owner, gaps)
    np.add.at(squares, owner, gaps**2)
    enough = number >= 3
    mean, square = (z[enough] / number[enough] for z in (sums, squares))
    cv = np.sqrt(np.clip(square - mean**2, 0, None)) / mean
    some = counts[rates > 2][:300]
    correlation = np.atleast_2d(np.corrcoef(some))[np.triu_indices(len(some), 1)]
    return np.array([rates.mean(), cv.mean(), correlation.mean(), rates.std()])


def test_population():
    """1000 neurons: the means over runs agree within their errors."""
    network, runs = Network(1000, drive=(1.0, 2.0)), 12
    peer = Peer(network, 0.0001)
    theirs = np.stack([statistics(*peer.run(seed), network.neurons) for seed in range(runs)])
    weights = network.sparse()
    simulate = jax.jit(functools.partial(network.simulate, max_spikes=40_000))
    ours = []
    for seed in range(runs):
        x = simulate(weights, jr.key(seed))
        count = int(x.count)
        times, marks = np.asarray(x.times)[:count], np.asarray(x.marks)[:count]
        ours.append(statistics(times, marks, network.neurons))
    ours = np.stack(ours)
    gap = ours.mean(0) - theirs.mean(0)
    error = np.sqrt((ours.var(0, ddof=1) + theirs.var(0, ddof=1)) / runs)
    for name, *row in zip(
        ("rate", "CV of intervals", "correlation", "spread of rates"),
        ours.mean(0),
        theirs.mean(0),
        error,
        strict=True,
    ):
        print(f"{name}: roughsnn {row[0]:.4f}, Brian2 {row[1]:.4f}, error {row[2]:.4f}")
    assert np.all(np.abs(gap) < 3 * error)


# Two hundred neurons without noise of their own, each with an excitatory and an inhibitory input.
POISSON: dict[str, Any] = dict(neurons=200, rates=(300.0, 150.0), weights=(0.9, -0.6), c=0.3)


def poisson_peer():
    """A `run(seed)` like `Peer.run`, with Poisson inputs."""
    b, n = brian2, POISSON["neurons"]
    b.prefs.codegen.target = "cython"
    b.defaultclock.dt = 0.0001 * b.second
    equations = """
    dv/dt = (current + c - v) / tau1 / second : 1
    dcurrent/dt = -current / tau2 / second : 1
    ds/dt = exp(beta * (v - 1)) / second : 1
    """
    names = dict(tau1=TAU[0], tau2=TAU[1], beta=BETA, alpha=ALPHA, c=POISSON["c"])
    group = b.NeuronGroup(
        n,
        equations,
        threshold="s > 0",
        reset="v -= 1; s = log(rand()) - alpha",
        method="euler",
        namespace=names,
    )
    parts, synapses = [group], []
    for rate, weight in zip(POISSON["rates"], POISSON["weights"], strict=True):
        source = b.PoissonGroup(n, rates=rate * b.Hz)
        synapse = b.Synapses(source, group, on_pre=f"current += {weight}")
        synapse.connect(j="i")
        parts += [source]
        synapses += [synapse]
    monitor = b.SpikeMonitor(group)
    network = b.Network(*parts, *synapses, monitor)
    network.store()

    def run(seed):
        network.restore()
        b.seed(seed)
        group.s = "log(rand()) - alpha"
        network.run(1 * b.second)
        return np.asarray(monitor.t / b.second), np.asarray(monitor.i)

    return run


def test_poisson_input():
    """Rate and CV of neurons driven by Poisson spikes: the means over runs agree."""
    n, runs, peer = POISSON["neurons"], 12, poisson_peer()
    theirs = np.stack([statistics(*peer(seed), n) for seed in range(runs)])[:, :2]
    weights = np.concatenate([w * np.eye(n) for w in POISSON["weights"]]).astype(np.float32)
    population = rs.Population(
        n,
        rs.neurons.LIF(TAU[0]),
        rs.StochasticFiring(rs.ExponentialIntensity(BETA, 1.0, 1.0), ALPHA),
        ports={"syn": rs.synapses.Exponential(TAU[1])},
    )
    network = rs.SpikingNetwork(
        {"input": rs.Source(len(weights)), "neurons": population},
        [rs.Projection("input", "neurons", weights)],
    )
    rates = np.repeat(POISSON["rates"], n).astype(np.float32)

    @jax.jit
    def simulate(key):
        spikes_key, key = jr.split(key)
        train = rs.poisson_spikes(0.0, 1.0, rates=rates, max_spikes=400, key=spikes_key)
        return rs.simulate(
            network,
            jnp.full(n, POISSON["c"], jnp.float32),
            rs.Window(0.0, 1.0, 0.001),
            max_spikes=20_000,
            key=key,
            inputs={"input": train},
        ).spikes

    ours = []
    for seed in range(runs):
        x = simulate(jr.key(seed))
        count = int(x.count)
        ours.append(statistics(np.asarray(x.times)[:count], np.asarray(x.marks)[:count], n))
    ours = np.stack(ours)[:, :2]
    gap = ours.mean(0) - theirs.mean(0)
    error = np.sqrt((ours.var(0, ddof=1) + theirs.var(0, ddof=1)) / runs)
    for name, a, b, e in zip(
        ("rate", "CV of intervals"), ours.mean(0), theirs.mean(0), error, strict=True
    ):
        print(f"{name}: roughsnn {a:.4f}, Brian2 {b:.4f}, error {e:.4f}")
    assert np.all(np.abs(gap) < 3 * error)
