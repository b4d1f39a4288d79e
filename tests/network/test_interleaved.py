"""Populations of one structure with others between them: neurons keep their numbers."""

from typing import Any

import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import roughsnn as rs

from ..helpers import ENGINES

SIZES = {"a": 2, "b": 3, "c": 1, "d": 2}
LEVELS = jnp.array([1.2, 1.5, 1.9, 2.2, 2.6, 3.1, 3.7, 4.4])
WINDOW, HARD = rs.Window(0.0, 3.2, 0.02), rs.HardThreshold(1.0)


def period(level, tau: float) -> np.ndarray:
    """Of a leaky neuron that is reset to 0."""
    return -tau * np.log(1 - 1 / np.asarray(level))


@pytest.mark.parametrize(
    "engine", [*ENGINES.values(), rs.Lockstep(adjoint=rs.CheckpointAdjoint(block_size=32))]
)
def test_each_neuron_fires_with_its_period(engine):
    """`a` and `c` are one group, `b` and `d` have a structure each."""
    plain, other = rs.neurons.LIF(0.3, rs.ResetTo(0.0)), rs.neurons.AdaptiveLIF(0.2, 1.0, 0.0)
    kinds: dict[str, Any] = {"a": plain, "b": other, "c": plain, "d": rs.neurons.GLIF(0.25)}
    parts = {name: rs.Population(n, kinds[name], HARD) for name, n in SIZES.items()}
    found = rs.simulate(
        rs.SpikingNetwork(parts), LEVELS, WINDOW, max_spikes=400, key=jr.key(0), engine=engine
    ).spikes
    taus = np.repeat([0.3, 0.2, 0.3, 0.25], list(SIZES.values()))
    for own, level, tau in zip(found.to_lists(), LEVELS, taus, strict=True):
        expected = np.arange(1, 99) * period(level, tau)
        np.testing.assert_allclose(own, expected[expected < WINDOW.t1], atol=2e-3)
