"""A generalised linear model is a network without noise: the same data, by another library."""

import contextlib
import warnings

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
import scipy.optimize

import roughsnn as rs

from ..helpers import lif_network

with warnings.catch_warnings(action="ignore"):
    import nemos

T1, MU, NU, BETA = 30.0, 8.0, 4.0, 2.0
# The level of log rate, the weight of the input neuron and the reset.
TRUTH = np.array([0.8, 1.0, 0.7])


def network(p):
    weights = np.array([[0.0, 1.0], [0.0, 0.0]]) * p[1]
    firing = rs.StochasticFiring(rs.ExponentialIntensity(BETA, 0.0, 1.0))
    return lif_network(firing, weights, mu=(MU, NU), reset=p[2])


def drive(p):
    return lambda t: jnp.stack([jnp.asarray(0.7), p[0]])


def start(p):
    return {"v": jnp.stack([jnp.asarray(0.7), p[0]])}


@pytest.fixture(scope="module")
def train():
    return rs.simulate(
        network(TRUTH),
        drive(TRUTH),
        rs.Window(0.0, T1, 0.01),
        max_spikes=600,
        key=jr.key(6),
        initial=start(TRUTH),
    ).spikes


def features(train, dt):
    """What the spikes before a bin do to the potential at its middle, and counts."""
    inputs, own = train.to_lists()
    edges = np.arange(round(T1 / dt) + 1) * dt
    counts = np.histogram(own, edges)[0]
    out = []
    for spikes, kernel in (
        (inputs, lambda a: MU / (MU - NU) * (np.exp(-NU * a) - np.exp(-MU * a))),
        (own, lambda a: -np.exp(-MU * a)),
    ):
        first = np.searchsorted(edges[:-1], spikes)
        column = np.zeros(len(edges) - 1)
        for spike, n in zip(spikes, first, strict=True):
            # After three seconds nothing is left of it.
            n1 = min(n + round(3 / dt), len(column))
            column[n:n1] += kernel((np.arange(n, n1) + 0.5) * dt - spike)
        out.append(column)
    return np.stack(out, 1), counts


@contextlib.contextmanager
def standard():
    """The arithmetic that nemos counts on, and its warnings."""
    with (
        warnings.catch_warnings(action="ignore"),
        jax.numpy_dtype_promotion("standard"),
        jax.numpy_rank_promotion("allow"),
    ):
        yield


def poisson(train, dt):
    """The model of nemos with the filters of the membrane, and the log-likelihood as a density."""
    x, y = features(train, dt)
    with standard():
        model = nemos.glm.GLM(solver_name="LBFGS", solver_kwargs={"tol": 1e-12, "maxiter": 500})
        model.fit(x, y)
    return model, x, y


def density(model, x, y, dt):
    """nemos has the probability of counts in bins; per spike that is a density times dt."""
    with standard():
        score = model.score(x, y, score_type="log-likelihood", aggregate_sample_scores=jnp.sum)
    return float(score) - y.sum() * np.log(dt)


def own(p, train):
    found = rs.clamp(
        network(p), drive(p), train, rs.Window(train.t0, train.t1, 0.005), initial=start(p)
    )
    return found.log_likelihood[1]


value_and_gradient = jax.jit(jax.value_and_grad(own))


@pytest.mark.slow
def test_likelihood_and_filters_are_those_of_nemos(train):
    def loss(p):
        value, gradient = jax.device_get(value_and_gradient(p, train))
        return -value, -gradient

    found = scipy.optimize.minimize(loss, np.ones(3), jac=True, tol=1e-10)
    ours = float(value_and_gradient(found.x, train)[0])
    filters, densities = [], []
    for dt in (5e-4, 2.5e-4):
        model, x, y = poisson(train, dt)
        # Its rates are per bin.
        level = float(model.intercept_[0]) - np.log(dt)
        filters.append(np.array([level, *np.asarray(model.coef_)]) / BETA)
        # Our parameters, its likelihood.
        model.intercept_ = jnp.asarray([BETA * found.x[0] + np.log(dt)])
        model.coef_ = jnp.asarray(BETA * found.x[1:])
        densities.append(density(model, x, y, dt))
    # Bins have an error of first order; what both tend to is the same.
    assert np.abs(filters[1] - found.x).max() < 0.6 * np.abs(filters[0] - found.x).max() < 0.02
    np.testing.assert_allclose(2 * filters[1] - filters[0], found.x, atol=2e-3)
    assert abs(densities[1] - ours) < 0.6 * abs(densities[0] - ours)
    np.testing.assert_allclose(2 * densities[1] - densities[0], ours, rtol=5e-4)
    # Four standard errors from the truth.
    covariance = np.linalg.inv(-jax.jit(jax.hessian(own))(found.x, train))
    assert np.all(np.abs(found.x - TRUTH) < 4 * np.sqrt(np.diag(covariance)))


def test_gradients_agree_with_differences(train):
    e = 1e-5
    _, gradient = value_and_gradient(TRUTH, train)
    for n in range(3):
        step = e * np.eye(3)[n]
        (up, _), (down, _) = (value_and_gradient(TRUTH + s * step, train) for s in (1, -1))
        np.testing.assert_allclose(gradient[n], (up - down) / (2 * e), rtol=1e-6)
