"""AD of whole solves against central differences on the same noise, in float64."""

import functools

import diffrax as dfx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optimistix as optx
import pytest
from jax.flatten_util import ravel_pytree

import roughsnn as rs

from ..helpers import (
    central_difference,
    largest_difference,
    lif_network,
    random_direction,
    recurrent_parameters,
    run_recurrent,
    single_neuron,
)

CASES = {
    "default": {},
    "parabola": {"noise": rs.Brownian("parabola")},
    "Chandrupatla": {"root_finder": rs.Chandrupatla()},
    "bisection": {"root_finder": optx.Bisection(rtol=1e-15, atol=1e-15, flip=False)},
    "Heun": {"solver": dfx.Heun()},
    "Euler": {"solver": dfx.Euler()},
    "Tsit5 on the parabola": {"solver": dfx.Tsit5(), "noise": rs.Brownian("parabola")},
}


def fast_parameters():
    """With so strong an input that there are many spikes in a short time."""
    p = recurrent_parameters()
    return p | {"input": 2 * p["input"]}


def flat(p) -> np.ndarray:
    return np.concatenate([np.ravel(x) for x in jax.tree.leaves(p)])


def flat_run(name, dtype=float, **options):
    """`run_recurrent` of a vector of all parameters, up to time 0.4."""
    _, unflatten = ravel_pytree(jax.tree.map(lambda x: x.astype(dtype), recurrent_parameters()))
    options = CASES[name] | options
    return lambda x: run_recurrent(unflatten(x), jr.key(14), t1=0.4, **options)


@functools.cache
def values_and_slopes(name, dtype=float, **options):
    """Parameters, directions -> values, their derivatives along each direction, and the marks."""
    run = flat_run(name, dtype, **options)
    slope = lambda x, direction: jax.jvp(run, (x,), (direction,), has_aux=True)
    return jax.jit(jax.vmap(slope, in_axes=(None, 0), out_axes=(None, 0, None)))


def directions(p, hard=False):
    """Every single parameter, and then three random ones."""
    some = [flat(random_direction(p, seed, hard=hard)) for seed in range(3)]
    return np.vstack([np.eye(flat(p).size), *some])


def difference_error(fn, p, along, numbers, h) -> float:
    """The derivatives along these directions against central differences, by one program."""
    x, (_, exact, _) = flat(p), fn(flat(p), along)
    errors = []
    for n in numbers:
        numeric = central_difference(lambda x: fn(x, along)[0], x, along[n], h)
        errors.append(largest_difference(numeric, {k: v[n] for k, v in exact.items()}))
    return max(errors)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_all_spike_times_and_the_final_state(name):
    """Directional derivatives in all 20 parameters at once, for several spikes."""
    p = fast_parameters()
    along, fn = directions(p), values_and_slopes(name)
    marks = np.asarray(fn(flat(p), along)[2])
    assert np.sum(marks >= 0) >= 10 and len(set(marks.tolist())) == 4
    assert difference_error(fn, p, along, (-3, -2, -1), 1e-7) < 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("name", ["default", "Heun"])
def test_forward_and_reverse_mode_agree(name):
    p = fast_parameters()
    _, forward, _ = values_and_slopes(name)(flat(p), directions(p))
    reverse = jax.jit(jax.jacrev(lambda x: flat_run(name)(x)[0]))(flat(p))
    for rows, jacobian in zip(forward.values(), reverse.values(), strict=True):
        # Parameter by parameter.
        for forwards, backwards in zip(np.asarray(rows), np.asarray(jacobian).T, strict=False):
            assert largest_difference(backwards, forwards) < 1e-10


@pytest.mark.slow
def test_hard_threshold_with_noise_on_the_current():
    p = recurrent_parameters()
    p["sigma"] = p["sigma"].at[0].set(0.0)
    along, fn = directions(p, hard=True), values_and_slopes("default", hard=True, max_spikes=100)
    assert np.max(fn(flat(p), along)[0]["times"]) > 0.3
    assert difference_error(fn, p, along, (-3, -2), 1e-7) < 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("dt0", [2e-2, 5e-3, 1.25e-3])
