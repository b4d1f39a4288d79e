"""Multilevel Monte Carlo against closed forms and plain Monte Carlo."""

from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import roughsnn as rs

from ..helpers import single_neuron


def euler(key, dt0):
    """S_1 and S_1^2 of dS = 0.5 S dt + 0.4 S dB (Ito) by Euler's method, weak order one."""
    path = rs.BrownianPath(0.0, 1.0, dt0, shape=(), key=key, interpolation="linear")
    step = lambda s, db: (s * (1 + 0.5 * dt0 + 0.4 * db), None)
    end, _ = jax.lax.scan(step, jnp.ones(()), path.increments)
    return {"first": end, "second": jnp.stack([end**2, jnp.log(end)])}


EXACT = {"first": np.exp(0.5), "second": np.array([np.exp(1.16), 0.42])}


@pytest.mark.slow
@pytest.mark.parametrize("tolerance", [0.05, 0.02])
def test_closed_form(tolerance):
    found = rs.multilevel_mean(
        euler, dt0=1 / 4, tolerance=tolerance, key=jr.key(0), batch_size=512, progress=False
    )
    errors = jax.tree.map(lambda a, b: np.abs(a - b), found.mean, EXACT)
    assert max(float(np.max(e)) for e in jax.tree.leaves(errors)) < 3 * tolerance
    allowed = jax.tree.map(lambda e: 4 * np.asarray(e) + 2 * found.bias, found.standard_error)
    assert jax.tree.all(jax.tree.map(lambda a, b: np.all(a < b), errors, allowed))
    # Half of the square of the tolerance each for bias and samples.
    largest = max(float(np.max(e)) for e in jax.tree.leaves(found.standard_error))
    assert largest < 1.1 * tolerance / 2**0.5 and found.bias < tolerance / 2**0.5
    assert found.converged


@pytest.mark.slow
def test_levels_and_cost():
    found = rs.multilevel_mean(
        euler, dt0=1 / 4, tolerance=0.01, key=jr.key(1), batch_size=512, progress=False
    )
    assert [level.dt0 for level in found.levels] == [0.25 / 2**n for n in range(len(found.levels))]
    assert [level.cost for level in found.levels][:3] == [1.0, 3.0, 6.0]
    assert found.cost == sum(level.cost * level.samples for level in found.levels)
    # Strong order one half: variances of the differences halve from level to level.
    variances = np.array([level.variance for level in found.levels[1:]])
    ratios = variances[:-1] / variances[1:]
    # The middle one of the levels, the last of which have few samples.
    middle = np.median(ratios, 0)
    assert np.all((middle > 1.7) & (middle < 2.4)), ratios
    samples = np.array([level.samples for level in found.levels])
    assert np.all(np.diff(samples) <= 0)
    flat, _ = ravel_pytree(found.mean)
    np.testing.assert_allclose(flat, sum(level.mean for level in found.levels), rtol=1e-12)
    # As sqrt(V / C) for the entry that needs most, but for whole batches.
    variance, cost = found.levels[0].variance, 1.0
    for level in found.levels[1:]:
        if level.samples > 2048:
            wanted = np.sqrt(level.variance / level.cost / (variance / cost))
            np.testing.assert_allclose(level.samples / samples[0], wanted.max(), rtol=0.35)
    # Beside one run of samples on the last level alone.
    finest = found.levels[-1].dt0
    one = lambda key: euler(key, finest)["second"][0]
    plain = np.asarray(jax.jit(lambda: jax.vmap(one)(jr.split(jr.key(2), 20_000)))()).var()
    error = float(np.asarray(found.standard_error["second"])[0])
    cost = plain / error**2 * 2 ** (len(found.levels) - 1)
    np.testing.assert_allclose(found.plain_cost, cost, rtol=0.15)
    assert found.plain_cost > 4 * found.cost


@pytest.mark.slow
def test_spike_times_and_their_derivative():
    """Against plain Monte Carlo at small steps, which is fresh noise."""
    net, t1 = single_neuron(0.3), 1.28

    def sample(c, key, dt0):
        train = rs.simulate(
            net, lambda t: c[None], rs.Window(0.0, t1, dt0, stop_after=2), max_spikes=2, key=key
        ).spikes
        return jnp.minimum(train.times, t1)

    def statistic(key, dt0):
        one = jnp.ones(())
        return jax.jvp(lambda c: sample(c, key, dt0), (jnp.asarray(1.5),), (one,))

    found = rs.multilevel_mean(
        statistic,
        dt0=0.04,
        tolerance=0.01,
        key=jr.key(0),
        pilot=1024,
        batch_size=1024,
        weak_order=2.0,
        progress=False,
    )
    one = lambda key: jnp.stack(statistic(key, 0.005))
    fine = np.asarray(jax.jit(lambda: jax.vmap(one)(jr.split(jr.key(7), 8192)))())
    error = np.std(fine, 0) / 8192**0.5
    gap = np.abs(np.stack(found.mean) - np.mean(fine, 0))
    assert np.all(gap < 4 * np.hypot(error, np.stack(found.standard_error)) + found.bias)
    assert np.max(found.levels[1].variance[:2]) < 0.05 * np.max(found.levels[0].variance[:2])


def test_the_same_key_gives_the_same():
    run = lambda: rs.multilevel_mean(
        lambda key, dt0: euler(key, dt0)["first"],
        dt0=0.25,
        tolerance=0.05,
        key=jr.key(3),
        progress=False,
    )
    assert float(run().mean) == float(run().mean)


def test_errors():
    options: Any = dict(dt0=0.25, tolerance=0.1, key=jr.key(0), progress=False)
    with pytest.raises(ValueError, match="floating"):
        rs.multilevel_mean(lambda key, dt0: jnp.zeros((), jnp.int32), **options)
    with pytest.raises(ValueError, match="same shape for every dt0"):
        rs.multilevel_mean(lambda key, dt0: jnp.zeros(round(1 / dt0)), **options)
    with pytest.raises(ValueError, match="not finite.*jnp.minimum"):
        rs.multilevel_mean(lambda key, dt0: jnp.asarray(jnp.inf), **options)
    with pytest.raises(ValueError, match="`tolerance` must be positive"):
        rs.multilevel_mean(euler, **dict(options, tolerance=0.0))
    with pytest.raises(ValueError, match="at least 3, got 2"):
        rs.multilevel_mean(euler, **options, max_levels=2)
    slow = lambda key, dt0: jnp.asarray(dt0**0.1)
    with pytest.raises(RuntimeError, match="With 3 levels.*the bias is still"):
        rs.multilevel_mean(slow, **dict(options, tolerance=1e-3), max_levels=3)
    assert not rs.multilevel_mean(
        slow, **dict(options, tolerance=1e-3), max_levels=3, throw=False
    ).converged
