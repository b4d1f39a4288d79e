import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

import roughsnn as rs

L = rs.losses
TS = jnp.asarray(np.linspace(0.1, 1.0, 10))


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


X: Any = normal(0, 7, 10, 2)
Y: Any = normal(1, 7, 10, 2) + 0.3


def cost(x, y):
    return ((x[:, None] - y[None]) ** 2).mean((2, 3))


@pytest.mark.parametrize("others", [7, 5, 11])
def test_hard_matches_are_those_of_scipy(others):
    y = normal(2, others, 10, 2)
    rows, columns = scipy.optimize.linear_sum_assignment(cost(X, y))
    both = jax.jit(lambda x, y: (L.match_trials(x, y), L.matched_distance(x, y)))
    found, distance = jax.device_get(both(X, y))
    assert sorted(zip(*found, strict=True)) == list(zip(rows, columns, strict=True))
    best = cost(X, y)[rows, columns].mean()
    np.testing.assert_allclose(distance, best, rtol=1e-12)


@pytest.mark.parametrize("method", ["hard", "soft", "none"])
def test_distances_and_their_gradients(method):
    along, e = normal(3, *X.shape), 1e-4

    @jax.jit
    def found(x):
        f = lambda x: L.matched_distance(x, jnp.asarray(Y), method=method)
        moved = x + e * jnp.array([1.0, -1.0])[:, None, None, None] * along
        return jax.value_and_grad(f)(x), jax.lax.map(f, moved), f(jnp.asarray(Y[::-1]))

    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        (value, grad), (above, below), again = jax.device_get(found(X))
    difference = (above - below) / (2 * e)
    # Sinkhorn's iteration ends at 1e-3.
    np.testing.assert_allclose(
        np.sum(grad * along), difference, rtol=1e-3 if method == "soft" else 1e-6
    )
    assert value > 0
    assert abs(again) < 1e-6 if method != "none" else again > 0.1


def test_the_blur_is_in_units_of_the_data():
    distance = jax.jit(lambda x, y: L.matched_distance(x, y, method="soft", epsilon=0.05))
    near = [float(distance(s * X, s * Y)) / s**2 for s in (1.0, 9.0)]
    np.testing.assert_allclose(*near, rtol=1e-3)


def test_matching_tells_two_kinds_of_trials_from_their_mean():
    """Hits and misses, against a model all of whose trials are the mean of both."""
    types = np.array([1, 1, 1, 0, 1, 1, 1, 0])
    kinds = np.stack([np.zeros((10, 1)), np.ones((10, 1))])
    data = kinds[types]
    noise = 0.1 * normal(4, 8, 10, 1)
    right = kinds[np.array([0, 1, 1, 1, 1, 0, 1, 1])] + noise
    mean = data.mean(0)[None] + noise

    @jax.jit
    def distances(z, data):
        return {m: L.matched_distance(z, data, method=m) for m in ("hard", "soft", "none")}

    good, bad = distances(right, data), distances(mean, data)
    for method in ("hard", "soft"):
        assert good[method] < 0.2 * bad[method]
    # Trial by trial, the mean is the better model.
    assert bad["none"] < good["none"]
    found = jax.jit(L.nearest_types)(right, data, types)
    # One type or not.
    hits = jax.jit(L.nearest_types)(right, data, jnp.asarray(types) == 0)
    np.testing.assert_array_equal(hits, np.asarray(found) == 0)
    np.testing.assert_array_equal(found, [0, 1, 1, 1, 1, 0, 1, 1])


def test_the_matched_correlation():
    correlation = jax.jit(L.matched_correlation)
    np.testing.assert_allclose(correlation(X[::-1], X), 1, rtol=1e-12)
    rows, columns = jax.device_get(jax.jit(L.match_trials)(X, Y))
    pairs = [
        np.corrcoef(X[i, :, g], Y[j, :, g])[0, 1]
        for i, j in zip(rows, columns, strict=True)
        for g in range(2)
    ]
    np.testing.assert_allclose(correlation(X, Y), np.mean(pairs), rtol=1e-10)
    assert correlation(np.zeros_like(X), Y) == 0


@pytest.fixture
def batch():
    rng = np.random.default_rng(0)
    trains = [
        rs.SpikeTrain.from_lists(
            [np.sort(rng.uniform(0, 1, rng.poisson(8))) for _ in range(4)],
            t0=0.0,
            t1=1.0,
            max_spikes=60,
        )
        for _ in range(30)
    ]
    return jax.tree.map(lambda *z: jnp.asarray(np.stack(z)), *trains)


def test_features_of_trials(batch):
    groups = np.array([0, 1, 0, -1])

    @jax.jit
    def features(batch):
        of = functools.partial(L.TrialFeatures.of, ts=TS, timescale=0.05)
        silent = rs.SpikeTrain.from_lists([[], [], [], []], t0=0.0, t1=1.0)
        silent = jax.tree.map(lambda z: jnp.stack([z, z]), silent)
        return (
            of(batch, groups=groups)(batch),
            of(batch)(batch),
            of(silent)(batch),
            L.behaviour(batch, jnp.ones((4, 1)), TS, 0.05),
            L.smoothed(batch, TS, 0.05),
        )

    found, alone, of_silent, traces, z = jax.device_get(features(batch))
    assert found.shape == (30, 10, 2)
    np.testing.assert_allclose(found.mean(0), 0, atol=1e-12)
    np.testing.assert_allclose(found.var(0).mean(0), 1, rtol=1e-10)
    area = (z[..., 0] + z[..., 2]) / 2
    scale = np.sqrt(area.var(0).mean())
    np.testing.assert_allclose(found[..., 0], (area - area.mean(0)) / scale, rtol=1e-8)
    assert alone.shape == (30, 10, 1)
    np.testing.assert_allclose(traces[..., 0], z.sum(-1), rtol=1e-12)
    assert np.all(np.isfinite(of_silent))


def test_bad_input(batch):
    unknown: Any = "firm"
    for call, message in (
        (lambda: L.matched_distance(X, Y[:, :5]), "same shape behind"),
        (lambda: L.matched_distance(X[:5], Y, method="none"), "as many trials as"),
        (lambda: L.matched_distance(X, Y, method=unknown), "'hard', 'soft' or 'none'"),
        (lambda: L.matched_distance(X, Y, method="soft", epsilon=0.0), "`epsilon` must be pos"),
        (lambda: L.TrialFeatures.of(batch, TS, timescale=0.1, groups=[0, 1]), "one for each"),
        (lambda: L.TrialFeatures.of(batch, TS, timescale=0.1, groups=[0, 2, 0, 2]), "without gaps"),
        (lambda: L.TrialFeatures.of(batch, TS, timescale=0.1, groups=[-1] * 4), "without gaps"),
        (lambda: L.TrialFeatures.of(batch, TS, timescale=0.0), "`timescale` must be pos"),
        (
            lambda: L.TrialFeatures.of(batch, TS, timescale=0.1)(batch.merged([0, 0, 0, 0])),
            "`batch` must be of the 4 neurons of the features, got 1",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            call()
