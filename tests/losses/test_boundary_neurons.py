"""Counts of any neuron have the gradients of their means, with delays and refractory times."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import roughsnn as rs

from .. import zoo
from ..helpers import optimised

EDGES, T1, STEP, SAMPLES = (0.15, 0.3), 0.45, 0.02, 4096


def samples(neuron: str):
    """Counts, their slopes along a direction in all parameters, and their differences along it, by
    sample."""
    net = zoo.delayed(neuron)
    level = zoo.MORE.get(neuron, 1.0) * jnp.array([1.5, 1.3, 1.2, 1.1, 1.25])
    params, rest = eqx.partition((net, level), eqx.is_inexact_array)
    # Delays and refractory times get longer, and inputs stronger: their parts do not cancel.
    direction = jax.tree.map(jnp.zeros_like, params)
    where = lambda p: (
        p[1],
        *(part.refractory for part in p[0].populations.values()),
        *(one.delay for one in p[0].projections[:2]),
        *(one.weights for one in p[0].projections),
    )
    signs = [-1.0, 1.0, 1.0, 1.0, 1.0, -1.0, -1.0, -1.0]
    moves = [sign * x for sign, x in zip(signs, where(params), strict=True)]
    direction = eqx.tree_at(where, direction, moves)
    window = rs.Window(0.0, T1, 0.01, edges=EDGES)

    def fn(x, key):
        moved = jax.tree.map(lambda p, d: p + x * d, params, direction)
        net, level = eqx.combine(moved, rest)
        train = rs.simulate(net, level, window, key=key, max_spikes=70).spikes
        total = rs.losses.counts(train.merged())
        bins = rs.losses.binned_counts(train.merged(), (0.0, *EDGES, T1))
        return jnp.concatenate([rs.losses.counts(train), total, bins.reshape(-1)])

    @optimised
    def all_of(keys):
        zero = jnp.zeros(())
        value, slope = jax.vmap(lambda k: jax.jvp(lambda x: fn(x, k), (zero,), (zero + 1,)))(keys)
        up, down = (jax.vmap(lambda k, x=x: fn(x, k))(keys) for x in (zero + STEP, zero - STEP))
        return value, slope, (up - down) / (2 * STEP)

    return jax.device_get(all_of(jr.split(jr.key(3), SAMPLES)))


@pytest.mark.slow
@pytest.mark.parametrize("neuron", ["LIF", "AdaptiveLIF", "GLIF5", "HistoryFilter"])
def test_counts_of_delayed_refractory_neurons(neuron):
    value, slope, difference = samples(neuron)
    np.testing.assert_allclose(value[:, :3].sum(1), value[:, 5])
    np.testing.assert_allclose(value[:, 3:5].sum(1), value[:, 6])
    np.testing.assert_allclose(slope[:, :3].sum(1), slope[:, 5], rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(value[:, 7:].reshape(-1, 3, 2).sum(1), value[:, 5:7])
    error = (slope - difference).std(0) / SAMPLES**0.5
    assert np.all(np.abs((slope - difference).mean(0)) < 4 * error)
    # What is compared is there.
    assert np.all(np.abs(slope.mean(0)[5:7]) > 15 * error[5:7]), (slope.mean(0), error)
