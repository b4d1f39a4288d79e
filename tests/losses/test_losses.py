import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import roughsnn as rs
from roughsnn._loss.distance import squared_mean_distance

from ..helpers import constant, single_neuron


def batch(*trains, t1=1.0, room=4):
    return rs.SpikeTrain.stack(
        [rs.SpikeTrain.from_lists(t, t0=0.0, t1=t1, max_spikes=room) for t in trains]
    )


X = batch([[0.1, 0.5], [0.3]], [[0.2], []], [[0.4, 0.6], [0.7]])
Y = batch([[0.2], [0.1, 0.9]], [[0.3, 0.35], [0.4]])


def test_first_spike_losses_by_hand():
    # A spike that is not there counts as one at t1 = 1.
    x = np.array([[0.1, 0.5, 0.3, 1], [0.2, 1, 1, 1], [0.4, 0.6, 0.7, 1]])
    y = np.array([[0.2, 1, 0.1, 0.9], [0.3, 0.35, 0.4, 1]])
    gap = x.mean(0) - y.mean(0)
    np.testing.assert_allclose(rs.losses.first_spike_mae(X, Y, 2), np.abs(gap).mean())
    plug_in = rs.losses.first_spike_mse(X, Y, 2, unbiased=False)
    np.testing.assert_allclose(plug_in, (gap**2).mean())
    bias = (x.var(0, ddof=1) / 3 + y.var(0, ddof=1) / 2).mean()
    np.testing.assert_allclose(rs.losses.first_spike_mse(X, Y, 2), plug_in - bias)


def test_the_unbiased_distance_is_the_u_statistic():
    rng = np.random.default_rng(0)
    x, y = jnp.asarray(rng.normal(size=(7, 3))), jnp.asarray(rng.normal(size=(5, 3)))
    kernel = lambda a, b: a @ b.T
    off = lambda k: (jnp.sum(k) - jnp.trace(k)) / (len(k) * (len(k) - 1))
    expected = off(kernel(x, x)) + off(kernel(y, y)) - 2 * jnp.mean(kernel(x, y))
    np.testing.assert_allclose(squared_mean_distance(x, y, unbiased=True), expected, rtol=1e-12)


def test_the_unbiased_distance_has_mean_zero_for_equal_laws():
    x = jr.normal(jr.key(0), (4000, 2, 6, 3))
    values = jax.vmap(lambda p: squared_mean_distance(p[0], p[1], unbiased=True))(x)
    assert abs(float(values.mean())) < 3.5 * float(values.std()) / 4000**0.5


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_expected_signature_of_equal_batches_is_zero(depth):
    assert float(rs.losses.expected_signature(X, X, depth=depth, unbiased=False)) < 1e-28


def test_expected_signature_at_depth_one_by_hand():
    """Level one of the lift is (t1 - t0, counts)."""
    value = rs.losses.expected_signature(X, Y, depth=1, taper=0.0, unbiased=False)
    counts_x, counts_y = np.array([[2, 1], [1, 0], [2, 1]]), np.array([[1, 2], [2, 1]])
    np.testing.assert_allclose(value, ((counts_x.mean(0) - counts_y.mean(0)) ** 2).sum())


def test_matching_spike_counts_compares_as_many_as_both_have():
    x, y = batch([[0.1, 0.5]]), batch([[0.1, 0.5, 0.9]])
    options = {"depth": 3, "unbiased": False, "taper": 0.0}
    assert float(rs.losses.expected_signature(x, y, match_spikes=True, **options)) < 1e-28
    assert float(rs.losses.expected_signature(x, y, **options)) > 0.1


@pytest.mark.parametrize(
    "loss",
    [
        lambda x, y: rs.losses.first_spike_mse(x, y, 3),
        lambda x, y: rs.losses.first_spike_mae(x, y, 3),
        lambda x, y: rs.losses.expected_signature(x, y, depth=3),
    ],
    ids=["mse", "mae", "signature"],
)
def test_the_mean_gradient_of_each_loss_is_the_derivative_of_its_mean(loss):
    """Single neuron, a window that spikes leave: within 3 standard errors."""
    network, h, samples = single_neuron(0.25), 0.02, 64

    def value(c, key):
        run = lambda k: rs.simulate(
            network, lambda t: c[None], t0=0.0, t1=0.5, dt0=0.02, max_spikes=12, key=k, throw=False
        )
        x = jax.vmap(run)(jr.split(key, samples))
        return loss(x, data)

    data = jax.vmap(
        lambda k: rs.simulate(
            network, constant(1.8), t0=0.0, t1=0.5, dt0=0.02, max_spikes=12, key=k
        )
    )(jr.split(jr.key(9), 64))

    @jax.jit
    def both(keys):
        def one(key):
            c = jnp.asarray(1.3)
            _, exact = jax.jvp(lambda c: value(c, key), (c,), (jnp.ones(()),))
            return exact, (value(c + h, key) - value(c - h, key)) / (2 * h)

        return jax.lax.map(one, keys)

    exact, numeric = both(jr.split(jr.key(1), 150))
    gap = exact - numeric
    error = float(jnp.std(gap, ddof=1)) / 150**0.5
    assert abs(float(gap.mean())) < 3 * error
    assert error < 0.1 * abs(float(exact.mean()))


