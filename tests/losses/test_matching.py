from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
import scipy.optimize

import roughsnn as rs

L = rs.losses
TS = jnp.linspace(0.1, 1.0, 10)
X = jr.normal(jr.key(0), (7, 10, 2))
Y = jr.normal(jr.key(1), (7, 10, 2)) + 0.3


def cost(x, y):
    return np.asarray(((x[:, None] - y[None]) ** 2).mean((2, 3)))


@pytest.mark.parametrize("others", [7, 5, 11])
def test_hard_matches_are_those_of_scipy(others):
    y = jr.normal(jr.key(2), (others, 10, 2))
    rows, columns = scipy.optimize.linear_sum_assignment(cost(X, y))
    found = L.match_trials(X, y)
    assert sorted(zip(*map(np.asarray, found), strict=True)) == list(
        zip(rows, columns, strict=True)
    )
    best = cost(X, y)[rows, columns].mean()
    np.testing.assert_allclose(L.matched_distance(X, y), best, rtol=1e-12)


@pytest.mark.parametrize("method", ["hard", "soft", "none"])
def test_distances_and_their_gradients(method):
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        f = jax.jit(lambda x: L.matched_distance(x, Y, method=method))
        value, grad = jax.jit(jax.value_and_grad(f))(X)
        along, e = jr.normal(jr.key(3), X.shape), 1e-4
        difference = (f(X + e * along) - f(X - e * along)) / (2 * e)
    # Sinkhorn's iteration ends at 1e-3.
    np.testing.assert_allclose(
        jnp.sum(grad * along), difference, rtol=1e-3 if method == "soft" else 1e-6
    )
    assert value > 0
    again = L.matched_distance(Y[::-1], Y, method=method)
    assert abs(again) < 1e-6 if method != "none" else again > 0.1


def test_the_blur_is_in_units_of_the_data():
    near = [
        L.matched_distance(s * X, s * Y, method="soft", epsilon=0.05) / s**2 for s in (1.0, 9.0)
    ]
    np.testing.assert_allclose(*near, rtol=1e-3)


def test_matching_tells_two_kinds_of_trials_from_their_mean():
    """Hits and misses, against a model all of whose trials are the mean of both."""
    kinds = jnp.stack([jnp.zeros((10, 1)), jnp.ones((10, 1))])
    data = kinds[jnp.array([1, 1, 1, 0, 1, 1, 1, 0])]
    noise = 0.1 * jr.normal(jr.key(4), (8, 10, 1))
    right = kinds[jnp.array([0, 1, 1, 1, 1, 0, 1, 1])] + noise
    mean = jnp.broadcast_to(data.mean(0), data.shape) + noise
    for method in ("hard", "soft"):
        good, bad = (L.matched_distance(z, data, method=method) for z in (right, mean))
        assert good < 0.2 * bad
    # Trial by trial, the mean is the better model.
    assert L.matched_distance(mean, data, method="none") < L.matched_distance(
        right, data, method="none"
    )
    types = L.nearest_types(right, data, jnp.array([1, 1, 1, 0, 1, 1, 1, 0]))
    np.testing.assert_array_equal(types, [0, 1, 1, 1, 1, 0, 1, 1])


def test_the_matched_correlation():
    np.testing.assert_allclose(L.matched_correlation(X[::-1], X), 1, rtol=1e-12)
    rows, columns = L.match_trials(X, Y)
    pairs = [
        np.corrcoef(X[i, :, g], Y[j, :, g])[0, 1]
        for i, j in zip(rows, columns, strict=True)
        for g in range(2)
    ]
    np.testing.assert_allclose(L.matched_correlation(X, Y), np.mean(pairs), rtol=1e-10)
    assert L.matched_correlation(jnp.zeros_like(X), Y) == 0


@pytest.fixture
def batch():
    rng = np.random.default_rng(0)
    trains = [
        rs.SpikeTrain.from_lists(
            [np.sort(rng.uniform(0, 1, rng.poisson(8))) for _ in range(4)], t0=0.0, t1=1.0
        )
        for _ in range(30)
    ]
    return rs.SpikeTrain.stack(trains)


def test_features_of_trials(batch):
    groups = np.array([0, 1, 0, -1])
    features = L.TrialFeatures.of(batch, TS, timescale=0.05, groups=groups)
    found = features(batch)
    assert found.shape == (30, 10, 2)
    np.testing.assert_allclose(found.mean(0), 0, atol=1e-12)
    np.testing.assert_allclose(found.var(0).mean(0), 1, rtol=1e-10)
    z = np.asarray(L.smoothed(batch, TS, 0.05))
    area = (z[..., 0] + z[..., 2]) / 2
    scale = np.sqrt(area.var(0).mean())
    np.testing.assert_allclose(found[..., 0], (area - area.mean(0)) / scale, rtol=1e-8)
    assert L.TrialFeatures.of(batch, TS, timescale=0.05)(batch).shape == (30, 10, 1)
    traces = L.behaviour(batch, jnp.ones((4, 1)), TS, 0.05)
    np.testing.assert_allclose(traces[..., 0], z.sum(-1), rtol=1e-12)
    silent = rs.SpikeTrain.stack([rs.SpikeTrain.from_lists([[], [], [], []], t0=0.0, t1=1.0)] * 2)
    assert np.all(np.isfinite(L.TrialFeatures.of(silent, TS, timescale=0.05)(batch)))


def test_bad_input(batch):
    unknown: Any = "firm"
    for call, message in (
        (lambda: L.matched_distance(X, Y[:, :5]), "same shape behind"),
        (lambda: L.matched_distance(X[:5], Y, method="none"), "as many generated"),
        (lambda: L.matched_distance(X, Y, method=unknown), "'hard', 'soft' or 'none'"),
        (lambda: L.matched_distance(X, Y, method="soft", epsilon=0.0), "`epsilon` must be pos"),
        (lambda: L.TrialFeatures.of(batch, TS, timescale=0.1, groups=[0, 1]), "one for each"),
        (lambda: L.TrialFeatures.of(batch, TS, timescale=0.1, groups=[0, 2, 0, 2]), "without gaps"),
        (lambda: L.TrialFeatures.of(batch, TS, timescale=0.1, groups=[-1] * 4), "without gaps"),
        (lambda: L.TrialFeatures.of(batch, TS, timescale=0.0), "`timescale` must be pos"),
        (
            lambda: L.TrialFeatures.of(batch, TS, timescale=0.1)(batch.merged([0, 0, 0, 0])),
            "of 4 neurons, the batch has 1",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            call()
