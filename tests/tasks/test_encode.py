"""Numbers as the times of spikes, pictures as input over time."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import roughsnn as rs

WINDOW = rs.Window(0.0, 1.0, 0.05)
VALUES = np.array([[0.25, 1.0], [0.0, 0.5]])
TIMES = np.array([0.65, 0.2, 0.8, 0.5])


def encoded(values, **options):
    return rs.tasks.latency(values, WINDOW, earliest=0.2, latest=0.8, **options)


def test_one_spike_for_each_number():
    train = encoded(VALUES)
    assert (train.t0, train.t1, train.num_neurons, int(train.count)) == (0.0, 1.0, 4, 4)
    np.testing.assert_allclose(np.concatenate(train.to_lists()), TIMES)
    assert np.all(np.diff(train.times) > 0)
    few = encoded(VALUES, silent=0.25, reference=[0.3, 1.0]).to_lists()
    assert [len(x) for x in few] == [0, 1, 0, 1, 1, 1]
    np.testing.assert_allclose(np.concatenate(few), [0.2, 0.5, 0.3, 1.0])


def test_derivatives_and_batches():
    batch = np.stack([VALUES, VALUES[::-1]])
    trains = jax.jit(jax.vmap(encoded))(batch)
    for values, own in zip(batch, trains.to_lists(), strict=True):
        np.testing.assert_array_equal(
            np.concatenate(own), np.concatenate(encoded(values).to_lists())
        )
    weighted = lambda x: jnp.sum(encoded(x).times * jnp.take(jnp.arange(4.0), encoded(x).marks))
    np.testing.assert_allclose(jax.grad(weighted)(VALUES), -0.6 * np.arange(4.0).reshape(2, 2))


def test_spikes_drive_a_network():
    """Larger numbers let neurons fire sooner."""
    population = rs.Population(
        4, rs.neurons.LIF(0.1), rs.HardThreshold(1.0), {"syn": rs.synapses.Exponential(0.05)}
    )
    parts = {"in": rs.Source(4), "out": population}
    net = rs.SpikingNetwork(parts, [rs.Projection("in", "out", 6.0 * np.eye(4))])
    run = rs.simulate(
        net, jnp.zeros(4), WINDOW, inputs={"in": encoded(VALUES)}, max_spikes=9, key=jr.key(0)
    )
    first = run.spikes["out"].per_neuron(1)[:, 0]
    assert np.all(np.isfinite(first))
    np.testing.assert_allclose(first - TIMES, np.full(4, first[1] - TIMES[1]), atol=2e-3)


def test_row_by_row():
    image = np.arange(6.0).reshape(2, 3)
    drive = rs.tasks.row_by_row(image, 8)
    np.testing.assert_array_equal(drive[:4], np.tile(image[0], (4, 1)))
    np.testing.assert_array_equal(drive[4:], np.tile(image[1], (4, 1)))


def test_bad_input():
    with pytest.raises(ValueError, match=r"`values` must be in \[0, 1\], got 1.5"):
        encoded([0.5, 1.5])
    with pytest.raises(ValueError, match="`values` must be finite"):
        encoded([0.5, np.nan])
    with pytest.raises(ValueError, match="must hold a number"):
        encoded([])
    with pytest.raises(ValueError, match=r"both in the window \[0.0, 1.0\], got 0.2 and 1.2"):
        rs.tasks.latency(VALUES, WINDOW, earliest=0.2, latest=1.2)
    with pytest.raises(ValueError, match="`earliest` must be before `latest`"):
        rs.tasks.latency(VALUES, WINDOW, earliest=0.5, latest=0.5)
    with pytest.raises(ValueError, match="`reference` must be in the window"):
        encoded(VALUES, reference=[1.5])
    with pytest.raises(ValueError, match="multiple of the 2 rows, got 7"):
        rs.tasks.row_by_row(VALUES, 7)
    with pytest.raises(ValueError, match=r"shape \(rows, columns\), got \(3,\)"):
        rs.tasks.row_by_row(np.ones(3), 6)


def test_a_traced_value_that_is_outside():
    with pytest.raises(RuntimeError, match=r"`values` must be in \[0, 1\]"):
        jax.block_until_ready(jax.jit(encoded)(jnp.array([0.5, -0.1])).times)
