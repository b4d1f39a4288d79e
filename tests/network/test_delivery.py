"""Rows of the neurons that fired, lists of targets, and the derivative in the weights."""

import functools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import roughsnn as rs
from roughsnn._engine import samples
from roughsnn._engine import spread as spread_module
from roughsnn._engine.spread import spread

from ..helpers import ENGINES, lif_network, set_limit

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


def random_change(weights: Any, rng: np.random.Generator) -> Any:
    """A direction in which the weights that are not 0 move."""
    change = lambda w: np.where(w != 0, rng.normal(size=w.shape), 0) if w.dtype == float else w
    return jax.tree.map(change, weights)


def along(weights: Any, change: Any, s) -> Any:
    """The weights, s along the change."""
    return jax.tree.map(lambda w, c: w + s * c if w.dtype == float else w, weights, change)


@jax.jit
def derivatives(weights: Any, change: Any, hit, x, y):
    """Values and derivatives in weights and x of `spread`, and of the product with a matrix."""
    sparse = isinstance(weights, rs.SparseWeights)
    moved = lambda s: along(weights, change, s)
    rows = lambda s: moved(s).filled() if sparse else moved(s)
    matrix = lambda s: moved(s).to_dense() if sparse else moved(s)
    xs, each = jnp.stack([x, y, 2 * x]), jnp.arange(3.0)

    def of(f):
        value, forward = jax.jvp(f, (0.0, x), (1.0, y))
        inner = lambda s: jnp.sum(jax.grad(lambda x: jnp.sum(f(s, x) ** 2))(x) * y)
        return {
            "value": value,
            "forward": forward,
            "reverse": jax.grad(lambda s, x: jnp.sum(f(s, x) * y), (0, 1))(0.0, x),
            "mixed second": jax.jacfwd(jax.grad(lambda s: jnp.sum(f(s, x) ** 2)))(0.0),
            "reverse over reverse, the weights last": jax.grad(inner)(0.0),
            "batch": jax.vmap(lambda x: f(0.0, x))(xs),
            "batch with weights": jax.vmap(f)(each, xs),
            "weights of their own, x shared": jax.grad(
                lambda s, x: jnp.sum(jax.vmap(f, (0, None))(s, x) ** 2), (0, 1)
            )(each, x),
        }

    return of(lambda s, x: spread(rows(s), hit, x)), of(
        lambda s, x: jnp.where(hit[None], x, 0) @ matrix(s)
    )


@pytest.mark.parametrize("kind", WEIGHTS)
@pytest.mark.parametrize("hits", [0, 1, 17, 25, 26, 100])
def test_few_rows_give_what_all_give(kind, hits):
    """Values, both derivatives in both modes, alone and in batches."""
    check_rows(kind, hits)


@pytest.mark.parametrize("kind", WEIGHTS)
@pytest.mark.parametrize("hits", [0, 5, 70, 100])
def test_as_other_devices_do_it(kind, hits, monkeypatch):
    """Several rows at a time, and not one after the other."""
    set_limit(monkeypatch, samples, "_IN_TURN", False)
    check_rows(kind, hits)


@pytest.mark.parametrize("at_once", [15, 20, 1])
def test_all_rows_of_lists_are_taken_in_pieces(at_once, monkeypatch):
    """With and without a rest, and row by row, on other devices than a CPU."""
    set_limit(monkeypatch, samples, "_IN_TURN", False)
    width = WEIGHTS["sparse"].targets.shape[1]
    set_limit(monkeypatch, spread_module, "_AT_ONCE", at_once * width - (at_once == 1))
    check_rows("sparse", N)


def check_rows(kind: str, hits: int) -> None:
    """Asserts that sums over the rows of neurons that fired are products with a matrix."""
    weights, rng = WEIGHTS[kind], np.random.default_rng(hits)
    hit = rng.permutation(N) < hits
    x, y = (rng.normal(size=(3, N)) for _ in range(2))
    found, expected = derivatives(weights, random_change(weights, rng), hit, x, y)
    for name, value in found.items():
        for a, b in zip(jax.tree.leaves(value), jax.tree.leaves(expected[name]), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-13, err_msg=name)
    # Outside of `jit` too.
    rows = weights.filled() if kind == "sparse" else weights
    eager = spread(rows, jnp.asarray(hit), jnp.asarray(x))
    np.testing.assert_allclose(eager, found["value"], rtol=1e-12, atol=1e-13)


class Ramp(eqx.Module):
    """A drive that grows from neuron to neuron."""

    neurons: int = eqx.field(static=True)

    def __call__(self, t):
        return jnp.linspace(1.0, 1.8, self.neurons) * (1 + 0.2 * jnp.sin(7 * t))


