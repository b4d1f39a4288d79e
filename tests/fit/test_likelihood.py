from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import roughsnn as rs

from ..helpers import constant, lif_network

T1, DT = 1.0, 0.02
WEIGHTS = np.array([[0.0, 1.0], [-0.8, 0.0]])
DATA = rs.SpikeTrain.from_lists([[0.2, 0.55, 0.8]], t0=0.0, t1=T1)


def network(sigma=((0.3,), (0.2,)), weights=WEIGHTS):
    firing = rs.StochasticFiring(rs.ExponentialIntensity(4.0, 1.0, 0.5))
    return lif_network(firing, weights, mu=(8.0, 4.0), sigma=sigma, reset=1.2)


def bound(key, samples, weights=WEIGHTS):
    return rs.log_likelihood(
        network(weights=weights),
        constant(1.0, 0.7),
        DATA,
        rs.Window(DATA.t0, DATA.t1, DT),
        observed=[1],
        key=key,
        samples=samples,
        max_spikes=24,
    )


def test_without_noise_it_is_exact():
    net = network(sigma=None)
    train = rs.SpikeTrain.from_lists([[0.3], [0.2, 0.55, 0.8]], t0=0.0, t1=T1)

    @jax.jit
    def run(train):
        given: Any = (net, constant(1.0, 0.7), train, rs.Window(0.0, T1, DT))
        one = rs.log_likelihood(*given)
        # All samples are the same.
        many = rs.log_likelihood(*given, key=jr.key(0), samples=3)
        each = rs.clamp(*given).log_likelihood
        numbers = [(x.value, x.bias, x.effective_samples) for x in (one, many)]
        return jnp.sum(each), *numbers

    total, (value, bias, effective), (value_3, bias_3, effective_3) = jax.device_get(run(train))
    np.testing.assert_allclose(value, total, rtol=1e-12)
    assert effective == pytest.approx(1) and np.isnan(bias)
    np.testing.assert_allclose(value_3, value, rtol=1e-12)
    assert bias_3 == pytest.approx(0, abs=1e-20)
    assert effective_3 == pytest.approx(3)


@jax.jit
@jax.vmap
def each(samples):
    found = rs.LogLikelihood(samples)
    return found.value, found.bias, found.effective_samples


def numbers_of(samples):
    """Value, bias and number of effective samples of each row."""
    return jax.device_get(each(samples))


@pytest.mark.slow
def test_the_bound_grows_to_the_log_likelihood_and_states_its_bias():
    total = jax.jit(lambda n: bound(jr.split(jr.key(0), 8)[n], 4096).samples)
    samples = np.concatenate([total(n) for n in range(8)])
    weights = np.exp(samples)
    truth = np.log(weights.mean())
    error = weights.std() / weights.mean() / len(weights) ** 0.5
    assert error < 0.02
    means, stated = [], []
    for number in (1, 8, 64, 512):
        values, biases, _ = numbers_of(samples.reshape(-1, number))
        means.append(values.mean() - truth)
        stated.append(biases.mean())
        standard_error = values.std() / len(values) ** 0.5
    # A lower bound that grows, with a bias like 1 / samples.
    assert np.all(np.diff(means) > 0) and means[0] < -0.5
    assert abs(means[-1] + stated[-1]) < 4 * np.hypot(standard_error, error)
    # The stated bias is somewhat too small, as the weights have a long tail.
    assert 0.5 < stated[2] / -means[2] < 1.1
    slope = np.polyfit(np.log([8, 64, 512]), np.log(-np.array(means[1:])), 1)[0]
    assert -1.3 < slope < -0.7
    _, _, effective = numbers_of(samples.reshape(-1, 64))
    assert 1 < effective[0] < 64


@pytest.mark.slow
def test_its_gradient_agrees_with_differences_on_the_same_samples():
    along = np.array([[0.0, 0.7], [-0.4, 0.0]])
    value = lambda e: bound(jr.key(2), 16, WEIGHTS + e * along).value
    value_and_slope, e = jax.jit(jax.value_and_grad(value)), 1e-5
    (_, slope), (up, _), (down, _) = (value_and_slope(x) for x in (0.0, e, -e))
    np.testing.assert_allclose(slope, (up - down) / (2 * e), rtol=1e-6)


@pytest.mark.slow
def test_the_mean_gradient_is_the_derivative_of_the_mean():
    """Hidden spikes come and go, and pass observed ones."""
    along = np.array([[0.0, 0.7], [-0.4, 0.0]])
    value = lambda key, e: bound(key, 4, WEIGHTS + e * along).value
    values_and_slopes = jax.jit(
        lambda e: jax.vmap(jax.value_and_grad(value, argnums=1), (0, None))(
            jr.split(jr.key(3), 2000), e
        )
    )
    e = 0.05
    (_, grads), (up, _), (down, _) = jax.device_get([values_and_slopes(x) for x in (0.0, e, -e)])
    differences = (up - down) / (2 * e)
    gap = grads - differences
    assert abs(gap.mean()) < 4 * gap.std() / len(gap) ** 0.5 + 1e-3
    assert abs(grads.mean()) > 10 * gap.std() / len(gap) ** 0.5


@pytest.mark.slow
def test_mirrored_keys_give_mirrored_samples():
    key = jr.key(4)
    plain, mirrored = bound(key, 3).samples, bound(rs.antithetic(key), 3).samples
    assert not np.any(np.isclose(plain, mirrored))
    one = rs.clamp(
        network(),
        constant(1.0, 0.7),
        DATA,
        rs.Window(DATA.t0, DATA.t1, DT),
        observed=[1],
        max_spikes=24,
        key=rs.antithetic(jr.split(key, 3)[1]),
    )
    np.testing.assert_allclose(mirrored[1], one.log_likelihood[0], rtol=1e-12)


def test_bad_input():
    with pytest.raises(ValueError, match="drawn: give a `key`"):
        bound(None, 4)
    with pytest.raises(ValueError, match="`samples` must be a positive integer"):
        bound(jr.key(0), 0)
