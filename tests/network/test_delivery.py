"""Rows of the neurons that fired, lists of targets, and the derivative in the weights."""

from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import roughsnn as rs
from roughsnn._network.spread import spread

N = 100


def random_weights(n: int, part: float = 0.1) -> np.ndarray:
    """The same for the same n, in whatever order tests are run."""
    rng = np.random.default_rng(n)
    matrix = rng.normal(size=(n, n)) * (rng.uniform(size=(n, n)) < part)
    np.fill_diagonal(matrix, 0)
    return matrix


MATRIX = random_weights(N)
WEIGHTS: dict[str, Any] = {
    "dense": jnp.asarray(MATRIX),
    "sparse": rs.SparseWeights.from_dense(MATRIX),
}


@pytest.mark.parametrize("kind", WEIGHTS)
@pytest.mark.parametrize("hits", [0, 1, 4, 5, 16, 17, 70, 100])
def test_few_rows_give_what_all_give(kind, hits):
    """Values, both derivatives in both modes, alone and in batches."""
    weights, rng = WEIGHTS[kind], np.random.default_rng(hits)
    hit = jnp.asarray(rng.permutation(N) < hits)
    x, y = (jnp.asarray(rng.normal(size=(3, N))) for _ in range(2))
    change = jax.tree.map(lambda w: rng.normal(size=w.shape) if w.dtype == x.dtype else w, weights)
    moved = lambda s: jax.tree.map(
        lambda w, c: w + s * c if w.dtype == x.dtype else w, weights, change
    )
    matrix = lambda s: moved(s).to_dense() if kind == "sparse" else moved(s)
    plain = lambda s, x: jnp.where(hit[None], x, 0) @ matrix(s)
    rows = lambda s: moved(s).filled() if kind == "sparse" else moved(s)
    ours = lambda s, x: spread(rows(s), hit, x)
    check = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-13)
    check(ours(0.0, x), plain(0.0, x))
    for order in (
        lambda f: jax.jvp(f, (0.0, x), (1.0, y))[1],
        lambda f: jax.grad(lambda s, x: jnp.sum(f(s, x) * y), (0, 1))(0.0, x),
    ):
        for a, b in zip(*(jax.tree.leaves(order(f)) for f in (ours, plain)), strict=True):
            check(a, b)
    # The mixed second derivative in weights and x.
    mixed = lambda f: jax.jacfwd(jax.grad(lambda s: jnp.sum(f(s, x) ** 2)))(0.0)
    check(mixed(ours), mixed(plain))
    # Reverse over reverse, the weights last.
    last = lambda f: jax.grad(lambda s: jnp.sum(jax.grad(lambda x: jnp.sum(f(s, x) ** 2))(x) * y))(
        0.0
    )
    check(last(ours), last(plain))
    xs = jnp.stack([x, y, 2 * x])
    check(jax.vmap(lambda x: ours(0.0, x))(xs), jax.vmap(lambda x: plain(0.0, x))(xs))
    each = jnp.arange(3.0)
    check(jax.vmap(ours)(each, xs), jax.vmap(plain)(each, xs))


def network(weights, mu=(12.0, 6.0)):
    mu = jnp.asarray(mu)
    membrane = rs.LIF(mu, jnp.array([[0.2], [0.0]]), 1.1)
    firing = rs.StochasticFiring(rs.ExponentialIntensity(5.0, 1.0, 1.0), 0.03)
    return rs.SpikingNetwork(membrane, firing, weights)


def times(net: rs.SpikingNetwork, method: Any = "lockstep", **options: Any):
    n = net.num_neurons
    assert n is not None
    drive = lambda t: jnp.linspace(1.0, 1.8, n) * (1 + 0.2 * jnp.sin(7 * t))
    options = dict[str, Any](dt0=0.02, max_spikes=12 * max(n, 20), key=jr.key(1)) | options
    return rs.simulate(net, drive, t0=0.0, t1=0.5, method=method, **options).times


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("kind", ["dense", "sparse"])
def test_the_derivative_in_the_weights(kind, own):
    """Of a network of more neurons than fit into one product, against differences."""
    n, rng = 80, np.random.default_rng(1)
    mu = jnp.stack([jnp.linspace(8, 14, n), jnp.full(n, 6.0)]) if own else (12.0, 6.0)
    matrix = 0.3 * random_weights(n)
    weights: Any = jnp.asarray(matrix) if kind == "dense" else rs.SparseWeights.from_dense(matrix)
    change = jax.tree.map(
        lambda w: jnp.where(w != 0, rng.normal(size=w.shape), 0) if w.dtype == float else w,
        weights,
    )

    @jax.jit
    def along(s):
        moved = jax.tree.map(lambda w, c: w + s * c if w.dtype == float else w, weights, change)
        found = times(network(moved, mu))
        return jnp.sum(jnp.where(jnp.isfinite(found), jnp.sin(9 * found), 0))

    # Small, so that no spike crosses the border of a cell, where the second derivative jumps.
    h = 1e-8
    numeric = (along(h) - along(-h)) / (2 * h)
    reverse, forward = jax.jit(jax.grad(along))(0.0), jax.jit(jax.jacfwd(along))(0.0)
    assert abs(numeric) > 0.01
    np.testing.assert_allclose(reverse, numeric, rtol=1e-5)
    np.testing.assert_allclose(forward, reverse, rtol=1e-10)


