"""Orders of convergence, as slopes over several step sizes."""

from typing import Any

import diffrax as dfx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import roughsnn as rs

from ..helpers import constant, single_neuron, standard_error

T1 = 1.28


def first_three(dt0, sigma, samples, solver=None, interpolation: Any = "linear"):
    """The first three spike times of many samples, on Brownian motions shared by all dt0."""
    network = single_neuron(sigma)

    @jax.jit
    def run(keys):
        def one(key):
            return rs.simulate(
                network,
                constant(1.5),
                t0=0.0,
                t1=T1,
                dt0=dt0,
                max_spikes=3,
                stop_after=3,
                key=key,
                solver=solver,
                interpolation=interpolation,
            ).times

        return jax.lax.map(one, keys, batch_size=1024)

    times = run(jr.split(jr.key(11), samples))
    return jnp.where(jnp.isfinite(times), times, T1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sigma", "interpolation", "bound"),
    [(0.25, "linear", 0.003), (0.5, "linear", 0.003), (0.5, "parabola", 0.001)],
)
def test_weak_order_of_the_default_solver(sigma, interpolation, bound):
    """Mean spike times: second order, and within 0.3 % at dt = 0.01; 0.1 % with the parabola.

    All step sizes see the same Brownian motion, so the differences have small errors.
    """
    samples = 8192
    reference = first_three(0.0025, sigma, samples, interpolation=interpolation)
    bias, error = {}, {}
    for dt0 in (0.04, 0.02, 0.01):
        times = first_three(dt0, sigma, samples, interpolation=interpolation)
        relative = (times - reference) / jnp.mean(reference, 0)[None]
        bias[dt0] = np.abs(np.asarray(jnp.mean(relative, 0)))
        error[dt0] = np.asarray(standard_error(relative))
    assert np.all(bias[0.01] + 3 * error[0.01] < bound)
    slope = np.log2(bias[0.04].mean() / bias[0.02].mean())
    spread = (error[0.04] / bias[0.04] + error[0.02] / bias[0.02]).max() / np.log(2)
    assert slope > 1.8 - 3 * spread and slope > 1.5


@pytest.mark.slow
def test_weak_order_of_euler_is_one():
    samples = 4096
    reference = first_three(0.0025, 0.25, samples)
    errors = [
        float(jnp.mean(first_three(dt0, 0.25, samples, dfx.Euler())[:, 0] - reference[:, 0]))
        for dt0 in (0.02, 0.01)
    ]
    assert errors[0] < errors[1] < 0
    assert 0.8 < np.log2(errors[0] / errors[1]) < 1.3


@pytest.mark.parametrize("sigma", [((0.5,), (0.0,)), ((0.0,), (2.0,)), ((0.3,), (2.0,))])
@pytest.mark.parametrize(("interpolation", "order"), [("linear", 1.0), ("parabola", 2.0)])
def test_strong_order_of_the_state_without_spikes(interpolation, order, sigma):
    """The root mean square of v_T - v_T^fine on the same Brownian motion, noise on v or i."""
    network = rs.SpikingNetwork(
        rs.LIF(mu=jnp.array([5.0, 3.0]), sigma=jnp.array(sigma)),
        rs.StochasticFiring(rs.ExponentialIntensity(1.0, 50.0, 1.0)),
    )

    def final(dt0, key):
        _, sol = rs.simulate(
            network,
            constant(1.0),
            t0=0.0,
            t1=1.0,
            dt0=dt0,
            max_spikes=1,
            key=key,
            interpolation=interpolation,
            saveat=dfx.SaveAt(t1=True),
        )
        return sol.y1.v[0]

    keys = jr.split(jr.key(0), 400)
    runs = [
        jax.jit(jax.vmap(lambda k, dt0=dt0: final(dt0, k)))(keys)
        for dt0 in 2.0 ** -np.arange(3, 11, 2)
    ]
    errors = [float(jnp.sqrt(jnp.mean((run - runs[-1]) ** 2))) for run in runs[:-1]]
    slopes = np.log2(np.array(errors[:-1]) / np.array(errors[1:])) / 2
    assert np.all(slopes > order - 0.15), (errors, slopes)


@pytest.mark.parametrize(
    ("interpolation", "bounds"), [("linear", (0.08, 0.045)), ("parabola", (0.05, 0.027))]
)
def test_gradients_converge_path_by_path(interpolation, bounds):
    """dtau/dc on refinements of one Brownian motion approach the finest, all spikes alike.

    What a cell does not see of the hazard bounds them: of the noise about the chord dt/6 on
    average, of that about the stretched parabola 0.07 dt.
    """
    network = single_neuron(0.25)

    def slopes(dt0, key):
        def times(c):
            return rs.simulate(
                network,
                lambda t: c[None],
                t0=0.0,
                t1=T1,
                dt0=dt0,
                max_spikes=3,
                stop_after=3,
                key=key,
                interpolation=interpolation,
            ).times

        return jax.jvp(times, (jnp.asarray(1.5),), (jnp.asarray(1.0),))

    keys = jr.split(jr.key(1), 256)
    runs = [
        jax.jit(jax.vmap(lambda k, dt0=dt0: slopes(dt0, k)))(keys)
        for dt0 in (0.01, 0.0025, 0.000625)
    ]
    known = np.asarray(jnp.all(jnp.isfinite(jnp.stack([r[0] for r in runs])), (0, 2)))
    assert known.mean() > 0.9
    fine = np.asarray(runs[-1][1])[known]
    errors = [
        np.sqrt(np.mean((np.asarray(r[1])[known] - fine) ** 2, 0) / np.mean(fine**2, 0))
        for r in runs[:-1]
    ]
    assert np.all(errors[0] < bounds[0]) and np.all(errors[1] < bounds[1])
    assert np.all(errors[1] < 0.75 * errors[0])
