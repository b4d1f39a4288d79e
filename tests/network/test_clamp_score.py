"""The likelihood is that of the simulation, in cells that are not short: the mean score is 0."""

from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import roughsnn as rs

from ..zoo import NEURONS

DT, T1, SAMPLES = 0.04, 1.2, 20_000
WINDOW = rs.Window(0.0, T1, DT)
# A neuron of the zoo, and whether there is noise on its potential.
ROWS = [("LIF", False), ("LIF", True), ("GLIF3", False), ("HistoryFilter", False)]


def network(neuron: str, noisy: bool, p) -> rs.SpikingNetwork:
    """Two that excite each other by what arrives in later cells. Refractory times are longer than a
    cell: a second spike in a cell is late."""
    intensity = rs.ExponentialIntensity(p["beta"], p["threshold"], 0.3)
    sigma = (0.3, 0.0) if noisy else None
    part = rs.Population(
        2,
        NEURONS[neuron](sigma),
        rs.StochasticFiring(intensity),
        {"syn": rs.synapses.Exponential(0.06)},
        refractory=1.4 * DT,
    )
    weights = p["weight"] * jnp.array([[0.0, 1.0], [0.7, 0.0]])
    return rs.SpikingNetwork({"a": part}, [rs.Projection("a", "a", weights, delay=1.3 * DT)])


# Cells are longer than some time constants.
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::roughsnn.StepWarning")
@pytest.mark.parametrize(("neuron", "noisy"), ROWS)
def test_the_mean_score_is_zero(neuron, noisy):
    """Given the noise, by the derivatives in how steep the hazard is, where, the input and the
    weights."""
    p = {"beta": 5.0, "threshold": 1.0, "weight": 0.8, "level": 1.2}

    def score(key):
        fixed: Any = dict(key=key, max_spikes=60)
        drive = jnp.full(2, p["level"])
        sim = rs.simulate(network(neuron, noisy, p), drive, WINDOW, **fixed)
        train = jax.lax.stop_gradient(sim.spikes)

        def log_p(p):
            net = network(neuron, noisy, p)
            given = jnp.full(2, p["level"])
            return jnp.sum(rs.clamp(net, given, train, WINDOW, key=key).log_likelihood)

        return sim.spikes.count, jax.grad(log_p)(p)

    counts, scores = jax.jit(jax.vmap(score))(jr.split(jr.key(0), SAMPLES))
    assert np.mean(counts) > 2
    for name, x in scores.items():
        x = np.asarray(x)
        error = np.std(x, ddof=1) / SAMPLES**0.5
        assert abs(np.mean(x)) < 4 * error, (name, np.mean(x), error)
