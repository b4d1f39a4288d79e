"""The density of spikes of several kinds of neurons, and of hazards that know the time."""

from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from jaxtyping import Array, Float

import roughsnn as rs

WINDOW = rs.Window(2.0, 4.0, 0.01)


class Tide(rs.AbstractHazard):
    """A hazard that comes and goes."""

    height: Float[Array, "*neurons"]
    alpha: Float[Array, "*neurons"]

    def hazard(self, t, v):
        return jnp.exp(self.log_hazard(t, v))

    def log_hazard(self, t, v):
        return self.height * jnp.sin(t) + v

    def check(self, neuron, size):
        return neuron

    def bounds(self):
        return ()


TIDE = rs.Population(
    2, rs.neurons.LIF(0.05, rs.ResetTo(0.0)), Tide(jnp.array([1.0, 2.0]), jnp.zeros(()))
)
LIF = rs.Population(
    2,
    rs.neurons.LIF(0.07, rs.Subtract(1.0)),
    rs.StochasticFiring(rs.ExponentialIntensity(beta=4.0, threshold=jnp.array([1.0, 1.2]))),
)
ONE = rs.StochasticFiring(rs.ExponentialIntensity(beta=3.0), alpha=0.01)
ADAPTIVE = rs.Population(1, rs.neurons.AdaptiveLIF(0.06, 0.2, 0.3), ONE, refractory=0.02)
SPIKES = {
    "tide": [[2.31, 3.7], [2.8, 2.805]],
    "lif": [[2.5, 2.9, 3.99], [3.0]],
    "adaptive": [[2.4, 3.05]],
}


def likelihood(parts, drive):
    lists = [own for name in parts for own in SPIKES[name]]
    train = rs.SpikeTrain.from_lists(lists, t0=2.0, t1=4.0)
    return np.asarray(rs.clamp(rs.SpikingNetwork(parts), drive, train, WINDOW).log_likelihood)


@pytest.mark.slow
def test_a_hazard_that_knows_the_time():
    """At rest: the closed form. The two spikes of a cell are exact only to first order."""
    found = likelihood({"tide": TIDE}, jnp.zeros(2))
    fine = np.linspace(2.0, 4.0, 200_001)
    for height, spikes, value, error in zip(
        (1, 2), SPIKES["tide"], found, (1e-6, 1e-3), strict=True
    ):
        integral = np.trapezoid(np.exp(height * np.sin(fine)), fine)
        np.testing.assert_allclose(value, np.sum(height * np.sin(spikes)) - integral, rtol=error)


@pytest.mark.slow
@pytest.mark.parametrize("interpolation", ["linear", "parabola"])
def test_hazards_under_noise_are_those_of_the_simulation(interpolation):
    """Long cells, much noise: a hidden state that begins with -0.7 has risen by that at a spike."""
    neurons, window = 40, rs.Window(2.0, 4.0, 0.1)
    drive = jnp.full(neurons, 0.9)
    firing = rs.StochasticFiring(rs.ExponentialIntensity(beta=3.0, threshold=1.0))
    net = rs.SpikingNetwork(rs.Population(neurons, rs.neurons.LIF(0.2, sigma=1.5), firing))
    draw = lambda key: rs.BrownianPath(
        2.0, 4.0, 0.1, shape=(neurons, 1), key=key, interpolation=interpolation
    )
    options: Any = dict(key=jr.key(2), noise=jax.jit(draw)(jr.key(1)))
    run = rs.simulate(
        net, drive, window, max_spikes=999, initial={"s": np.full(neurons, -0.7)}, **options
    ).spikes
    hazards = np.asarray(rs.clamp(net, drive, run, window, **options).hazards)
    marks = np.asarray(run.marks)
    fired, first = np.unique(marks[marks >= 0], return_index=True)
    assert len(fired) > 30
    np.testing.assert_allclose(hazards[first], np.full(len(fired), 0.7), rtol=1e-9)


@pytest.mark.slow
def test_several_kinds_of_neurons_are_as_each_is_alone():
    parts = {"tide": TIDE, "lif": LIF, "adaptive": ADAPTIVE}
    drive = jnp.array([0.1, 0.2, 1.1, 0.9, 1.3])
    each = [
        likelihood({name: parts[name]}, drive[start:stop])
        for name, start, stop in (("tide", 0, 2), ("lif", 2, 4), ("adaptive", 4, 5))
    ]
    np.testing.assert_allclose(likelihood(parts, drive), np.concatenate(each), rtol=1e-12)
