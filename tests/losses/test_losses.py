import functools

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import roughsnn as rs
from roughsnn._loss.distance import squared_mean_distance

from ..helpers import single_neuron


def batch(*trains, t1=1.0, room=4):
    made = [rs.SpikeTrain.from_lists(t, t0=0.0, t1=t1, max_spikes=room) for t in trains]
    return jax.tree.map(lambda *z: jnp.asarray(np.stack(z)), *made)


X = batch([[0.1, 0.5], [0.3]], [[0.2], []], [[0.4, 0.6], [0.7]])
Y = batch([[0.2], [0.1, 0.9]], [[0.3, 0.35], [0.4]])


def test_first_spike_losses_by_hand():
    # A spike that is not there counts as one at t1 = 1.
    x = np.array([[0.1, 0.5, 0.3, 1], [0.2, 1, 1, 1], [0.4, 0.6, 0.7, 1]])
    y = np.array([[0.2, 1, 0.1, 0.9], [0.3, 0.35, 0.4, 1]])
    gap = x.mean(0) - y.mean(0)

    @jax.jit
    def losses(x, y):
        mae, mse = rs.losses.first_spike_mae, rs.losses.first_spike_mse
        return mae(x, y, 2), mse(x, y, 2, unbiased=False), mse(x, y, 2)

    mae, plug_in, unbiased = losses(X, Y)
    np.testing.assert_allclose(mae, np.abs(gap).mean())
    np.testing.assert_allclose(plug_in, (gap**2).mean())
    bias = (x.var(0, ddof=1) / 3 + y.var(0, ddof=1) / 2).mean()
    np.testing.assert_allclose(unbiased, plug_in - bias)


def test_the_unbiased_distance_is_the_u_statistic():
    rng = np.random.default_rng(0)
    x, y = jnp.asarray(rng.normal(size=(7, 3))), jnp.asarray(rng.normal(size=(5, 3)))
    kernel = lambda a, b: a @ b.T
    off = lambda k: (jnp.sum(k) - jnp.trace(k)) / (len(k) * (len(k) - 1))
    expected = off(kernel(x, x)) + off(kernel(y, y)) - 2 * jnp.mean(kernel(x, y))
    np.testing.assert_allclose(squared_mean_distance(x, y, unbiased=True), expected, rtol=1e-12)


def test_the_unbiased_distance_has_mean_zero_for_equal_laws():
    distance = jax.vmap(lambda p: squared_mean_distance(p[0], p[1], unbiased=True))
    values = jax.jit(lambda: distance(jr.normal(jr.key(0), (4000, 2, 6, 3))))()
    assert abs(float(values.mean())) < 3.5 * float(values.std()) / 4000**0.5


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_expected_signature_of_equal_batches_is_zero(depth):
    distance = jax.jit(lambda x: rs.losses.expected_signature(x, x, depth=depth, unbiased=False))
    assert float(distance(X)) < 1e-28


def test_expected_signature_at_depth_one_by_hand():
    """Level one of the lift is (t1 - t0, counts)."""
    loss = lambda x, y: rs.losses.expected_signature(x, y, depth=1, taper=0.0, unbiased=False)
    value = jax.jit(loss)(X, Y)
    counts_x, counts_y = np.array([[2, 1], [1, 0], [2, 1]]), np.array([[1, 2], [2, 1]])
    np.testing.assert_allclose(value, ((counts_x.mean(0) - counts_y.mean(0)) ** 2).sum())


def test_matching_spike_counts_compares_as_many_as_both_have():
    x, y = batch([[0.1, 0.5]]), batch([[0.1, 0.5, 0.9]])

    @jax.jit
    def losses(x, y):
        loss = functools.partial(rs.losses.expected_signature, depth=3, unbiased=False, taper=0.0)
        return loss(x, y, match_spikes=True), loss(x, y)

    matched, all_spikes = losses(x, y)
    assert matched < 1e-28
    assert all_spikes > 0.1


LOSSES = {
    "mse": lambda x, y: rs.losses.first_spike_mse(x, y, 3),
    "mae": lambda x, y: rs.losses.first_spike_mae(x, y, 3),
    "signature": lambda x, y: rs.losses.expected_signature(x, y, depth=3),
}
STEP = 0.02


@functools.cache
def losses_of_the_model():
    """Of a single neuron, in a window that spikes leave: each loss of 150 batches at an input and a
    step above and below it, and the derivatives."""
    network = single_neuron(0.25)

    def simulate(c, key):
        run = lambda k: (
            rs.simulate(
                network,
                lambda t: c[None],
                rs.Window(0.0, 0.5, 0.02),
                max_spikes=12,
                key=k,
                throw=False,
                engine=rs.EventByEvent(),
            ).spikes
        )
        return jax.vmap(run)(jr.split(key, 64))

    @jax.jit
    def run():
        data = simulate(jnp.asarray(1.8), jr.key(9))
        losses = lambda c, key: {
            name: loss(simulate(c, key), data) for name, loss in LOSSES.items()
        }
        along = lambda c, key: jax.jvp(lambda c: losses(c, key), (c,), (jnp.ones(()),))
        inputs = 1.3 + STEP * jnp.array([0.0, 1.0, -1.0])
        return jax.lax.map(
            lambda key: jax.vmap(along, (0, None))(inputs, key), jr.split(jr.key(1), 150)
        )

    return jax.device_get(run())


