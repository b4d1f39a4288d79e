"""AD of whole solves against central differences on the same noise, in float64."""

import functools

import diffrax as dfx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optimistix as optx
import pytest

import roughsnn as rs

from ..helpers import (
    central_difference,
    largest_difference,
    random_direction,
    recurrent_parameters,
    run_recurrent,
    single_neuron,
)

CASES = {
    "default": {},
    "parabola": {"interpolation": "parabola"},
    "Chandrupatla": {"root_finder": rs.Chandrupatla()},
    "bisection": {"root_finder": optx.Bisection(rtol=1e-15, atol=1e-15, flip=False)},
    "Heun": {"solver": dfx.Heun()},
    "Euler": {"solver": dfx.Euler()},
    "Tsit5 on the parabola": {"solver": dfx.Tsit5(), "interpolation": "parabola"},
}


@pytest.mark.parametrize("name", CASES)
def test_all_spike_times_and_the_final_state(name):
    """Directional derivatives in all 20 parameters at once, for several spikes."""
    p = recurrent_parameters()
    run = jax.jit(functools.partial(run_recurrent, key=jr.key(7), **CASES[name]))
    smooth = jax.jit(lambda p: run(p)[0])
    _, marks = run(p)
    assert int(jnp.sum(marks >= 0)) >= 10 and len(set(np.asarray(marks).tolist())) == 4
    for seed in range(3):
        direction = random_direction(p, seed)
        _, exact = jax.jvp(smooth, (p,), (direction,))
        numeric = central_difference(smooth, p, direction, 1e-6)
        assert largest_difference(numeric, exact) < 1e-6


@pytest.mark.parametrize("name", ["default", "Heun"])
def test_forward_and_reverse_mode_agree(name):
    p = recurrent_parameters()
    run = functools.partial(run_recurrent, key=jr.key(7), **CASES[name])
    forward = jax.jit(jax.jacfwd(lambda p: run(p)[0]))(p)
    reverse = jax.jit(jax.jacrev(lambda p: run(p)[0]))(p)
    assert largest_difference(reverse, forward) < 1e-10


def test_hard_threshold_with_noise_on_the_current():
    p = recurrent_parameters()
    p["sigma"] = p["sigma"].at[0].set(0.0)
    run = jax.jit(lambda p: run_recurrent(p, jr.key(7), hard=True, t1=0.4, max_spikes=100)[0])
    assert float(run(p)["times"].max()) > 0.3
    for seed in range(2):
        direction = random_direction(p, seed, hard=True)
        _, exact = jax.jvp(run, (p,), (direction,))
        assert largest_difference(central_difference(run, p, direction, 1e-7), exact) < 1e-6


@pytest.mark.parametrize("dt0", [2e-2, 5e-3, 1.25e-3])
def test_later_spikes_and_v_after_a_spike_at_every_step_size(dt0):
    """The trap of a Brownian query held constant shows in what follows the first spike."""
    network = rs.LIF(mu=(15.0, 0.0), sigma=((0.5,), (0.0,)), v_reset=1.4)
    network = rs.SpikingNetwork(network, rs.StochasticFiring(rs.ExponentialIntensity(), 0.03))

    @jax.jit
    def outcome(c):
        spikes, sol = rs.simulate(
            network,
            lambda t: c[None],
            t0=0.0,
            t1=1.0,
            dt0=dt0,
            max_spikes=12,
            key=jr.key(3),
            saveat=dfx.SaveAt(t1=True),
        )
        return jnp.where(spikes.marks >= 0, spikes.times, 0), sol.y1.v[0]

    c, h = jnp.asarray(1.5), 1e-6
    exact = jax.jacrev(outcome)(c)
    above, below = outcome(c + h), outcome(c - h)
    assert int(jnp.sum(above[0] > 0)) >= 3
    for a, b, e in zip(above, below, exact, strict=True):
        np.testing.assert_allclose((a - b) / (2 * h), e, rtol=1e-6, atol=1e-7)


def test_the_gradient_with_respect_to_initial_state_and_time_dependent_drives():
    network = rs.SpikingNetwork(
        rs.LIF(mu=(15.0, 6.0), sigma=((0.2, 0.0), (0.0, 0.3)), v_reset=1.4),
        rs.StochasticFiring(rs.SoftplusIntensity(), alpha=0.03),
    )

    @jax.jit
    def outcome(p):
        knots = jnp.linspace(0.0, 1.0, 6)
        drive = dfx.LinearInterpolation(knots, p["values"])
        initial = rs.NeuronState(p["v"], p["i"], p["s"])
        return (
            rs.simulate(
                network,
                drive,
                t0=0.0,
                t1=1.0,
                dt0=0.01,
                max_spikes=30,
                key=jr.key(0),
                initial=initial,
            )
            .first(2)
            .times
        )

    p = {
        "values": jnp.array([1.5, 1.0, 2.0, 1.2, 1.8, 1.5])[:, None] * jnp.array([[1.0, 0.8]]),
        "v": jnp.array([0.1, -0.2]),
        "i": jnp.array([0.5, 0.0]),
        "s": jnp.array([-0.4, -1.3]),
    }
    rng = np.random.default_rng(0)
    direction = jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape)), p)
    assert bool(jnp.all(jnp.isfinite(outcome(p))))
    _, exact = jax.jvp(outcome, (p,), (direction,))
    assert largest_difference(central_difference(outcome, p, direction, 1e-6), exact) < 1e-6


@pytest.mark.parametrize("name", ["default", "Heun", "Tsit5 on the parabola"])
def test_float32_derivatives_of_a_recurrent_network(name):
    """Against float64 on the same noise and thresholds, for the first spikes and the state.

    A step rounds s by eps; through the smallest hazard at a spike, and once more for each of
    some spikes before it, that is up to some hundred eps of a time, and again of its derivative.
    """
    p, tolerance = recurrent_parameters(), 300 * float(jnp.finfo(jnp.float32).eps)
    run = functools.partial(run_recurrent, key=jr.key(7), t1=0.4, **CASES[name])
    slope = jax.jit(lambda p, d: jax.jvp(lambda p: run(p)[0], (p,), (d,)))
    low = lambda tree: jax.tree.map(lambda x: x.astype(jnp.float32), tree)
    direction = random_direction(p, 0)
    single, double = slope(low(p), low(direction)), slope(p, direction)
    assert all(x.dtype == jnp.float32 for x in jax.tree.leaves(single))
    assert int(jnp.sum(double[0]["times"] > 0)) >= 4
    assert largest_difference(jax.tree.map(lambda x: x.astype(float), single), double) < tolerance


def test_float32_agrees_with_float64_to_its_precision():
    """Thresholds do not depend on the precision, so neither do noise-free spike times."""

    def times(c, dtype):
        return rs.simulate(
            single_neuron(0.0, dtype=dtype),
            lambda t: c[None].astype(dtype),
            t0=0.0,
            t1=2.0,
            dt0=0.01,
            max_spikes=3,
            stop_after=3,
            key=jr.key(0),
        ).times

    c = jnp.asarray(1.5)
    for transform in (lambda f: f, jax.jacrev, jax.jacfwd):
        low = transform(lambda c: times(c, jnp.float32))(c.astype(jnp.float32))
        high = transform(lambda c: times(c, jnp.float64))(c)
        assert low.dtype == jnp.float32 and high.dtype == jnp.float64
        np.testing.assert_allclose(low, high, rtol=2e-5)
