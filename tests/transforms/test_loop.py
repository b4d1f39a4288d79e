"""The flat loop: what it costs, and what batching does to it."""

from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import roughsnn as rs

from ..helpers import constant, lif_network, single_neuron


def train(key, c=1.5, sigma=0.25, t1=1.0, max_spikes=20, neurons=1, throw=True, **options: Any):
    one = single_neuron(sigma)["neurons"]
    return rs.simulate(
        rs.SpikingNetwork(rs.Population(neurons, one.neuron, one.firing)),
        constant(*[c] * neurons),
        rs.Window(0.0, t1, 0.01),
        max_spikes=max_spikes,
        key=key,
        engine=rs.EventByEvent(**options),
        throw=throw,
    ).spikes


@pytest.mark.slow
def test_vmap_gives_each_sample_what_it_gets_alone():
    keys = jr.split(jr.key(0), 5)
    batch = jax.vmap(train)(keys)
    for i, key in enumerate(keys):
        alone = train(key)
        np.testing.assert_array_equal(batch.marks[i], alone.marks)
        np.testing.assert_allclose(batch.times[i], alone.times, rtol=1e-12)


def test_no_sample_waits_for_another():
    """The number of iterations is cells + jumps + events + 1, whatever the batch."""

    def scans(fn, *args):
        """Static trip counts of nested scans, outermost first."""
        counts = []

        def walk(jaxpr, times):
            for eqn in jaxpr.eqns:
                inner = times
                if eqn.primitive.name == "scan":
                    inner = times * eqn.params["length"]
                    counts.append(inner)
                for value in jax.tree.leaves(
                    list(eqn.params.values()), is_leaf=lambda x: hasattr(x, "jaxpr")
                ):
                    if hasattr(value, "jaxpr"):
                        walk(value.jaxpr, inner)
                    elif hasattr(value, "eqns"):
                        walk(value, inner)

        walk(jax.make_jaxpr(fn)(*args).jaxpr, 1)
        return counts

    fn = lambda keys: jax.vmap(lambda k: train(k, throw=False))(keys).times
    for samples in (1, 64):
        longest = max(scans(fn, jr.split(jr.key(0), samples)))
        assert 100 + 20 < longest <= 100 + 20 + 1 + 2 * 11


def equations(fn, *args):
    """How many equations the program of `fn` has, loops counted once."""
    total = 0

    def walk(jaxpr):
        nonlocal total
        for eqn in jaxpr.eqns:
            total += 1
            for value in jax.tree.leaves(
                list(eqn.params.values()), is_leaf=lambda x: hasattr(x, "jaxpr")
            ):
                if hasattr(value, "jaxpr"):
                    walk(value.jaxpr)
                elif hasattr(value, "eqns"):
                    walk(value)

    walk(jax.make_jaxpr(fn)(*args).jaxpr)
    return total


@pytest.mark.parametrize(
    "larger",
    [{"t1": 8.01}, {"max_spikes": 160}, {"neurons": 16}],
    ids=["steps", "spikes", "neurons"],
)
def test_the_program_does_not_grow(larger):
    """What is compiled is about as long for 8 times the cells, spikes or neurons.

    (The Brownian path is halved log2(cells) times, so its window is kept odd here.)
    """
    small = {"t1": 1.01, "max_spikes": 20, "neurons": 2}
    large = small | larger

    def program(options):
        gradient = jax.grad(lambda c, k: train(k, c, throw=False, sigma=0.25, **options).times[0])
        return equations(gradient, jnp.asarray(1.5), jr.key(0))

    assert program(large) < 1.05 * program(small)


@pytest.mark.slow
def test_reverse_mode_memory_grows_like_the_root_of_the_number_of_steps():
    """Temporary memory of the compiled gradient, less the path and the outputs."""

    def temporary(t1):
        neuron = rs.neurons.LIF(1 / 15, rs.Subtract(1.4))
        firing = rs.StochasticFiring(rs.ExponentialIntensity())
        network = rs.SpikingNetwork(rs.Population(256, neuron, firing))

        def last(c, key):
            return rs.simulate(
                network,
                lambda t: c * jnp.ones(256),
                rs.Window(0.0, t1, 0.01, stop_after=4),
                max_spikes=4,
                key=key,
                throw=False,
                engine=rs.EventByEvent(),
            ).spikes.times[0]

        compiled = jax.jit(jax.grad(last)).lower(jnp.asarray(1.0), jr.key(0)).compile()
        analysis = compiled.memory_analysis()
        assert analysis is not None
        return analysis.temp_size_in_bytes

    small, large = temporary(1.0), temporary(16.0)
    assert large < 6 * small


def test_threshold_randomness_is_keyed_by_neuron_and_own_spike():
    """Silencing one neuron leaves the spikes of an uncoupled other one as they were."""
    key = jr.key(3)
    intensity = rs.ExponentialIntensity(5.0, jnp.array([1.0, 1.0]), 1.0)
    muted = rs.ExponentialIntensity(5.0, jnp.array([50.0, 1.0]), 1.0)

    def spikes(intensity):
        neuron = rs.neurons.LIF(1 / 15, rs.Subtract(1.4), 0.3)
        firing = rs.StochasticFiring(intensity)
        network = rs.SpikingNetwork(rs.Population(2, neuron, firing))
        return rs.simulate(
            network,
            constant(1.5, 1.5),
            rs.Window(0.0, 1.0, 0.01),
            max_spikes=40,
            key=key,
            engine=rs.EventByEvent(),
        ).spikes

    both, one = spikes(intensity), spikes(muted)
    assert int(one.counts()[0]) == 0 and int(both.counts()[0]) > 0
    # Steps are cut at every event, which moves the quadrature by O(dt^2), nothing else.
    np.testing.assert_allclose(both.to_lists()[1], one.to_lists()[1], rtol=1e-4)


@pytest.mark.slow
def test_spike_times_are_continuous_where_two_neurons_swap_order():
    """Scan a parameter through a swap: per-neuron times move without a jump."""
    network = lif_network(
        rs.StochasticFiring(rs.ExponentialIntensity()),
        [[0.0, 0.8], [0.6, 0.0]],
        sigma=((0.2,), (0.0,)),
        reset=1.4,
    )

    def run(c):
        train = rs.simulate(
            network,
            lambda t: jnp.stack([c, jnp.asarray(1.5)]),
            rs.Window(0.0, 1.0, 0.01),
            max_spikes=120,
            key=jr.key(0),
            engine=rs.EventByEvent(),
        ).spikes
        return train.per_neuron(3), train.marks[:8]

    cs = jnp.linspace(1.0, 2.5, 3001)
    times, marks = jax.jit(lambda cs: jax.lax.map(run, cs, batch_size=500))(cs)
    swaps = np.any(np.diff(np.asarray(marks), axis=0) != 0, axis=1).sum()
    steps = np.abs(np.diff(np.asarray(times)[:, :, :2], axis=0))
    assert swaps >= 3
    assert np.all(np.isfinite(steps)) and steps.max() < 0.01