def test_gradients_of_padded_trains_are_finite():
    def value(times):
        x = rs.SpikeTrain(times, X.marks, X.count, X.overflow, 0.0, 1.0, 2)
        signature = rs.losses.expected_signature(x, Y, allow_jumps=True)
        return signature + rs.losses.first_spike_mse(x, Y, 2)

    assert np.all(np.isfinite(jax.grad(value)(X.times)))


def test_bad_input():
    single = rs.SpikeTrain.from_lists([[0.1]], t0=0.0, t1=1.0)
    with pytest.raises(ValueError, match="batch of trains"):
        rs.losses.first_spike_mse(single, single, 1)
    with pytest.raises(TypeError, match="`y` must be a roughsnn.SpikeTrain"):
        rs.losses.first_spike_mae(X, **{"y": X.times, "n": 1})
    with pytest.raises(ValueError, match="same window"):
        rs.losses.expected_signature(X, batch([[0.1], [0.2]], [[], []], t1=2.0))
    with pytest.raises(ValueError, match="pairs the samples"):
        rs.losses.expected_signature(X, Y, match_spikes=True)
    with pytest.raises(ValueError, match="at least 2 samples"):
        rs.losses.expected_signature(batch([[0.1], []]), Y)
    with pytest.raises(ValueError, match="`depth` must be a positive integer"):
        rs.losses.expected_signature(X, Y, depth=0)
    with pytest.raises(ValueError, match="`n` must be a positive integer"):
        rs.losses.first_spike_mae(X, Y, 0)


def test_a_stream_of_batches_is_one_batch():
    whole = rs.losses.SignatureMean.of(Y, depth=2)
    rng = np.random.default_rng(0)
    trains = [[np.sort(rng.uniform(size=2)), np.sort(rng.uniform(size=1))] for _ in range(7)]
    data = batch(*trains)
    parts = (jax.tree.map(lambda z, n=n: z[n : n + 3], data) for n in (0, 3, 6))
    streamed = rs.losses.SignatureMean.of(parts, depth=2)
    once = rs.losses.SignatureMean.of(data, depth=2)
    for a, b in zip(jax.tree.leaves(streamed), jax.tree.leaves(once), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)
    for unbiased in (True, False):
        np.testing.assert_allclose(
            rs.losses.expected_signature(X, whole, unbiased=unbiased),
            rs.losses.expected_signature(X, Y, depth=2, unbiased=unbiased),
            rtol=1e-12,
        )
    single = rs.losses.SignatureMean.of(jax.tree.map(lambda z: z[:1], Y))
    with pytest.raises(ValueError, match="a mean of one"):
        rs.losses.expected_signature(X, single)
    with pytest.raises(ValueError, match="at least one batch"):
        rs.losses.SignatureMean.of([])


def test_log_signatures_have_the_size_of_the_free_lie_algebra():
    features = rs.losses.signature_features(X, depth=3, log=True, taper=0.0)
    assert features.shape == (3, 3 + 3 + 8)
    # Level one is what the path gains: time, and the counts.
    np.testing.assert_allclose(features[:, 0], 1.0)
    np.testing.assert_allclose(features[:, 1:3], jax.vmap(rs.SpikeTrain.counts)(X))


def test_random_mixtures_of_many_neurons_keep_inner_products():
    """At depth 1: the inner products of counts, within 4 standard errors of 400 mixtures."""
    rng = np.random.default_rng(1)
    trains = [[rng.uniform(size=k)[:1] for k in rng.integers(0, 2, 60)] for _ in range(4)]
    x = batch(*trains, room=60)
    full = rs.losses.signature_features(x, depth=1, taper=0.0)
    mixed = rs.losses.signature_features(x, depth=1, taper=0.0, directions=400)
    size = np.sqrt(np.outer(jnp.sum(full**2, 1), jnp.sum(full**2, 1)))
    assert np.max(np.abs(mixed @ mixed.T - full @ full.T) / size) < 4 * (2 / 400) ** 0.5
    many = rs.losses.signature_features(x, depth=3, directions=10)
    assert many.shape == (4, 11 + 11**2 + 11**3)


def test_losses_that_jump_refuse_to_be_differentiated():
    moved = lambda t: rs.SpikeTrain(t, X.marks, X.count, X.overflow, 0.0, 1.0, 2)
    with pytest.raises(ValueError, match="two neurons swap order"):
        jax.grad(lambda t: rs.losses.expected_signature(moved(t), Y))(X.times)
    one = batch([[0.1, 0.5]], [[0.1, 0.7]], room=2)
    single = lambda t: rs.SpikeTrain(t, one.marks, one.count, one.overflow, 0.0, 1.0, 1)
    loss = rs.losses.expected_signature
    assert jnp.all(jnp.isfinite(jax.grad(lambda t: loss(single(t), one))(one.times)))
    with pytest.raises(ValueError, match="a spike leaves the window"):
        jax.jit(jax.grad(lambda t: loss(single(t), one, taper=0.0)))(one.times)
