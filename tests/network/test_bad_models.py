"""Networks and their parts that are refused."""

from typing import Any, cast

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import roughsnn as rs

from ..helpers import constant, lif_network

FIRING = rs.StochasticFiring(rs.ExponentialIntensity(), alpha=0.03)
SYN = rs.synapses.Exponential(1 / 6)


def population(size: Any = 2, **change):
    arguments = {"neuron": rs.neurons.LIF(1 / 15), "firing": FIRING, "ports": {"syn": SYN}}
    return rs.Population(size, **(arguments | change))


def model(**change):
    return rs.SpikingNetwork(population(), **change)


def joined(*projections, **parts):
    everything = {"in": rs.Source(3), "exc": population(), "inh": population(4)} | parts
    return rs.SpikingNetwork(everything, projections)


BAD_MODELS = [
    (lambda: rs.neurons.LIF(tau=-1.0), "`tau` must be positive"),
    (lambda: rs.neurons.LIF(tau=np.nan), "`tau` must be finite"),
    (lambda: rs.neurons.LIF(tau=np.array([1, 2])), "`tau` must have a floating dtype"),
    (lambda: rs.neurons.LIF(sigma=np.ones((1, 1, 1))), "`sigma` must be a number, or have shape"),
    (lambda: rs.neurons.LIF(reset=cast(Any, 1.0)), "`reset` must be a roughsnn.Subtract"),
    (lambda: rs.Subtract(np.inf), "`by` must be finite"),
    (lambda: rs.Subtract(jnp.ones((2, 2))), "`by` must be a number or have shape"),
    (lambda: rs.synapses.Exponential(0.0), "`tau` must be positive"),
    (lambda: rs.synapses.Exponential(1.0, np.ones((1, 1, 1))), "`sigma` must be a number, or"),
    (lambda: rs.ExponentialIntensity(timescale=-1.0), "`timescale` must be positive"),
    (lambda: rs.SoftplusIntensity(rate=-2.0), "`rate` must be positive"),
    (lambda: rs.StochasticFiring(rs.ExponentialIntensity(), alpha=-0.1), "`alpha` must not"),
    (lambda: rs.StochasticFiring(cast(Any, jnp.exp)), "`intensity` must be"),
    (lambda: population(neuron=3), "`neuron` must be"),
    (lambda: population(firing=3), "`firing` must be"),
    (lambda: population(2.5), "`size` must be a positive integer"),
    (lambda: population(ports={"syn": 3}), r"`ports\['syn'\]` must be a roughsnn.AbstractSynapse"),
    (lambda: population(ports={"v": SYN}), "`ports` must have names .* got \\['v'\\]"),
    (lambda: population(neuron=rs.neurons.LIF(np.ones(3))), r"`tau` must have shape .*\(2,\)"),
    (
        lambda: population(ports={"syn": rs.synapses.Exponential(1.0, np.ones((3, 1)))}),
        r"`sigma` must have shape .*\(2, 1\)",
    ),
    (lambda: rs.SpikingNetwork(cast(Any, 3)), "`populations` must be"),
    (lambda: rs.SpikingNetwork({"in": rs.Source(3)}), "at least one roughsnn.Population"),
    (lambda: joined(rs.Projection("exc", "all", np.ones((2, 2)))), "'all' is no population"),
    (lambda: joined(rs.Projection("exc", "in", np.ones((2, 3)))), "a Source: it takes no spikes"),
    (lambda: joined(rs.Projection("in", "inh", np.ones((3, 2)))), r"must have shape \(3, 4\)"),
    (lambda: joined(rs.Projection("in", "exc", np.ones((3, 2)), "gaba")), "'gaba' is no port of"),
    (
        lambda: joined(rs.Projection("in", "out", np.ones((3, 2))), out=population(ports={})),
        "which has no ports",
    ),
    (
        lambda: joined(
            rs.Projection("in", "two", np.ones((3, 2))), two=population(ports={"a": SYN, "b": SYN})
        ),
        "must name a port of 'two'",
    ),
    (lambda: rs.SpikingNetwork({"a": population()}, weights=np.zeros((2, 2))), "a single"),
    (lambda: model(weights=jnp.ones((2, 3))), r"shape \(neurons, neurons\)"),
    (lambda: model(weights=jnp.ones((2, 2))), "zero on the diagonal"),
    (lambda: model(weights=jnp.full((2, 2), jnp.nan)), "`weights` must be finite"),
    (lambda: model(mask=jnp.ones((2, 2), bool)), "without `weights`"),
    (lambda: model(weights=jnp.zeros((2, 2)), mask=jnp.ones((2, 2))), "must be boolean"),
    (
        lambda: model(weights=jnp.zeros((2, 2)), mask=jnp.ones((2, 2), bool)),
        "`mask` must be false on the diagonal",
    ),
    (
        lambda: lif_network(rs.HardThreshold(), sigma=((0.1,), (0.0,))),
        "without noise on its potential",
    ),
]


@pytest.mark.parametrize(("make", "match"), BAD_MODELS, ids=[m for _, m in BAD_MODELS])
def test_bad_models(make, match):
    with pytest.raises((ValueError, TypeError), match=match):
        make()


def test_a_noisy_neuron_with_a_hard_threshold_is_refused_under_jit_too():
    @jax.jit
    def run(sigma):
        network = lif_network(rs.HardThreshold(), mu=(2.0, 1.0), sigma=sigma)
        return rs.simulate(
            network,
            constant(1.5),
            rs.Window(0.0, 1.0, 0.1),
            max_spikes=9,
            key=jr.key(0),
            engine=rs.EventByEvent(),
        ).spikes.count

    assert int(run(jnp.array([[0.0], [0.1]]))) == 1
    with pytest.raises(Exception, match="without noise on its potential"):
        jax.block_until_ready(run(jnp.array([[0.1], [0.0]])))