RATES = np.array([12.0, 6.0])
# More neurons than fit into one product.
MANY = 80
KEY = jr.key(1)


def network(weights, mu=RATES):
    firing = rs.StochasticFiring(rs.ExponentialIntensity(5.0, 1.0, 1.0), 0.03)
    return lif_network(firing, weights, mu=mu, sigma=np.array([[0.2], [0.0]]), reset=1.1)


@functools.partial(jax.jit, static_argnames="method")
def spike_times(weights, mu=RATES, key=KEY, method: Any = "lockstep"):
    net = network(weights, mu)
    n = net.num_neurons
    room: Any = dict(window=rs.Window(0.0, 0.5, 0.02), max_spikes=12 * max(n, 20), key=key)
    return rs.simulate(net, Ramp(n), **room, engine=ENGINES[method]).spikes.times


def finite(times, f=lambda t: t):
    """The sum of f of all spike times."""
    return jnp.sum(jnp.where(jnp.isfinite(times), f(times), 0))


def loss(weights, mu=RATES, key=KEY):
    return finite(spike_times(weights, mu, key), lambda t: jnp.sin(9 * t))


gradient = eqx.filter_jit(eqx.filter_grad(loss))


@jax.jit
def along_a_line(weights, mu, change, steps):
    """The loss at steps along a change of the weights, and its derivatives, in forward mode."""
    value = lambda s: loss(along(weights, change, s), mu)
    return jax.lax.map(lambda s: jax.jvp(value, (s,), (1.0,)), steps)


@pytest.mark.slow
@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("kind", ["dense", "sparse"])
def test_the_derivative_in_the_weights(kind, own):
    """Against differences."""
    rng = np.random.default_rng(1)
    mu = np.stack([np.linspace(8, 14, MANY), np.full(MANY, 6.0)]) if own else RATES
    matrix = 0.3 * random_weights(MANY)
    weights: Any = matrix if kind == "dense" else rs.SparseWeights.from_dense(matrix)
    change = random_change(weights, rng)
    # Small, so that no spike crosses the border of a cell, where the second derivative jumps.
    h = 1e-8
    (up, down, _), slopes = along_a_line(weights, mu, change, np.array([h, -h, 0.0]))
    numeric, forward = (up - down) / (2 * h), slopes[2]
    found = gradient(weights, mu, KEY)
    if kind == "sparse":
        found, change = found.values, change.values
    reverse = np.sum(np.asarray(found) * change)
    assert abs(numeric) > 0.01
    np.testing.assert_allclose(reverse, numeric, rtol=1e-5)
    np.testing.assert_allclose(forward, reverse, rtol=1e-10)


