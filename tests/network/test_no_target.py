"""Entries of lists that have no target: whatever their weights and delays are, they do nothing."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import roughsnn as rs

from ..helpers import ENGINES

# The second one of the first neuron has none, and a delay that is shorter than a cell.
LISTS = rs.SparseWeights([[1, -1], [0, 1]], [[0.9, 50.0], [0.6, -0.4]])
MATRIX = np.array([[0.0, 0.9], [0.6, -0.4]])
OF_LISTS, OF_MATRIX = np.array([[0.02, 0.001], [0.03, 0.05]]), np.array([[0.1, 0.02], [0.03, 0.05]])


def network(weights: Any, delay: Any) -> rs.SpikingNetwork:
    """Two populations of one structure, so that both projections are one list; the lists are those
    of the second one."""
    firing = rs.StochasticFiring(rs.ExponentialIntensity(beta=5.0), 0.03)
    neuron, ports = rs.neurons.LIF(0.07, rs.Subtract(1.0)), {"syn": rs.synapses.Exponential(0.05)}
    parts = {name: rs.Population(2, neuron, firing, ports) for name in "ab"}
    options: Any = {} if delay is None else dict(delay=delay, max_delay=0.2)
    return rs.SpikingNetwork(
        parts,
        [rs.Projection("a", name, weights, autapses=True, **options) for name in "ab"],
    )


@pytest.mark.slow
@pytest.mark.parametrize("delays", [False, True])
@pytest.mark.parametrize("engine", ENGINES)
def test_entries_without_target_do_nothing(engine, delays):
    """Spikes and gradients are those of the matrix; the entry's own gradient is 0. The event engine
    stops at arrivals of the matrix that bring nothing, which the lists do not have."""
    rounding = 1e-5 if delays and engine == "event" else 1e-9

    def spikes(net):
        window, drive = rs.Window(0.0, 0.5, 0.01), jnp.array([2.2, 1.9, 1.4, 1.3])
        options: Any = dict(key=jr.key(5), max_spikes=60, engine=ENGINES[engine])
        train = rs.simulate(net, drive, window, **options).spikes
        times = jnp.where(train.marks >= 0, train.times, 0)
        return jnp.sum(jnp.sin(9 * times)), train

    run = eqx.filter_jit(eqx.filter_value_and_grad(spikes, has_aux=True))
    (value, train), found = run(network(LISTS, OF_LISTS if delays else None))
    (expected, other), wanted = run(network(MATRIX, OF_MATRIX if delays else None))
    assert int(train.count) >= 8
    np.testing.assert_array_equal(train.marks, other.marks)
    np.testing.assert_allclose(value, expected, rtol=rounding)
    rows, columns = np.array([0, 1, 1]), np.array([1, 0, 1])
    for own, matrix in zip(found.projections, wanted.projections, strict=True):
        pairs = [(own.weights.values, matrix.weights)]
        pairs += [(own.delay, matrix.delay)] if delays else []
        for a, b in pairs:
            assert a[0, 1] == 0
            np.testing.assert_allclose(a[[0, 1, 1], [0, 0, 1]], b[rows, columns], rtol=rounding)


def test_delays_of_entries_without_target_may_be_anything():
    """Also in a program, where a delay that is too short ends in a result."""

    @jax.jit
    def result(delay):
        net = network(LISTS, delay)
        options: Any = dict(key=jr.key(5), max_spikes=60, throw=False)
        return rs.simulate(net, jnp.ones(4), rs.Window(0.0, 0.1, 0.01), **options).result

    assert result(OF_LISTS) == rs.RESULTS.successful
    assert result(OF_LISTS[:, ::-1]) == rs.RESULTS.parameter_outside