@pytest.mark.slow
@pytest.mark.parametrize("name", LOSSES)
def test_the_mean_gradient_of_each_loss_is_the_derivative_of_its_mean(name):
    """Within 3 standard errors."""
    values, slopes = (z[name] for z in losses_of_the_model())
    exact = slopes[:, 0]
    gap = exact - (values[:, 1] - values[:, 2]) / (2 * STEP)
    error = gap.std(ddof=1) / 150**0.5
    assert abs(gap.mean()) < 3 * error
    assert error < 0.1 * abs(exact.mean())


def test_gradients_of_padded_trains_are_finite():
    def value(times):
        x = rs.SpikeTrain(times, X.marks, X.count, X.overflow, 0.0, 1.0, 2)
        signature = rs.losses.expected_signature(x, Y, allow_jumps=True)
        return signature + rs.losses.first_spike_mse(x, Y, 2)

    assert np.all(np.isfinite(jax.jit(jax.grad(value))(X.times)))


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
    rng = np.random.default_rng(0)
    trains = [[np.sort(rng.uniform(size=2)), np.sort(rng.uniform(size=1))] for _ in range(7)]
    data = batch(*trains)

    @jax.jit
    def means(data):
        parts = (jax.tree.map(lambda z, n=n: z[n : n + 3], data) for n in (0, 3, 6))
        of = functools.partial(rs.losses.SignatureMean.of, depth=2)
        return of(parts), of(data), of(Y)

    streamed, once, whole = means(data)
    for a, b in zip(jax.tree.leaves(streamed), jax.tree.leaves(once), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)

    @jax.jit
    def distances(whole):
        loss = rs.losses.expected_signature
        pairs = [
            (loss(X, whole, unbiased=u), loss(X, Y, depth=2, unbiased=u)) for u in (True, False)
        ]
        return jnp.array(pairs)

    found, expected = np.asarray(distances(whole)).T
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    single = rs.losses.SignatureMean.of(jax.tree.map(lambda z: z[:1], Y))
    with pytest.raises(ValueError, match="a mean of one"):
        rs.losses.expected_signature(X, single)
    with pytest.raises(ValueError, match="at least one batch"):
        rs.losses.SignatureMean.of([])


def test_log_signatures_have_the_size_of_the_free_lie_algebra():
    logs = lambda x: rs.losses.signature_features(x, depth=3, log=True, taper=0.0)
    features = np.asarray(jax.jit(logs)(X))
    assert features.shape == (3, 3 + 3 + 8)
    # Level one is what the path gains: time, and the counts.
    np.testing.assert_allclose(features[:, 0], 1.0)
    np.testing.assert_allclose(features[:, 1:3], [[len(z) for z in x] for x in X.to_lists()])


def test_random_mixtures_of_many_neurons_keep_inner_products():
    """At depth 1: the inner products of counts, within 4 standard errors of 400 mixtures."""
    rng = np.random.default_rng(1)
    trains = [[rng.uniform(size=k)[:1] for k in rng.integers(0, 2, 60)] for _ in range(4)]
    x = batch(*trains, room=60)

    @jax.jit
    def features(x):
        of = rs.losses.signature_features
        full, mixed = (of(x, depth=1, taper=0.0, directions=n) for n in (None, 400))
        return full, mixed, of(x, depth=3, directions=10)

    full, mixed, many = jax.device_get(features(x))
    size = np.sqrt(np.outer(np.sum(full**2, 1), np.sum(full**2, 1)))
    assert np.max(np.abs(mixed @ mixed.T - full @ full.T) / size) < 4 * (2 / 400) ** 0.5
    assert many.shape == (4, 11 + 11**2 + 11**3)


def test_losses_that_jump_refuse_to_be_differentiated():
    moved = lambda t: rs.SpikeTrain(t, X.marks, X.count, X.overflow, 0.0, 1.0, 2)
    with pytest.raises(ValueError, match="two neurons swap order"):
        jax.eval_shape(jax.grad(lambda t: rs.losses.expected_signature(moved(t), Y)), X.times)
    one = batch([[0.1, 0.5]], [[0.1, 0.7]], room=2)
    single = lambda t: rs.SpikeTrain(t, one.marks, one.count, one.overflow, 0.0, 1.0, 1)
    loss = rs.losses.expected_signature
    assert np.all(np.isfinite(jax.jit(jax.grad(lambda t: loss(single(t), one)))(one.times)))
    with pytest.raises(ValueError, match="a spike leaves the window"):
        jax.eval_shape(jax.grad(lambda t: loss(single(t), one, taper=0.0)), one.times)
