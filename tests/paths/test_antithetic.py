"""Mirrored keys: 1 - u for u, -z for z, in whatever takes a key."""

import functools
from typing import Any

import diffrax as dfx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import roughsnn as rs

from ..helpers import (
    ENGINES,
    constant,
    lif_network,
    recurrent_network,
    recurrent_parameters,
    single_neuron,
)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
@pytest.mark.parametrize("interpolation", ["linear", "parabola"])
def test_brownian_motion_is_mirrored(dtype, interpolation):
    make = lambda key: rs.BrownianPath(
        0.0, 1.0, 0.1, shape=(3,), key=key, interpolation=interpolation, dtype=dtype
    ).arrays()
    both = jax.jit(lambda key: (make(key), make(rs.antithetic(key))))(jr.key(0))
    for a, b in zip(*both, strict=True):
        if a is not None and b is not None:
            np.testing.assert_allclose(a, -b, rtol=2e-4 if dtype == jnp.float32 else 1e-10)


def test_other_paths_are_mirrored():
    makers = (
        lambda **o: rs.fractional_path(0.0, 1.0, 0.1, hurst=0.4, **o),
        lambda **o: rs.coloured_path(0.0, 1.0, 0.1, timescale=0.2, **o),
        lambda **o: rs.ornstein_uhlenbeck_path(0.0, 1.0, 0.1, timescale=0.2, **o),
    )
    paths = lambda key: [make(shape=(2,), key=key).increments for make in makers]
    both = jax.jit(lambda key: (paths(rs.antithetic(key)), paths(key)))(jr.key(0))
    for found, expected in zip(*jax.device_get(both), strict=True):
        np.testing.assert_allclose(found, -expected, rtol=1e-9, atol=1e-14)


def test_waiting_times_are_mirrored_and_sizes_are_not():
    """The first time is -log(u) / rate, its mirror image -log(1 - u) / rate."""

    def drawn(key):
        train = rs.poisson_spikes(0.0, 100.0, rates=np.array([2.0]), max_spikes=400, key=key)
        path = rs.compound_poisson_path(
            0.0, 1.0, intensity=3.0, jump=jr.normal, max_jumps=30, key=key
        )
        return train.times[0], path.sizes, path.jump_times[0]

    both = jax.jit(lambda key: (drawn(key), drawn(rs.antithetic(key))))(jr.key(1))
    (first, sizes, time), (other, mirrored_sizes, mirrored_time) = jax.device_get(both)
    np.testing.assert_allclose(np.exp(-2 * first) + np.exp(-2 * other), 1.0, rtol=1e-12)
    np.testing.assert_array_equal(sizes, mirrored_sizes)
    assert time != mirrored_time


@pytest.mark.slow
def test_thresholds_are_mirrored():
    """Constant hazard: the first spike is at (alpha - log u) / hazard, in every engine."""
    firing = rs.StochasticFiring(rs.ExponentialIntensity(0.0, 0.0, 0.2), alpha=0.1)
    net = rs.SpikingNetwork(rs.Population(2, rs.neurons.LIF(1.0, rs.Subtract(0.0)), firing))
    methods: Any = ("event", "lockstep")
    for method in methods:
        first = lambda key, method: rs.simulate(
            net,
            constant(0.0, 0.0),
            rs.Window(0.0, 4.0, 0.1),
            max_spikes=99,
            key=key,
            engine=ENGINES[method],
        ).spikes.per_neuron(1)[:, 0]
        both = lambda key, m=method: (first(key, m), first(rs.antithetic(key), m))  # noqa: B023
        u = [np.exp(0.1 - times / 0.2) for times in jax.device_get(jax.jit(both)(jr.key(0)))]
        np.testing.assert_allclose(u[0] + u[1], 1.0, rtol=1e-6)


