"""Mean pathwise gradients against differences of Monte-Carlo means."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import roughsnn as rs

from ..helpers import (
    optimised,
    recurrent_parameters,
    run_recurrent,
    single_neuron,
    standard_error,
)


@pytest.mark.slow
@pytest.mark.parametrize("dt0", [2e-2, 1e-2, 5e-3, 1e-3])
def test_single_neuron(dt0):
    """E[dtau_1..3/dc] = dE[tau_1..3]/dc within 3 standard errors, at every step size."""
    network, samples, h = single_neuron(0.5), 2048, 0.02

    def times(c, key):
        train = rs.simulate(
            network,
            lambda t: c[None],
            rs.Window(0.0, 2.0, dt0, stop_after=3),
            max_spikes=3,
            key=key,
            engine=rs.EventByEvent(),
        ).spikes
        # A spike that has left the window stays at its end: a continuous function.
        return jnp.where(jnp.isfinite(train.times), train.times, 2.0)

    def both(keys):
        def one(key):
            c = jnp.asarray(1.5)
            _, slope = jax.jvp(lambda c: times(c, key), (c,), (jnp.ones(()),))
            # Five points: the curvature of the mean is not to be seen in the difference.
            ends = jax.vmap(lambda k: times(c + k * h, key))(jnp.array([-2.0, -1.0, 1.0, 2.0]))
            return slope, jnp.array([1.0, -8.0, 8.0, -1.0]) @ ends / (12 * h)

        return jax.lax.map(one, keys, batch_size=512)

    compiled = optimised(both) if dt0 < 0.005 else jax.jit(both)
    exact, numeric = compiled(jr.split(jr.key(2), samples))
    gap = exact - numeric
    assert np.all(np.abs(jnp.mean(gap, 0)) < 3 * standard_error(gap) + 1e-9)
    assert np.all(np.asarray(standard_error(gap)) < 0.03 * np.abs(jnp.mean(exact, 0)))


@pytest.mark.slow
def test_recurrent_network():
    """The first spike times of three coupled neurons, by one weight and by one input.

    In time order and stopped at the end of the window they are continuous where spikes
    swap order and where they leave, so nothing is missing from the mean gradient.
    """
    samples, h, t1 = 4096, 0.02, 0.6
    p = recurrent_parameters()

    def functional(shift, key):
        moved = {
            "weights": p["weights"].at[0, 1].add(shift[0]),
            "input": p["input"].at[0].add(shift[1]),
        }
        out, marks = run_recurrent(p | moved, key, t1=t1)
        return jnp.sum(jnp.where(marks >= 0, out["times"], t1)[:6])

    @jax.jit
    def both(keys):
        def one(key):
            exact = jax.jacfwd(lambda shift: functional(shift, key))(jnp.zeros(2))
            shifts = h * jnp.concatenate([jnp.eye(2), -jnp.eye(2)])
            ends = jax.vmap(lambda shift: functional(shift, key))(shifts)
            return exact, (ends[:2] - ends[2:]) / (2 * h)

        return jax.lax.map(one, keys, batch_size=512)

    exact, numeric = both(jr.split(jr.key(4), samples))
    gap = exact - numeric
    assert np.all(np.abs(jnp.mean(gap, 0)) < 3 * standard_error(gap))
    assert np.all(standard_error(gap) < 0.05 * np.abs(jnp.mean(exact, 0)))
