"""The recursion along a direction against derivatives through the simulation."""

import functools
from typing import Any

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import roughsnn as rs

from .. import zoo

T1 = 0.5
KEYS = jr.split(jr.key(2), 3)


class Wave(eqx.Module):
    level: Any

    def __call__(self, t):
        return self.level * (1 + 0.1 * jnp.sin(5 * t))


def parts(neuron: str, noisy: bool, hard: bool, wave: bool = False):
    """The parameters, a direction, and the network and its drive as functions of them."""
    level = zoo.MORE.get(neuron, 1.0) * jnp.array([1.5, 1.3, 1.2, 1.1, 1.25])
    net = zoo.delayed(neuron, noisy, rs.HardThreshold() if hard else None)
    params, rest = eqx.partition((net, level), eqx.is_inexact_array)
    rng = np.random.default_rng(0)
    direction = jax.tree.map(lambda x: jnp.abs(x) * rng.normal(size=x.shape), params)

    def model(params):
        net, level = eqx.combine(params, rest)
        return net, Wave(level) if wave else level

    return params, direction, model


def errors(neuron: str, noisy: bool, hard: bool, cells: int, **options) -> np.ndarray:
    """How far the derivatives of the spike times and of the last potentials are from those through
    the simulation: the middle one of some paths, as parts of the largest."""
    params, direction, model = parts(neuron, noisy, hard, noisy)
    window, engine = rs.Window(0.0, T1, T1 / cells), rs.EventByEvent(**options)
    room: dict[str, Any] = dict(max_spikes=80, engine=engine)

    def both(key):
        def through(params):
            sim = rs.simulate(*model(params), window, key=key, **room)
            assert sim.final is not None
            ends = sim.final.state["a"]["v"], sim.final.state["b"]["v"]
            return (sim.spikes.times, jnp.concatenate(ends)), sim.spikes.marks

        values, derivatives, marks = jax.jvp(through, (params,), (direction,), has_aux=True)
        found = rs.simulate_online(model, params, direction, window, key=key, **room)
        ends = lambda y: jnp.concatenate([y["a"]["v"], y["b"]["v"]])
        own = found.time_derivatives, ends(found.state_derivative)
        again = (found.spikes.times, ends(found.state)), found.spikes.marks
        return (values, marks), again, derivatives, own

    values, again, exact, own = jax.jit(lambda keys: jax.lax.map(both, keys))(KEYS)
    np.testing.assert_array_equal(values[1], again[1])
    for a, b in zip(values[0], again[0], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)
    assert np.all(np.sum(values[1] >= 0, -1) >= 5)
    found = []
    for a, b in zip(exact, own, strict=True):
        a = np.where(np.isfinite(a), a, 0)
        found.append(np.abs(a - b).max(-1) / np.abs(a).max(-1))
    return np.median(found, 1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("neuron", "hard"),
    [("LIF", True), ("AdaptiveLIF", False), ("GLIF5", False), ("ResonateAndFire", True)],
)
def test_without_noise_it_is_the_derivative(neuron, hard):
    """Also in delays, refractory times and the drive, which is constant: the motion is exact, and
    integrals of hazards nearly so."""
    found = errors(neuron, False, hard, 100)
    assert np.all(found < (1e-9 if hard else 2e-6)), found


@pytest.mark.slow
def test_with_noise_it_comes_to_the_derivative():
    coarse, fine = (errors("AdaptiveLIF", True, False, cells) for cells in (25, 200))
    assert np.all(fine < 1e-2) and np.all(fine < coarse / 3), (coarse, fine)


@pytest.mark.slow
def test_with_a_solver_of_diffrax():
    found = errors("LIF", False, False, 100, solver=dfx.Tsit5())
    assert np.all(found < 2e-6), found


@pytest.mark.slow
def test_a_drive_may_be_a_function_that_holds_parameters():
    """Or several by population."""
    net = zoo.delayed("LIF", False, rs.HardThreshold())
    window = rs.Window(0.0, T1, 0.02)
    options: dict[str, Any] = dict(key=KEYS[0], max_spikes=80)
    levels = jnp.array([1.5, 1.3, 1.2, 1.1, 1.25])

    def whole(levels):
        return net, lambda t: levels * (1 + 0.1 * jnp.sin(5 * t))

    def by_name(levels):
        wave = lambda level: lambda t: level * (1 + 0.1 * jnp.sin(5 * t))
        return net, {"a": wave(levels[:3]), "b": wave(levels[3:])}

    def module(levels):
        return net, Wave(levels)

    run = lambda model: rs.simulate_online(model, levels, levels, window, **options)
    first, *others = (run(model) for model in (module, whole, by_name))
    assert np.any(np.asarray(first.time_derivatives) != 0)
    for other in others:
        np.testing.assert_allclose(
            other.time_derivatives, first.time_derivatives, rtol=1e-9, atol=1e-13
        )
    assert first.spikes.populations == (("a", 3), ("b", 2))


@pytest.mark.slow
def test_several_directions_at_once_and_failures():
    params, direction, model = parts("LIF", False, True)
    window = rs.Window(0.0, T1, 0.02)
    run = functools.partial(
        rs.simulate_online, model, params, window=window, key=KEYS[0], max_spikes=80
    )
    two = jax.tree.map(lambda x: jnp.stack([x, 2 * x]), direction)
    together = jax.jit(jax.vmap(lambda d: run(d).time_derivatives))(two)
    np.testing.assert_allclose(together[0], run(direction).time_derivatives, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(together[1], 2 * together[0], rtol=1e-9, atol=1e-12)
    with pytest.raises(RuntimeError, match="would be enough"):
        run(direction, max_spikes=2)
    assert bool(run(direction, max_spikes=2, throw=False).spikes.overflow)


def test_what_it_refuses():
    params, direction, model = parts("LIF", False, False)
    options: dict[str, Any] = dict(window=rs.Window(0.0, T1, 0.01), key=KEYS[0], max_spikes=9)
    net, drive = model(params)
    source = rs.SpikingNetwork(
        {**net.populations, "in": rs.Source(1)}, [rs.Projection("in", "a", np.ones((1, 3)))]
    )
    spikes = {"in": rs.SpikeTrain.from_lists([[0.1]], t0=0.0, t1=T1)}
    steps = rs.StepPath(jnp.array([0.2]), jnp.ones((2, 5)))
    run = lambda model, **given: rs.simulate_online(model, params, direction, **options | given)
    cases: Any = (
        (lambda p: (source, drive), dict(inputs=spikes), "takes no roughsnn.Source, got in"),
        (lambda p: (net, steps), {}, "takes no drive that jumps"),
        (lambda p: net, {}, r"`model` must return \(network, drive\)"),
        (3, {}, "`model` must be a function"),
        (model, dict(engine=rs.Lockstep()), "must be a roughsnn.EventByEvent here"),
        (model, dict(direction=3.0), "must have the structure of `params`"),
    )
    for bad, given, message in cases:
        with pytest.raises((ValueError, TypeError), match=message):
            if "direction" in given:
                rs.simulate_online(bad, params, given["direction"], **options)
            else:
                run(bad, **given)