@pytest.mark.slow
def test_the_noise_of_a_network_is_mirrored():
    """Without spikes v is linear in the noise: the mean of a pair is the noise-free solution."""
    never = rs.StochasticFiring(rs.ExponentialIntensity(1.0, 100.0, 1.0))

    @jax.jit
    def end(sigma, key):
        sol = rs.simulate(
            lif_network(never, mu=(5.0, 3.0), sigma=sigma),
            constant(1.0),
            rs.Window(0.0, 1.0, 0.1),
            max_spikes=1,
            key=key,
            engine=rs.EventByEvent(saveat=dfx.SaveAt(t1=True)),
        ).states
        return sol.y1["v"]

    noisy, key = np.array([[0.4, 0.1], [0.0, 0.3]]), jr.key(0)
    one, other, free = jax.device_get(
        (end(noisy, key), end(noisy, rs.antithetic(key)), end(0 * noisy, key))
    )
    pair = (one + other) / 2
    np.testing.assert_allclose(pair, free, rtol=1e-12)
    assert abs((one - pair)[0]) > 1e-3


@pytest.mark.slow
def test_engines_agree_on_a_mirrored_sample():

    @jax.jit
    def both(key):
        p, options = recurrent_parameters(), dict(window=rs.Window(0.0, 0.6, 0.0025), max_spikes=40)
        key, net = rs.antithetic(key), recurrent_network(p)
        run: Any = functools.partial(rs.simulate, net, lambda t: p["input"], key=key, **options)
        return run(engine=rs.EventByEvent()).spikes, run().spikes

    a, b = jax.device_get(both(jr.key(3)))
    np.testing.assert_array_equal(a.marks, b.marks)
    np.testing.assert_allclose(a.times, b.times, atol=1e-3)
    assert a.boundary is not None and b.boundary is not None
    np.testing.assert_array_equal(a.boundary.at_risk, b.boundary.at_risk)


def test_mirrored_twice_is_the_key_itself():
    key = jr.key(5)
    again = rs.antithetic(rs.antithetic(key))
    assert isinstance(again, jax.Array) and bool(jnp.all(jr.key_data(again) == jr.key_data(key)))


@pytest.mark.slow
def test_pairs_have_a_smaller_variance_and_the_same_mean():
    """The first spike of a noisy neuron, and its derivative: monotone in noise and threshold."""
    net = single_neuron(0.3)

    def first(c, key):
        train = rs.simulate(
            net,
            lambda t: c[None],
            rs.Window(0.0, 2.0, 0.02, stop_after=1),
            max_spikes=1,
            key=key,
            engine=rs.EventByEvent(),
        ).spikes
        return jnp.minimum(train.times[0], 2.0)

    def both(key):
        return jnp.stack(jax.jvp(lambda c: first(c, key), (jnp.asarray(1.5),), (jnp.ones(()),)))

    samples = 4096
    run = jax.jit(lambda key: jax.vmap(both)(jr.split(key, samples)))
    mirrored = lambda key: jax.vmap(lambda k: both(rs.antithetic(k)))(jr.split(key, samples))
    one, other = np.asarray(run(jr.key(1))), np.asarray(jax.jit(mirrored)(jr.key(1)))
    pairs = (one + other) / 2
    error = pairs.std(0, ddof=1) / samples**0.5
    fresh = np.asarray(run(jr.key(2)))
    error = np.hypot(error, fresh.std(0, ddof=1) / samples**0.5)
    assert np.all(np.abs(pairs.mean(0) - fresh.mean(0)) < 4 * error)
    # Two independent samples would have half of the variance.
    ratio = pairs.var(0, ddof=1) / fresh.var(0, ddof=1)
    assert ratio[0] < 0.25 and ratio[1] < 0.45, ratio


def test_transitions_of_eventsolve_are_mirrored():
    event = rs.Event(
        lambda t, y, args: y[:1] - 1.0, lambda t, y, args, k, u: jnp.stack([0.0 * u - 1, u])
    )
    last = lambda key: rs.eventsolve(
        dfx.ODETerm(lambda t, y, args: jnp.array([1.0, 0.0])),
        rs.Window(0.0, 1.5, 0.1),
        jnp.zeros(2),
        event=event,
        max_events=3,
        key=key,
        engine=rs.EventByEvent(solver=dfx.Euler()),
    ).y1[1]
    total = jax.jit(lambda key: last(key) + last(rs.antithetic(key)))(jr.key(0))
    np.testing.assert_allclose(total, 1.0, rtol=1e-12)