@pytest.mark.slow
@pytest.mark.parametrize("neurons", [6, 70])
def test_second_derivatives_in_the_weights(neurons):
    matrix = 0.5 * random_weights(neurons, 3 / neurons)
    slope = jax.grad(lambda s: finite(spike_times(matrix * (1 + s)), jnp.square))

    @jax.jit
    def forward_over_reverse(steps):
        return jax.lax.map(lambda s: jax.jvp(slope, (s,), (1.0,)), steps)

    h = 1e-7
    (up, down, _), second = forward_over_reverse(np.array([h, -h, 0.0]))
    for found in (second[2], jax.jit(jax.grad(slope))(0.0)):
        np.testing.assert_allclose(found, (up - down) / (2 * h), rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("neurons", [7, 70])
def test_rates_of_their_own_that_are_the_same(neurons):
    """The sums over spikes are others, what comes out is not."""
    weights = 0.5 * random_weights(neurons, 3 / neurons)
    own = np.broadcast_to(RATES[:, None], (2, neurons))
    found, expected = spike_times(weights, own), spike_times(weights)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    # Not for want of spikes that act.
    assert np.any(np.asarray(spike_times(0 * weights)) != np.asarray(expected))


@pytest.mark.slow
@pytest.mark.parametrize("method", ["event", "lockstep"])
def test_lists_of_targets_are_the_matrix(method):
    matrix = 0.4 * random_weights(7, 0.4)
    sparse = rs.SparseWeights.from_dense(matrix)
    to_dense = jax.jit(rs.SparseWeights.to_dense)
    np.testing.assert_array_equal(to_dense(sparse), matrix)
    expected = spike_times(matrix, method=method)
    np.testing.assert_allclose(spike_times(sparse, method=method), expected, rtol=1e-12)
    few = rs.SparseWeights([[1, -1], [2, -1], [-1, -1]], np.arange(1.0, 7.0).reshape(3, 2))
    np.testing.assert_array_equal(to_dense(few), [[0, 1, 0], [0, 0, 3], [0, 0, 0]])
    np.testing.assert_array_equal(jax.jit(lambda w: w.row(0))(few), [0, 1, 0])
    # Entries of one target add up, and -1 is none.


@pytest.mark.slow
@pytest.mark.slow
@pytest.mark.parametrize("delay", [None, 0.02])
def test_long_and_short_lists_are_the_matrices(delay):
    """Large lists of lengths that differ are not padded to one, onto one population or several."""
    neurons, rng = {"a": 280, "b": 20}, np.random.default_rng(1)
    firing = rs.StochasticFiring(rs.ExponentialIntensity(beta=3.0), 0.03)
    neuron, ports = rs.neurons.LIF(0.07, rs.Subtract(1.0)), {"syn": rs.synapses.Exponential(0.05)}
    parts = {name: rs.Population(n, neuron, firing, ports) for name, n in neurons.items()}
    options: Any = {} if delay is None else dict(delay=delay, max_delay=0.05)
    # 280 lists of 270, and of 3.
    draw = lambda n, k: np.where(
        rng.permuted(np.arange(280 * n).reshape(280, n) % n < k, axis=1), 1, 0
    )
    masks = [draw(280, 270), draw(20, 3)]
    matrices = [mask * rng.normal(size=mask.shape) / 40 for mask in masks]

    def spikes(weights, sparse):
        projections = []
        for post, w, mask in zip(neurons, weights, masks, strict=True):
            if sparse:
                targets = np.argsort(-mask, axis=1, kind="stable")[:, : mask[0].sum()]
                w = rs.SparseWeights(targets, jnp.take_along_axis(w, targets, axis=1), len(mask[0]))
            projections.append(rs.Projection("a", post, w, autapses=True, **options))
        net, window = rs.SpikingNetwork(parts, projections), rs.Window(0.0, 0.3, 0.01)
        train = rs.simulate(net, jnp.full(300, 2.5), window, key=jr.key(2), max_spikes=3000).spikes
        return jnp.sum(jnp.sin(9 * jnp.where(train.marks >= 0, train.times, 0))), train

    values = [jnp.asarray(m) for m in matrices]
    of = lambda sparse: jax.jit(jax.value_and_grad(lambda w: spikes(w, sparse), has_aux=True))(
        values
    )
    (value, train), grad = of(True)
    (expected, other), wanted = of(False)
    assert int(train.count) > 300
    np.testing.assert_array_equal(train.marks, other.marks)
    np.testing.assert_allclose(value, expected, rtol=1e-9)
    for a, b, mask in zip(grad, wanted, masks, strict=True):
        np.testing.assert_allclose(a, np.where(mask, b, 0), rtol=1e-7, atol=1e-9)


def test_samples_share_the_weights():
    """Batches over keys, over keys and weights, and over one in the other; each as it is alone."""
    matrix = 0.3 * random_weights(MANY)
    keys = jax.jit(lambda: jr.split(jr.key(3), 3))()
    alone = np.stack([gradient(matrix, RATES, key) for key in keys])
    one = lambda weights, key: loss(weights, key=key)
    each = jax.jit(jax.vmap(jax.grad(one)))(np.stack([matrix] * 3), keys)
    np.testing.assert_allclose(each, alone, rtol=1e-9, atol=1e-12)
    pairs = np.stack([matrix, matrix[::-1, ::-1]])
    of_keys = jax.vmap(jax.grad(one), (None, 0))
    of_both = jax.jit(jax.vmap(of_keys, (0, None)))(pairs, keys)
    np.testing.assert_allclose(of_both[0], alone, rtol=1e-9, atol=1e-12)
    both = lambda w: jnp.mean(jax.vmap(jax.vmap(one, (0, None)), (None, 0))(w, keys))
    mean = jax.jit(jax.grad(both))(pairs)
    np.testing.assert_allclose(mean, of_both.mean(1) / 2, rtol=1e-9, atol=1e-12)


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
        lif_network(weights=rs.SparseWeights([[0], [0]], [[1.0], [1.0]]))
    with pytest.raises(ValueError, match="`mask` goes with a matrix"):
        lists = rs.SparseWeights([[1], [0]], [[1.0], [1.0]])
        lif_network(rs.HardThreshold(1.0), lists, mask=np.ones((2, 2), bool))
    lists = network(rs.SparseWeights([[1], [0]], [[1.0], [1.0]]))
    room: Any = dict(window=rs.Window(0.0, 0.5, 0.02), max_spikes=9, key=jr.key(0))
    with pytest.raises(ValueError, match="must have matrices of weights"):
        rs.eligibility(lists, lambda t: jnp.ones(2), **room)
