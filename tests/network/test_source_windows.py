"""Spikes from outside on their way from one window to the next, and that arrive together."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import roughsnn as rs

from ..helpers import ENGINES, compilations, smooth
from .test_delays import DRIVE, NETWORKS, TRAIN, WIDE, fed, fed_twice, population, simulated


def run(net, drive, window, train, initial=None, engine=None):
    """One window with spikes from outside."""
    return rs.simulate(
        net,
        drive,
        window,
        key=jr.key(5),
        max_spikes=60,
        inputs={"in": train},
        engine=engine,
        initial=initial,
    )


@pytest.mark.slow
@pytest.mark.parametrize("cuts", [(0.1, 0.3), (0.06, 0.08, 0.1, 0.12), (0.11, 0.4)])
@pytest.mark.parametrize("name", ["source", "source-each", "source-long"])
@pytest.mark.parametrize("engine", ENGINES)
def test_spikes_from_outside_on_their_way(engine, name, cuts):
    """Windows one after the other are the whole, also if they are shorter than the delays, and if
    one ends when a spike happens."""
    net = fed([0.199, 0.131]) if name == "source-long" else NETWORKS[name]()

    def on(t0, t1, initial=None):
        window = rs.Window(t0, t1, 0.01)
        return run(net, DRIVE, window, TRAIN.window(t0, t1), initial, ENGINES[engine])

    whole, ends, final, counts = on(0.0, 0.5), (0.0, *cuts, 0.5), None, 0
    for t0, t1 in zip(ends, ends[1:], strict=False):
        sim = on(t0, t1, final)
        final, counts = sim.final, counts + int(sim.spikes.count)
    assert counts == int(whole.spikes.count) >= 8
    assert final is not None
    for a, b in zip(jax.tree.leaves(whole.final.state), jax.tree.leaves(final.state), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-13)


@pytest.mark.slow
@pytest.mark.parametrize("t1", [0.05, 0.3])
def test_windows_with_spikes_from_outside_are_one_program(t1):
    """But for the first, whether they are shorter than the delays or not."""
    net, final = fed([0.199, 0.131]), None
    numbers = []
    for n in range(3):
        window = rs.Window(n * t1, (n + 1) * t1, 0.01)
        train = rs.SpikeTrain.from_lists([[window.t0 + 0.01], []], t0=window.t0, t1=window.t1)
        with compilations() as found:
            sim = run(net, DRIVE, window, train, final)
        final = sim.final
        numbers.append(len(found))
    assert numbers[-1] == 0, numbers


@pytest.mark.slow
def test_derivatives_reach_over_windows():
    """Of what arrives in the next one, in its delay and its time."""

    def end(delay, t):
        net, initial = fed(delay), None
        for t0, t1 in ((0.0, 0.1), (0.1, 0.2)):
            times = jnp.where(t0 == 0.0, jnp.stack([t]), 0.15)
            train = rs.SpikeTrain(
                times, jnp.zeros(1, jnp.int32), jnp.ones((), jnp.int32), jnp.array(False), t0, t1, 2
            )
            sim = run(net, jnp.zeros(4), rs.Window(t0, t1, 0.01), train, initial)
            initial = sim.final
        return jnp.sum(jnp.sin(sim.final.state["n"]["v"]))

    at, h = (jnp.asarray(0.0473), jnp.asarray(0.081)), 1e-6
    for n, slope in enumerate(jax.jit(jax.grad(end, (0, 1)))(*at)):
        moved = lambda s, n=n: jax.jit(end)(*(x + s * (k == n) for k, x in enumerate(at)))
        difference = (moved(h) - moved(-h)) / (2 * h)
        assert abs(slope) > 1e-3
        np.testing.assert_allclose(slope, difference, rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
def test_arrivals_at_one_time_have_derivatives_of_their_own(engine):
    """By two projections with equal delays: as if one came a little later."""

    def total(delays):
        return jnp.sum(jnp.sin(smooth(simulated(fed_twice(*delays), ENGINES[engine]))[0]))

    slope = jax.jit(jax.vmap(jax.grad(total)))
    together, apart = slope(jnp.array([[0.034, 0.034], [0.034, 0.034 + 1e-9]]))
    assert np.all(np.abs(together) > 1e-3)
    np.testing.assert_allclose(together, apart, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
def test_spikes_at_one_time_have_derivatives_of_their_own(engine):
    """Of one source, at one time."""

    def total(times):
        train = rs.SpikeTrain(
            times,
            jnp.arange(2, dtype=jnp.int32),
            jnp.full((), 2, jnp.int32),
            jnp.array(False),
            0.0,
            0.5,
            2,
        )
        feed = rs.Projection("in", "n", WIDE)
        net = rs.SpikingNetwork({"in": rs.Source(2), "n": population()}, [feed])
        sim = simulated(net, ENGINES[engine], inputs={"in": train})
        return jnp.sum(jnp.sin(smooth(sim)[0]))

    slope = jax.jit(jax.vmap(jax.grad(total)))
    together, apart = slope(jnp.array([[0.113, 0.113], [0.113, 0.113 + 1e-9]]))
    assert np.all(np.abs(together) > 1e-3)
    np.testing.assert_allclose(together, apart, rtol=1e-5)
