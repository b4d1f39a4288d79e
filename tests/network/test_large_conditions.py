"""The conditions of large networks of neurons of one's own, of which a part is looked at."""

from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import roughsnn as rs

from ..own_neurons import Cubic

RANDOM = rs.StochasticFiring(rs.ExponentialIntensity(beta=5.0), 0.03)


class Constant(Cubic):
    """Reset to a constant, which does not commute with its noise."""

    def spike(self, x):
        return {"v": 0 * x["v"], "w": x["w"] + 0.1}


class Halved(rs.AbstractSynapse):
    """An arrival halves what there was: which of two comes first matters."""

    def initial(self):
        return jnp.zeros(())

    def drift(self, g):
        return -g / 0.01

    def receive(self, g, amount):
        return jnp.where(amount == 0, g, g / 2 + amount)

    def current(self, g, v):
        return g


def part(kind=Cubic, size: int = 20_000, synapse: Any = None):
    neuron = kind(*map(jnp.asarray, (0.1, 0.3, 0.2)))
    return rs.Population(size, neuron, RANDOM, {"syn": synapse or rs.synapses.Exponential(0.01)})


def conditions(populations, projections) -> str:
    """What a simulation says of them, which is not run."""
    net = rs.SpikingNetwork(populations, projections)
    drive = jnp.zeros(net.num_neurons)
    run = lambda: rs.simulate(
        net,
        drive,
        rs.Window(0.0, 0.1, 0.01),
        key=jr.key(0),
        max_spikes=8,
        engine=rs.EventByEvent(),
    )
    return jax.eval_shape(run).conditions


def lists(size: int) -> list[rs.Projection]:
    found = rs.connectors.fixed_out_degree(size, size, 10, key=jr.key(0), weights=0.1)
    return [rs.Projection("a", "a", found, autapses=True)]


@pytest.mark.slow
def test_twenty_thousand_neurons():
    """All channels of all neurons would be an array of terabytes."""
    assert conditions({"a": part()}, lists(20_000)) == "hold"
    with pytest.raises(ValueError, match=r"C3 FAILS \(sampled\).*\['v'\]\[\d+\]"):
        conditions({"a": part(Constant)}, lists(20_000))


@pytest.mark.slow
def test_each_population_is_looked_at():
    good, bad = part(size=500), part(Constant, 3)
    with pytest.raises(ValueError, match=r"coordinate 50[0-2]\b"):
        conditions({"a": good, "b": bad}, lists(500))


@pytest.mark.slow
def test_targets_are_looked_at():
    """The spikes of two neurons do not commute in a third one."""
    weights = np.zeros((100, 100))
    weights[:, 77] = 0.5 + 0.01 * np.arange(100)
    one_target = [rs.Projection("a", "a", weights, autapses=True)]
    still = part(size=100, synapse=Halved())
    with pytest.raises(ValueError, match=r"C5 FAILS.*\['syn'\]\[77\]"):
        conditions({"a": still}, one_target)
    assert conditions({"a": part(size=100)}, one_target) == "hold"
