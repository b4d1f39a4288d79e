"""Known parameters are found again from a minute of spikes."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
import scipy.optimize

import roughsnn as rs

from ..helpers import optimised

# In seconds: trials, their length, cells of the simulation and of the fit.
TRIALS, T1, FINE, DT = 60, 1.0, 0.0005, 0.001


class Case(NamedTuple):
    """A neuron of some parameters."""

    truth: dict[str, float]
    neuron: Callable[[Any], Any]


CASES = {
    "GLIF 3": Case(
        dict(tau=0.02, jump=-1.0, decay=0.05, beta=15.0, threshold=1.0),
        lambda p: rs.neurons.GLIF(
            p["tau"], currents=[rs.neurons.AfterSpikeCurrent(p["decay"], p["jump"])]
        ),
    ),
    "AdaptiveLIF": Case(
        dict(tau=0.02, decay=0.1, jump=0.2, by=1.0, beta=15.0, threshold=1.0),
        lambda p: rs.neurons.AdaptiveLIF(p["tau"], p["decay"], p["jump"], rs.Subtract(p["by"])),
    ),
}


def drives() -> np.ndarray:
    """For each trial a current that is correlated over 20 ms, a row for each cell of the fit."""
    rng, keep = np.random.default_rng(0), np.exp(-DT / 0.02)
    x = np.zeros((round(T1 / DT), TRIALS))
    for n in range(1, len(x)):
        x[n] = keep * x[n - 1] + (1 - keep**2) ** 0.5 * rng.normal(size=TRIALS)
    return 2.5 + 1.5 * x.T[:, :, None]


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_parameters_are_found_from_a_minute_of_spikes(name):
    """Each within 5 %, from a start that is off by half, in longer cells than those of the data."""
    truth, neuron = CASES[name]
    inputs, sizes = jnp.asarray(drives()), np.abs(list(truth.values()))

    def network(logs):
        values = jnp.sign(jnp.asarray(list(truth.values()))) * jnp.exp(logs)
        p = dict(zip(truth, values, strict=True))
        firing = rs.StochasticFiring(rs.ExponentialIntensity(p["beta"], p["threshold"], 0.02))
        return rs.SpikingNetwork(rs.Population(1, neuron(p), firing, refractory=0.002))

    fine, window = rs.Window(0.0, T1, FINE), rs.Window(0.0, T1, DT)

    @optimised
    def simulated(keys):
        net = network(jnp.log(sizes))
        one = lambda c, key: rs.simulate(net, c, fine, key=key, max_spikes=120).spikes
        return jax.vmap(one)(jnp.repeat(inputs, round(DT / FINE), axis=1), keys)

    trains = simulated(jr.split(jr.key(0), TRIALS))
    assert 20 < np.mean(trains.count) / T1 < 60

    @optimised
    @jax.value_and_grad
    def loss(logs, trains):
        net = network(logs)
        one = lambda c, train: rs.log_likelihood(net, c, train, window, throw=False).value
        return -jnp.mean(jax.vmap(one)(inputs, trains))

    def finite(logs):
        value, slope = jax.device_get(loss(jnp.asarray(logs), trains))
        return (value, slope) if np.isfinite(value) else (1e9, np.zeros_like(slope))

    start = np.log(sizes) + np.log(1.5) * np.where(np.arange(len(sizes)) % 2, 1, -1)
    bounds = [(x - 1, x + 1) for x in np.log(sizes)]
    found = scipy.optimize.minimize(finite, start, jac=True, method="L-BFGS-B", bounds=bounds)
    errors = np.expm1(found.x - np.log(sizes))
    assert found.fun < finite(np.log(sizes))[0]
    assert np.all(np.abs(errors) < 0.05), dict(zip(truth, errors.tolist(), strict=True))


PRE, POST, SHORTEST, LONGEST = 10, 10, 0.001, 0.0125


def layer(delays, weights) -> rs.SpikingNetwork:
    """Ten neurons that hear ten others, by a hundred synapses."""
    post = rs.Population(
        POST,
        rs.neurons.LIF(0.01),
        rs.StochasticFiring(rs.ExponentialIntensity(6.0, 1.0, 0.02)),
        {"syn": rs.synapses.Exponential(0.003)},
        refractory=0.002,
    )
    synapses = rs.Projection("in", "post", weights, delay=delays, max_delay=LONGEST)
    return rs.SpikingNetwork({"in": rs.Source(PRE), "post": post}, [synapses])


@pytest.mark.slow
def test_a_hundred_delays_are_found_from_a_minute_of_spikes():
    """To a tenth of a millisecond, with their weights, from one guess for all of them: the
    likelihood rises by steps of Levenberg and Marquardt, with the covariance of the scores of the
    trials for a Hessian, a block for each neuron."""
    trials, t1, fine = 240, 0.25, 0.00025
    rng = np.random.default_rng(0)
    truth = rng.uniform(0.001, 0.01, (PRE, POST)), 3 * rng.uniform(0.8, 1.2, (PRE, POST))
    heard = [
        [np.sort(rng.uniform(0, t1, rng.poisson(20 * t1))) for _ in range(PRE)]
        for _ in range(trials)
    ]
    make = lambda trial: rs.SpikeTrain.from_lists(trial, t0=0.0, t1=t1, max_spikes=100)
    heard = jax.tree.map(lambda *x: np.stack(x), *map(make, heard))
    drive = jnp.zeros(POST)

    @optimised
    def simulated(keys, heard):
        window, net = rs.Window(0.0, t1, fine), layer(*map(jnp.asarray, truth))
        one = lambda key, train: rs.simulate(
            net, drive, window, key=key, max_spikes=500, inputs={"in": train}
        )
        return jax.vmap(lambda key, train: one(key, train).spikes)(keys, heard)

    trains = simulated(jr.split(jr.key(1), trials), heard)

    def physical(x):
        return SHORTEST + (LONGEST - SHORTEST) * jax.nn.sigmoid(x[0]), 3 * x[1]

    @optimised
    def scores(x, trains, heard):
        def one(x, train, heard):
            window = rs.Window(0.0, t1, DT)
            net, given = layer(*physical(x)), {"in": heard}
            each = rs.clamp(net, drive, train, window, inputs=given).log_likelihood
            return jnp.sum(each), each

        slopes, values = jax.vmap(jax.grad(one, has_aux=True), (None, 0, 0))(x, trains, heard)
        return jnp.sum(values, 0), jnp.moveaxis(slopes, 3, 0).reshape(POST, trials, 2 * PRE)

    x = np.stack([np.full((PRE, POST), -0.45), np.full((PRE, POST), 0.5)])
    value, slopes = jax.device_get(scores(x, trains, heard))
    damping = np.full(POST, 0.3)
    for _ in range(60):
        apart = slopes - slopes.mean(1, keepdims=True)
        hessian = np.einsum("ptk,ptl->pkl", apart, apart)
        more = np.einsum("p,pkk->pk", damping, hessian) + damping[:, None]
        hessian = hessian + more[:, :, None] * np.eye(2 * PRE)
        step = np.linalg.solve(hessian, slopes.sum(1)[..., None])[..., 0]
        step = np.clip(step, -0.7, 0.7).reshape(POST, 2, PRE).transpose(1, 2, 0)
        higher, there = jax.device_get(scores(x + step, trains, heard))
        better = higher > value
        gain = np.where(better, higher - value, 0)
        x, value = np.where(better, x + step, x), np.where(better, higher, value)
        slopes = np.where(better[:, None, None], there, slopes)
        damping = np.where(better, damping / 3, damping * 4)
        if np.all(gain < 0.1):
            break
    errors = [np.asarray(a) - b for a, b in zip(physical(x), truth, strict=True)]
    assert np.mean(errors[0] ** 2) ** 0.5 < 1e-4, errors[0]
    assert np.mean(errors[1] ** 2) ** 0.5 < 0.05, errors[1]
