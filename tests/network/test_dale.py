"""Weights that keep their sign, and random lists of targets."""

from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest

import roughsnn as rs

from ..helpers import ENGINES, lif_network

EXCITATORY = np.array([True, True, False])
TARGETS = np.array([[1, 2], [0, -1], [0, 1]], np.int32)
VALUES = np.array([[0.4, 0.01], [0.3, 0.0], [-0.5, -2.0]])


def weights(kind: str) -> Any:
    lists = rs.SparseWeights(TARGETS, VALUES)
    return lists if kind == "sparse" else jax.jit(rs.SparseWeights.to_dense)(lists)


def network(weights: Any) -> rs.SpikingNetwork:
    firing = rs.StochasticFiring(rs.ExponentialIntensity())
    return lif_network(firing, weights, sigma=((0.2, 0.0), (0.0, 0.1)), reset=1.4)


def mean_square(weights: Any, method: Any = "lockstep") -> jax.Array:
    train = rs.simulate(
        network(weights),
        lambda t: jnp.array([1.6, 1.4, 1.8]),
        rs.Window(0.0, 1.0, 0.01),
        max_spikes=150,
        key=jr.key(0),
        engine=ENGINES[method],
    ).spikes
    return jnp.mean(jnp.where(train.marks >= 0, train.times, 1.0) ** 2)


@pytest.mark.parametrize("kind", ["dense", "sparse"])
def test_they_start_where_they_are_told(kind):
    made = rs.DaleWeights(weights(kind), EXCITATORY)
    assert made.shape == (3, 3)

    @jax.jit
    def effective_matrix(made):
        found = network(made).projections[0].effective()
        return found.to_dense() if isinstance(found, rs.SparseWeights) else found

    matrix, expected = np.asarray(effective_matrix(made)), np.asarray(weights("dense"))
    # A weight of 0 that exists is a very small one.
    np.testing.assert_allclose(matrix, expected, rtol=1e-9, atol=1.01e-4)
    np.testing.assert_allclose(matrix[expected != 0], expected[expected != 0], rtol=1e-9)
    np.testing.assert_array_equal(np.diag(matrix), 0)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["lockstep", "event"])
@pytest.mark.parametrize("kind", ["dense", "sparse"])
def test_derivatives_agree_with_differences(kind, method):
    made = rs.DaleWeights(weights(kind), EXCITATORY)

    def along(s):
        push = lambda r: r + s * jnp.cos(jnp.arange(r.size, dtype=r.dtype)).reshape(r.shape)
        moved = jax.tree.map(lambda r: push(r) if r.dtype == jnp.float64 else r, made)
        return mean_square(moved, method)

    @jax.jit
    def forward(steps):
        return jax.lax.map(lambda s: jax.jvp(along, (s,), (1.0,)), steps)

    h = 1e-5
    (up, down, _), slopes = forward(np.array([h, -h, 0.0]))
    numeric = (up - down) / (2 * h)
    np.testing.assert_allclose(jax.jit(jax.grad(along))(0.0), numeric, rtol=1e-6)
    np.testing.assert_allclose(slopes[2], numeric, rtol=1e-6)


@pytest.mark.parametrize("direction", [1.0, -1.0])
def test_no_step_changes_a_sign(direction):
    """Pushed down, or up, far beyond 0."""
    made = rs.DaleWeights(weights("dense"), EXCITATORY)
    result = rs.fit(
        made,
        lambda w, data, key: direction * jnp.sum(w.weights()),
        None,
        optax.sgd(1.0),
        steps=30,
        key=jr.key(1),
        loop=rs.Loop(progress=False),
    )
    matrix = result.model.weights()
    assert jnp.all(matrix[EXCITATORY] > 0) and jnp.all(matrix[~EXCITATORY] < 0)
    assert jnp.all((matrix - made.weights()) * direction < 0)


def test_bad_input():
    with pytest.raises(ValueError, match="Neuron 2 has weights of the wrong sign"):
        rs.DaleWeights(weights("sparse"), np.ones(3, bool))
    with pytest.raises(ValueError, match="an entry for each row"):
        rs.DaleWeights(weights("dense"), np.ones(2, bool))
    with pytest.raises(ValueError, match="must be boolean"):
        rs.DaleWeights(weights("dense"), np.ones(3))
    with pytest.raises(ValueError, match="must be finite"):
        rs.DaleWeights(np.full((2, 2), np.nan), np.ones(2, bool))
    with pytest.raises(ValueError, match="`mask` goes with a matrix"):
        made = rs.DaleWeights(weights("sparse"), EXCITATORY)
        lif_network(rs.HardThreshold(1.0), made, mask=np.ones((3, 3), bool))
