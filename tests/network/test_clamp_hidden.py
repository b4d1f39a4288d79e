"""Hidden neurons of a clamped network spike as they do in a simulation."""

from typing import Any

import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import roughsnn as rs

from ..helpers import constant, fed, lif_network

T1 = 2.0


def network(weights, sigma=None):
    intensity = rs.ExponentialIntensity(4.0, 1.0, 0.5)
    firing = rs.StochasticFiring(intensity, 0.0)
    return lif_network(firing, weights, mu=(8.0, 4.0), sigma=sigma, reset=1.2)


@pytest.mark.slow
def test_hidden_spikes_come_as_they_are_simulated():
    """A hidden neuron that is not driven by the observed one fires as in a free simulation."""
    weights = jnp.array([[0.0, 1.5], [0.0, 0.0]])
    net = network(weights, ((0.4,), (0.3,)))
    key, dt = jr.key(5), 0.01
    options: dict[str, Any] = dict(window=rs.Window(0.0, T1, dt), max_spikes=40, key=key)
    free = rs.simulate(net, constant(1.0, 0.7), **options).spikes
    data = rs.SpikeTrain.from_lists([[0.2, 0.5]], t0=0.0, t1=T1)
    found = rs.clamp(net, constant(1.0, 0.7), data, observed=[1], **options)
    np.testing.assert_allclose(found.spikes.to_lists()[0], free.to_lists()[0], rtol=1e-12)
    np.testing.assert_allclose(found.spikes.to_lists()[1], [0.2, 0.5])


@pytest.mark.slow
def test_hidden_spikes_are_those_with_the_observed_ones_as_input():
    """Observed spikes act once, and drive a hidden neuron as spikes from outside do."""
    weights = jnp.array([[0.0, 0.4], [3.0, 0.0]])
    alone = fed(network(None), weights[1:, :1])
    data = rs.SpikeTrain.from_lists([[0.203, 0.511, 0.9, 1.307]], t0=0.0, t1=T1)
    options: Any = dict(window=rs.Window(0.0, T1, 0.01), max_spikes=40, key=jr.key(6))
    free = rs.simulate(alone, constant(0.6), inputs={"in": data}, **options).spikes
    found = rs.clamp(network(weights), constant(0.6, 0.7), data, observed=[1], **options)
    assert free.count > 5
    np.testing.assert_allclose(found.spikes.to_lists()[0], free.to_lists()[0], rtol=1e-12)
