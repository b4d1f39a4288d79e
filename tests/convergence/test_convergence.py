"""Orders of convergence, as slopes over several step sizes."""

import functools
from typing import Any

import diffrax as dfx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import roughsnn as rs

from ..helpers import constant, lif_network, optimised, single_neuron

T1 = 1.28


def spike_times(level, sigma, key, dt0, solver=None, interpolation: Any = "linear"):
    """The first three spike times of one sample."""
    return rs.simulate(
        single_neuron(sigma),
        lambda t: level[None],
        rs.Window(0.0, T1, dt0, stop_after=3),
        max_spikes=3,
        key=key,
        noise=rs.Brownian(interpolation),
        engine=rs.EventByEvent(solver=solver),
    ).spikes.times


@functools.cache
def many_spike_times(dt0, solver, interpolation):
    """A function of sigma: the spike times of many samples."""

    def run(sigma):
        one = lambda key: spike_times(jnp.asarray(1.5), sigma, key, dt0, solver, interpolation)
        return jax.lax.map(one, jr.split(jr.key(11), 8192), batch_size=1024)

    # Small steps run for longer than they compile.
    return optimised(run) if dt0 < 0.005 else jax.jit(run)


@functools.cache
def first_three(dt0, sigma, solver=None, interpolation: Any = "linear"):
    """The first three spike times of many samples, on Brownian motions shared by all dt0."""
    found = many_spike_times(dt0, solver, interpolation)(sigma)
    return np.minimum(found, T1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sigma", "interpolation", "bound"),
    [(0.25, "linear", 3e-4), (0.5, "linear", 5e-4), (0.5, "parabola", 1e-4)],
)
def test_weak_order_of_the_default_solver(sigma, interpolation, bound):
    """Mean spike times: second order, and within 0.05 % at dt = 0.01; 0.01 % with the parabola.

    All step sizes see the same Brownian motion, so the differences have small errors.
    """
    reference = first_three(0.0025, sigma, interpolation=interpolation)
    bias, error = {}, {}
    for dt0 in (0.08, 0.04, 0.01):
        times = first_three(dt0, sigma, interpolation=interpolation)
        relative = (times - reference) / np.mean(reference, 0)
        bias[dt0] = np.abs(np.mean(relative, 0))
        error[dt0] = np.std(relative, 0, ddof=1) / len(relative) ** 0.5
    assert np.all(bias[0.01] + 3 * error[0.01] < bound)
    slope = np.log2(bias[0.08].mean() / bias[0.04].mean())
    spread = (error[0.08] / bias[0.08] + error[0.04] / bias[0.04]).max() / np.log(2)
    assert slope > 1.8 - 3 * spread and slope > 1.5


@pytest.mark.slow
def test_weak_order_of_euler_is_one():
    reference = first_three(0.0025, 0.25)
    gaps = [first_three(dt0, 0.25, dfx.Euler())[:, 0] - reference[:, 0] for dt0 in (0.02, 0.01)]
    errors = [np.mean(gap[:4096]) for gap in gaps]
    assert errors[0] < errors[1] < 0
    assert 0.8 < np.log2(errors[0] / errors[1]) < 1.3


@functools.partial(jax.jit, static_argnames=("dt0", "interpolation"))
def final_potentials(sigma, dt0, interpolation):
    """Of many samples of a neuron that does not fire."""
    firing = rs.StochasticFiring(rs.ExponentialIntensity(1.0, 50.0, 1.0))
    network = lif_network(firing, mu=(5.0, 3.0), sigma=sigma)

    @jax.vmap
    def final(key):
        sol = rs.simulate(
            network,
            constant(1.0),
            rs.Window(0.0, 1.0, dt0),
            max_spikes=1,
            key=key,
            noise=rs.Brownian(interpolation),
            engine=rs.EventByEvent(saveat=dfx.SaveAt(t1=True)),
        ).states
        return sol.y1["v"][0]

    return final(jr.split(jr.key(0), 400))


@pytest.mark.slow
@pytest.mark.parametrize("sigma", [((0.5,), (0.0,)), ((0.0,), (2.0,)), ((0.3,), (2.0,))])
@pytest.mark.parametrize(("interpolation", "order"), [("linear", 1.0), ("parabola", 2.0)])
def test_strong_order_of_the_state_without_spikes(interpolation, order, sigma):
    """The root mean square of v_T - v_T^fine on the same Brownian motion, noise on v or i."""
    runs = [
        np.asarray(final_potentials(np.array(sigma), float(dt0), interpolation))
        for dt0 in 2.0 ** -np.arange(3, 11, 2)
    ]
    errors = [np.mean((run - runs[-1]) ** 2) ** 0.5 for run in runs[:-1]]
    slopes = np.log2(np.array(errors[:-1]) / np.array(errors[1:])) / 2
    assert np.all(slopes > order - 0.15), (errors, slopes)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("interpolation", "bounds"), [("linear", (0.08, 0.045)), ("parabola", (0.05, 0.027))]
)
def test_gradients_converge_path_by_path(interpolation, bounds):
    """dtau/dc on refinements of one Brownian motion approach the finest, all spikes alike.

    What a cell does not see of the hazard bounds them: of the noise about the chord dt/6 on
    average, of that about the parabola less.
    """

    @functools.partial(jax.jit, static_argnums=0)
    def slopes(dt0):
        @jax.vmap
        def one(key):
            times = lambda c: spike_times(c, 0.25, key, dt0, interpolation=interpolation)
            return jax.jvp(times, (jnp.asarray(1.5),), (jnp.asarray(1.0),))

        return one(jr.split(jr.key(1), 256))

    runs = jax.device_get([slopes(dt0) for dt0 in (0.01, 0.0025, 0.000625)])
    known = np.all([np.isfinite(times) for times, _ in runs], (0, 2))
    assert known.mean() > 0.9
    fine = runs[-1][1][known]
    errors = [
        np.sqrt(np.mean((r[1][known] - fine) ** 2, 0) / np.mean(fine**2, 0)) for r in runs[:-1]
    ]
    assert np.all(errors[0] < bounds[0]) and np.all(errors[1] < bounds[1])
    assert np.all(errors[1] < 0.75 * errors[0])