@pytest.mark.parametrize("neurons", [6, 70])
def test_second_derivatives_in_the_weights(neurons):
    matrix = 0.5 * random_weights(neurons, 3 / neurons)

    @jax.jit
    def along(s):
        found = times(network(jnp.asarray(matrix * (1 + s))))
        return jnp.sum(jnp.where(jnp.isfinite(found), found, 0) ** 2)

    slope, h = jax.jit(jax.grad(along)), 1e-7
    second = (slope(h) - slope(-h)) / (2 * h)
    for twice in (jax.jacfwd(slope), jax.grad(slope)):
        np.testing.assert_allclose(jax.jit(twice)(0.0), second, rtol=1e-5)


@pytest.mark.parametrize("neurons", [7, 70])
def test_rates_of_their_own_that_are_the_same(neurons):
    """The sums over spikes are others, what comes out is not."""
    weights = jnp.asarray(0.5 * random_weights(neurons, 3 / neurons))
    own = network(weights, mu=jnp.broadcast_to(jnp.array([[12.0], [6.0]]), (2, neurons)))
    found, expected = times(own), times(network(weights))
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    # Not for want of spikes that act.
    assert np.any(np.asarray(times(network(0 * weights)) != expected))


@pytest.mark.parametrize("method", ["event", "lockstep"])
def test_lists_of_targets_are_the_matrix(method):
    matrix = 0.4 * random_weights(7, 0.4)
    sparse = rs.SparseWeights.from_dense(matrix)
    np.testing.assert_array_equal(sparse.to_dense(), matrix)
    expected = times(network(jnp.asarray(matrix)), method=method)
    np.testing.assert_allclose(times(network(sparse), method=method), expected, rtol=1e-12)
    few = rs.SparseWeights([[1, -1], [2, -1], [-1, -1]], np.arange(1.0, 7.0).reshape(3, 2))
    np.testing.assert_array_equal(few.to_dense(), [[0, 1, 0], [0, 0, 3], [0, 0, 0]])
    np.testing.assert_array_equal(few.row(jnp.array(0)), [0, 1, 0])
    # Entries of one target add up, and -1 is none.


def test_samples_share_the_weights():
    """A batch over keys, and one over keys and weights; each as it is alone."""
    n = 70
    matrix = jnp.asarray(0.3 * random_weights(n))
    keys = jr.split(jr.key(3), 3)

    def loss(weights, key):
        found = times(network(weights), key=key)
        return jnp.sum(jnp.where(jnp.isfinite(found), found, 0))

    gradient = jax.jit(jax.grad(loss))
    alone = jnp.stack([gradient(matrix, key) for key in keys])
    batch = jax.jit(jax.vmap(jax.grad(loss), (None, 0)))(matrix, keys)
    np.testing.assert_allclose(batch, alone, rtol=1e-9, atol=1e-12)
    each = jax.jit(jax.vmap(jax.grad(loss)))(jnp.stack([matrix] * 3), keys)
    np.testing.assert_allclose(each, alone, rtol=1e-9, atol=1e-12)
    mean = jax.jit(jax.grad(lambda w: jnp.mean(jax.vmap(lambda k: loss(w, k))(keys))))(matrix)
    np.testing.assert_allclose(mean, alone.mean(0), rtol=1e-9, atol=1e-12)


def test_bad_input():
    with pytest.raises(ValueError, match="`targets` must be integers"):
        rs.SparseWeights([[0.5]], [[1.0]])
    with pytest.raises(ValueError, match="shape of `targets`"):
        rs.SparseWeights([[1], [0]], [[1.0]])
    with pytest.raises(ValueError, match="got values from 0 to 2"):
        rs.SparseWeights([[2], [0]], [[1.0], [1.0]])
    with pytest.raises(ValueError, match="Neuron 1 has two synapses onto the same target"):
        rs.SparseWeights([[1, 2, -1], [2, 0, 2], [-1, -1, -1]], np.ones((3, 3)))
    with pytest.raises(ValueError, match="`values` must be finite"):
        rs.SparseWeights([[1], [0]], [[1.0], [np.nan]])
    with pytest.raises(ValueError, match="must not hold k"):
        rs.SparseWeights([[0], [0]], [[1.0], [1.0]])
    with pytest.raises(ValueError, match="`mask` goes with a matrix"):
        rs.SpikingNetwork(
            rs.LIF((15.0, 6.0), None, 1.4),
            rs.ThresholdFiring(1.0),
            rs.SparseWeights([[1], [0]], [[1.0], [1.0]]),
            np.ones((2, 2), bool),
        )
    lists = network(rs.SparseWeights([[1], [0]], [[1.0], [1.0]]))
    room: Any = dict(t0=0.0, t1=0.5, dt0=0.02, max_spikes=9, key=jr.key(0))
    with pytest.raises(ValueError, match="must have a matrix of weights"):
        rs.eligibility(lists, lambda t: jnp.ones(2), **room)
