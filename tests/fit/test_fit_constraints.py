"""Parameters that `fit` keeps within constraints, by paramax."""

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import paramax

import roughsnn as rs


def positive(x):
    return paramax.Parameterize(jnp.exp, jnp.log(x))


def test_a_positive_parameter_stays_positive():
    """Pushed down, far beyond 0; the losses see a plain model."""
    seen = []

    def loss(neuron, data, key):
        seen.append(eqx.is_array(neuron.tau))
        return jnp.sum(neuron.tau) + jnp.sum(neuron.reset.by**2)

    neuron = rs.neurons.LIF(np.array([15.0, 6.0]))
    wrapped = eqx.tree_at(lambda n: n.tau, neuron, replace_fn=positive)
    sgd = optax.sgd(0.1)
    result = rs.fit(wrapped, loss, None, sgd, steps=50, key=jr.key(0))
    plain = paramax.unwrap(result.model)
    assert result.stopped is None and jnp.all(plain.tau > 0) and jnp.all(plain.tau < 1)
    assert seen and all(seen)
    # By hand: x -> x exp(-0.1 x).
    x = np.array([15.0, 6.0])
    for _ in range(50):
        x *= np.exp(-0.1 * x)
    np.testing.assert_allclose(plain.tau, x, rtol=1e-10)