def test_later_spikes_and_v_after_a_spike_at_every_step_size(dt0):
    """The trap of a Brownian query held constant shows in what follows the first spike."""

    def outcome(c):
        sim = rs.simulate(
            single_neuron(0.5),
            lambda t: c[None],
            rs.Window(0.0, 1.0, dt0),
            max_spikes=12,
            key=jr.key(3),
            engine=rs.EventByEvent(saveat=dfx.SaveAt(t1=True)),
        )
        spikes, sol = sim.spikes, sim.states
        values = jnp.where(spikes.marks >= 0, spikes.times, 0), sol.y1["v"][0]
        return values, values

    slopes_and_values, c, h = jax.jit(jax.jacrev(outcome, has_aux=True)), 1.5, 1e-6
    exact, _ = slopes_and_values(c)
    (_, above), (_, below) = slopes_and_values(c + h), slopes_and_values(c - h)
    assert np.sum(np.asarray(above[0]) > 0) >= 3
    for a, b, e in zip(above, below, exact, strict=True):
        np.testing.assert_allclose((a - b) / (2 * h), e, rtol=1e-6, atol=1e-7)


@pytest.mark.slow
def test_the_gradient_with_respect_to_initial_state_and_time_dependent_drives():
    firing = rs.StochasticFiring(rs.SoftplusIntensity(), alpha=0.03)
    network = lif_network(firing, sigma=((0.2, 0.0), (0.0, 0.3)), reset=1.4, size=2)

    def outcome(p):
        knots = jnp.linspace(0.0, 1.0, 6)
        drive = dfx.LinearInterpolation(knots, p["values"])
        return (
            rs.simulate(
                network,
                drive,
                rs.Window(0.0, 1.0, 0.01),
                max_spikes=30,
                key=jr.key(0),
                initial={name: p[name] for name in ("v", "syn", "s")},
                engine=rs.EventByEvent(),
            )
            .spikes.first(2)
            .times
        )

    p = {
        "values": np.outer([1.5, 1.0, 2.0, 1.2, 1.8, 1.5], [1.0, 0.8]),
        "v": np.array([0.1, -0.2]),
        "syn": np.array([0.5, 0.0]),
        "s": np.array([-0.4, -1.3]),
    }
    rng = np.random.default_rng(0)
    direction = jax.tree.map(lambda x: rng.normal(size=x.shape), p)
    value_and_slope = jax.jit(lambda p: jax.jvp(outcome, (p,), (direction,)))
    value, exact = value_and_slope(p)
    assert np.all(np.isfinite(value))
    numeric = central_difference(lambda p: value_and_slope(p)[0], p, direction, 1e-6)
    assert largest_difference(numeric, exact) < 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("name", ["default", "Heun", "Tsit5 on the parabola"])
def test_float32_derivatives_of_a_recurrent_network(name):
    """Against float64 on the same noise and thresholds, for the first spikes and the state.

    A step rounds s by eps; through the smallest hazard at a spike, and once more for each of
    some spikes before it, that is up to some hundred eps of a time, and again of its derivative.
    """
    p, tolerance = recurrent_parameters(), 300 * float(jnp.finfo(jnp.float32).eps)
    x, along = flat(p), directions(p)
    double = values_and_slopes(name)(x, along)
    low = lambda x: x.astype(np.float32)
    single = values_and_slopes(name, np.float32)(low(x), low(along))
    one = lambda found: jax.device_get((found[0], {k: v[-3] for k, v in found[1].items()}))
    single, double = one(single), one(double)
    assert all(x.dtype == np.float32 for x in jax.tree.leaves(single))
    assert np.sum(double[0]["times"] > 0) >= 4
    assert largest_difference(jax.tree.map(lambda x: x.astype(float), single), double) < tolerance


@pytest.mark.slow
def test_float32_agrees_with_float64_to_its_precision():
    """Thresholds do not depend on the precision, so neither do noise-free spike times."""

    def times(c, dtype):
        return rs.simulate(
            single_neuron(0.0, dtype=dtype),
            lambda t: c[None].astype(dtype),
            rs.Window(0.0, 2.0, 0.01, stop_after=3),
            max_spikes=3,
            key=jr.key(0),
            engine=rs.EventByEvent(),
        ).spikes.times

    def value_and_slope(mode, dtype):
        def twice(c):
            found = times(c, dtype)
            return found, found

        slope_and_value = jax.jit(mode(twice, has_aux=True))
        return slope_and_value(jnp.asarray(1.5, dtype))

    for mode in (jax.jacrev, jax.jacfwd):
        low, high = (value_and_slope(mode, dtype) for dtype in (jnp.float32, jnp.float64))
        for a, b in zip(low, high, strict=True):
            assert a.dtype == jnp.float32 and b.dtype == jnp.float64
            np.testing.assert_allclose(a, b, rtol=2e-5)
