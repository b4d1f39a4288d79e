"""Neurons that run away to a peak, by the default steps of both engines, in their coordinates."""

import dataclasses
from typing import Any

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import roughsnn as rs

from ..helpers import ENGINES, in_float32, smooth
from ..zoo import NONLINEAR, RUNS, WEIGHTS, runaways

PRECISE = rs.EventByEvent(
    solver=dfx.Tsit5(), controller=dfx.PIDController(1e-10, 1e-10), max_steps=100_000
)


def network(name: str, delay: bool) -> rs.SpikingNetwork:
    """Three coupled neurons with the full peak and noise on their currents."""
    run, net = RUNS[name], runaways(name)
    synapse = rs.synapses.Exponential(run.tau, 0.3 * run.weight / run.tau**0.5)
    population = dataclasses.replace(net["neurons"], ports={"syn": synapse})
    travel: Any = dict(delay=2.3 * run.dt, max_delay=3 * run.dt) if delay else {}
    weights = run.weight * WEIGHTS
    projection = rs.Projection("neurons", "neurons", weights, **travel)
    return rs.SpikingNetwork({"neurons": population}, [projection])


def random_slopes(name: str, engine: str, number: int, h: float):
    """Derivatives of spike times and final states of random models with delays, each along a random
    direction in all parameters, central differences, whether the spikes are the same at both ends,
    and how many there are."""
    run = RUNS[name]
    parameters, rest = eqx.partition(network(name, True), eqx.is_inexact_array)
    flat, back = ravel_pytree((parameters, jnp.array(run.drive)))
    rng = np.random.default_rng(4)
    models = flat[None] * (1 + 0.02 * rng.normal(size=(number, flat.size)))
    ways = 0.1 * np.abs(flat)[None] * rng.normal(size=(number, flat.size))

    def of(flat, key):
        own, drive = back(flat)
        window = rs.Window(0.0, run.t1, run.dt)
        options: Any = dict(key=key, max_spikes=60, engine=ENGINES[engine])
        return smooth(rs.simulate(eqx.combine(own, rest), drive, window, **options))

    @jax.jit
    @jax.vmap
    def along(flat, way, key):
        at = lambda s: of(flat + s * way, key)
        derivative = lambda s: jax.jvp(at, (s,), (jnp.ones_like(s),))
        return jax.vmap(derivative)(jnp.array([-h, 0.0, h]))

    keys = jr.split(jr.key(1), number)
    (value, marks), (slope, _) = jax.device_get(along(models, jnp.asarray(ways), keys))
    differences = (value[:, 2] - value[:, 0]) / (2 * h)
    scale = 1 + np.max(np.abs(value[:, 1])) + np.abs(differences)
    same = np.all(marks[:, 0] == marks[:, 2], -1)
    return slope[:, 1] / scale, differences / scale, same, np.sum(marks[:, 1] >= 0, -1)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", NONLINEAR)
