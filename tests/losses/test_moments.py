"""Distances of mean features on the scale of their fluctuations."""

from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import roughsnn as rs
from roughsnn._loss.distance import Mean

# pyright: reportArgumentType=false

MIX = jnp.array([[1.0, 5.0, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, 0.1]])
SLOPE = jnp.array([1.0, 1.0, 0.02])


def draw(key, samples):
    """Features whose covariance is far from a multiple of 1."""
    return jr.normal(key, (samples, 3)) @ MIX


def test_the_distance_is_that_of_mahalanobis():
    x, y = draw(jr.key(0), 50) + 0.3, draw(jr.key(1), 4000)
    target = rs.losses.Moments.of(y, shrinkage=1e-6)
    gap = np.asarray(x.mean(0) - y.mean(0))
    expected = gap @ np.linalg.solve(np.cov(y.T), gap)
    found = rs.losses.moment_distance(x, target, unbiased=False)
    np.testing.assert_allclose(found, expected, rtol=1e-3)


def test_it_is_unbiased():
    """Two samples of one law, on a given scale: the mean is 0."""
    scale = rs.losses.Moments.of(draw(jr.key(1), 400)).whitening

    @jax.jit
    @jax.vmap
    def distance(key):
        x, y = (draw(k, 10) for k in jr.split(key))
        return rs.losses.moment_distance(x, rs.losses.Moments(Mean.of(scale(y)), scale))

    values = distance(jr.split(jr.key(2), 4000))
    assert abs(float(values.mean())) < 4 * float(values.std()) / 4000**0.5
    assert float(values.std()) > 0.1


def test_its_minimum_has_the_smallest_variance():
    """That of the best linear estimate of theta where the mean is SLOPE x theta (Hansen 1982)."""

    @jax.jit
    @jax.vmap
    def estimate(key):
        target = rs.losses.Moments.of(draw(key, 300), shrinkage=1e-3)
        x = lambda theta: jnp.broadcast_to(SLOPE * theta, (2, 3))
        slope = jax.grad(lambda theta: rs.losses.moment_distance(x(theta), target))
        return slope(0.0) / (slope(0.0) - slope(1.0))

    found = estimate(jr.split(jr.key(3), 2000))
    covariance = np.asarray(MIX.T @ MIX)
    best = 1 / (300 * SLOPE @ np.linalg.solve(covariance, SLOPE))
    # The spread of a variance from 2000 is 3 %; the covariance is estimated from 300.
    np.testing.assert_allclose(found.var(), best, rtol=0.12)
    assert best < 0.5 * covariance[0, 0] / 300
    assert abs(float(found.mean())) < 4 * float(found.std()) / 2000**0.5


def test_derivatives_agree_with_differences():
    target, x = rs.losses.Moments.of(draw(jr.key(0), 40)), draw(jr.key(1), 7)
    direction, h = draw(jr.key(2), 7), 1e-6
    loss = jax.jit(lambda s: rs.losses.moment_distance(x + s * direction, target))
    numeric = (loss(h) - loss(-h)) / (2 * h)
    np.testing.assert_allclose(jax.grad(loss)(0.0), numeric, rtol=1e-7)


def test_bad_input():
    y = draw(jr.key(0), 5)
    with pytest.raises(ValueError, match="at least 2 samples"):
        rs.losses.Moments.of(y[:1])
    with pytest.raises(ValueError, match="`shrinkage` must be positive"):
        rs.losses.Moments.of(y, shrinkage=0.0)
    target = rs.losses.Moments.of(y)
    with pytest.raises(ValueError, match=r"shape \(samples, 3\)"):
        rs.losses.moment_distance(y[:, :2], target)
    with pytest.raises(ValueError, match=r"`features` must have shape \(samples, 3\)"):
        target(y[:, :2])
    with pytest.raises(ValueError, match="`x` must hold at least 2 samples"):
        rs.losses.moment_distance(y[:1], target)
    other: Any = y
    with pytest.raises(TypeError, match="`y` must be roughsnn.losses.Moments.of"):
        rs.losses.moment_distance(y, other)
    maybe: Any = "yes"
    with pytest.raises(TypeError, match="`unbiased` must be True or False, got 'yes'"):
        rs.losses.moment_distance(y, target, unbiased=maybe)
    features: Any
    for features, message in (
        ("many", "must be a number or an array of numbers, got 'many'"),
        (y[0], r"must have shape \(samples, features\), got \(3,\)"),
        (y.at[1, 1].set(jnp.nan), "must be finite"),
        (jax.lax.complex(y, y), "must have a floating dtype, got complex"),
    ):
        with pytest.raises((ValueError, TypeError), match=f"`features` {message}"):
            rs.losses.Moments.of(features)
        with pytest.raises((ValueError, TypeError), match=f"`x` {message}"):
            rs.losses.moment_distance(features, target)


def test_lists_and_counts_are_features():
    counts = np.array([[0, 1], [2, 1], [3, 5]])
    expected = rs.losses.Moments.of(jnp.asarray(counts, float))
    for given in (counts, counts.tolist()):
        found = rs.losses.Moments.of(given)
        np.testing.assert_array_equal(found.mean.mean, expected.mean.mean)
        distance = rs.losses.moment_distance(given[:2], expected)
        np.testing.assert_allclose(distance, rs.losses.moment_distance(counts[:2] * 1.0, expected))