def test_derivatives_are_differences_on_the_same_noise(name, engine):
    slopes, differences, same, spikes = random_slopes(name, engine, 32, 1e-8)
    assert np.all(same) and np.all(spikes >= 4)
    np.testing.assert_allclose(slopes, differences, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", NONLINEAR)
def test_second_order(name, engine):
    """Spike times of 24 neurons with inputs of their own, against an adaptive solver."""
    run = RUNS[name]
    drive = np.linspace(0.9, 1.3, 24) * max(run.drive)
    part = rs.Population(24, NONLINEAR[name](None), rs.HardThreshold(run.peak))

    def spikes(dt, engine):
        window = rs.Window(0.0, run.t1, dt)
        options: Any = dict(key=jr.key(0), max_spikes=800, engine=engine)
        return rs.simulate(rs.SpikingNetwork(part), jnp.asarray(drive), window, **options).spikes

    exact, errors = spikes(run.dt, PRECISE).to_lists(), []
    assert min(map(len, exact)) >= 2
    for dt in (run.dt / 4, run.dt / 16):
        found = spikes(dt, ENGINES[engine]).to_lists()
        # A last one may be on either side of the end.
        pairs = [(a[: len(b)], b[: len(a)]) for a, b in zip(found, exact, strict=True)]
        errors.append(np.mean(np.abs(np.concatenate([a - b for a, b in pairs]))))
    assert errors[1] < 2e-3 * run.dt and errors[1] < errors[0] / 4**1.8, errors


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", NONLINEAR)
def test_derivatives_converge(name, engine):
    """Along a direction in all parameters, to those of an adaptive solver in the potential itself:
    means over the spikes of 24 neurons."""
    run, number = RUNS[name], 24
    drive = jnp.linspace(0.9, 1.3, number) * max(run.drive)
    flat, back = ravel_pytree(NONLINEAR[name](None))
    way = 0.1 * np.abs(flat) * np.random.default_rng(0).normal(size=flat.shape)

    def derivatives(dt, engine):
        def times(s):
            part = rs.Population(number, back(flat + s * way), rs.HardThreshold(run.peak))
            options: Any = dict(key=jr.key(0), max_spikes=800, engine=engine)
            net, window = rs.SpikingNetwork(part), rs.Window(0.0, run.t1, dt)
            spikes = rs.simulate(net, drive, window, **options).spikes
            return spikes.times, spikes.marks

        (_, marks), (slopes, _) = jax.jit(lambda s: jax.jvp(times, (s,), (1.0,)))(0.0)
        return [np.asarray(slopes)[np.asarray(marks) == k] for k in range(number)]

    exact, errors = derivatives(run.dt, PRECISE), []
    parabola = name in ("QIF", "Izhikevich")
    coarse = run.dt / 2 if parabola else run.dt
    for dt in (coarse, coarse / 4):
        pairs = zip(derivatives(dt, ENGINES[engine]), exact, strict=True)
        pairs = [(a[: len(b)], b[: len(a)]) for a, b in pairs]
        gaps = np.concatenate([a - b for a, b in pairs])
        errors.append(np.mean(np.abs(gaps)) / np.mean(np.abs(np.concatenate(exact))))
    # At an exponential upstroke leak and adaptation read v, log(-z) in the coordinate z: of first
    # order where it ends, with a small factor.
    order = 1.5 if parabola and engine == "lockstep" else 0.8
    assert errors[1] < 1e-3 and errors[1] < errors[0] / 4**order, errors


@pytest.mark.slow
@pytest.mark.parametrize("name", NONLINEAR)
def test_dense_output(name):
    """The states at given times, kept and evaluated afterwards, and the peaks at the spikes."""
    run, net = RUNS[name], network(name, True)
    window, ts = rs.Window(0.0, run.t1, run.dt / 4), np.linspace(0, run.t1, 23)
    options: Any = dict(key=jr.key(2), max_spikes=60)
    dense, there = (
        rs.simulate(net, jnp.array(run.drive), window, engine=rs.EventByEvent(saveat=s), **options)
        for s in (dfx.SaveAt(dense=True), dfx.SaveAt(ts=jnp.asarray(ts)))
    )
    number = int(dense.spikes.count)
    assert number >= 4
    np.testing.assert_array_equal(dense.spikes.times, there.spikes.times)
    scale = np.ptp(there.states.ys["v"])
    found = jax.vmap(dense.states.evaluate)(jnp.asarray(ts))
    np.testing.assert_allclose(found["v"], there.states.ys["v"], atol=1e-3 * scale)
    times, marks = dense.spikes.times[:number], dense.spikes.marks[:number]
    peaks = jax.vmap(dense.states.evaluate)(times)["v"][np.arange(number), marks]
    # The upstroke is so steep that a rounding of the time is this much.
    np.testing.assert_allclose(peaks, run.peak, atol=1e-5 * scale)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", NONLINEAR)
def test_float32(name, engine):
    """Peaks are where they are in float64."""
    run, found = RUNS[name], []
    for net in (in_float32(network(name, False)), network(name, False)):
        drive = jnp.asarray(run.drive, jax.tree.leaves(net)[0].dtype)
        window = rs.Window(0.0, run.t1, run.dt)
        options: Any = dict(key=jr.key(2), max_spikes=60, engine=ENGINES[engine])
        found.append(rs.simulate(net, drive, window, **options).spikes)
    low, high = found
    assert low.times.dtype == jnp.float32 and int(high.count) >= 4
    np.testing.assert_array_equal(low.marks, high.marks)
    number = int(high.count)
    np.testing.assert_allclose(low.times[:number], high.times[:number], atol=2e-3 * run.t1)
