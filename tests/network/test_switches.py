"""Drives that switch inside of cells, at times that may be traced, in both engines."""

from typing import Any

import diffrax as dfx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import roughsnn as rs

from ..helpers import lif_network

WEIGHTS = jnp.array([[0.0, 0.5], [-0.4, 0.0]])
VALUES = jnp.array([[0.5, 0.6], [1.6, 1.4], [0.3, 0.9], [1.0, 1.2]])
# One inside of a cell, two in one cell, none of them in the window's first.
TIMES = jnp.array([0.213, 0.6177, 0.6191])
# Of the first spikes; one may be near the end.
NUMBER = 8
EVENT, LOCKSTEP = rs.EventByEvent(), rs.Lockstep()


def network(sigma=None):
    firing = rs.StochasticFiring(rs.ExponentialIntensity(beta=4.0, threshold=1.0, timescale=0.1))
    return lif_network(firing, WEIGHTS, sigma=sigma)


def spikes(times, dt0, engine, window=None, **options):
    window = rs.Window(0.0, 1.0, dt0) if window is None else window
    drive = rs.StepPath(times, VALUES)
    return rs.simulate(
        network(), drive, window, max_spikes=60, key=jr.key(1), engine=engine, **options
    ).spikes


def total(times, dt0, engine):
    return jnp.sum(spikes(times, dt0, engine).times[:NUMBER])


@pytest.fixture(scope="module")
def exact():
    """Event by event in short cells: the spikes, and the derivatives of the sum of their times."""
    both = jax.jit(lambda t: (spikes(t, 1e-3, EVENT), jax.grad(total)(t, 1e-3, EVENT)))
    return both(TIMES)


@pytest.mark.slow
def test_lockstep_is_of_second_order(exact):
    train, slopes = exact
    assert int(train.count) > NUMBER
    errors = []
    for dt0 in (0.01, 0.005, 0.0025, 0.00125):
        run = jax.jit(
            lambda t, dt0=dt0: (spikes(t, dt0, LOCKSTEP), jax.grad(total)(t, dt0, LOCKSTEP))
        )
        found, slope = run(TIMES)
        np.testing.assert_array_equal(found.marks[:NUMBER], train.marks[:NUMBER])
        time_error = jnp.max(jnp.abs(found.times - train.times)[:NUMBER])
        errors.append((float(time_error), float(jnp.max(jnp.abs(slope - slopes)))))
    assert errors[0][0] > 4**3 * errors[-1][0]
    assert errors[-1][0] < 1e-6 and errors[-1][1] < 0.05 * float(jnp.max(jnp.abs(slopes)))


@pytest.mark.slow
@pytest.mark.parametrize("engine", [LOCKSTEP, EVENT], ids=["lockstep", "event"])
@pytest.mark.parametrize(
    "first", [0.213, 0.2, 0.07, 0.29], ids=["inside", "border", "rounded border", "other border"]
)
def test_derivatives_in_the_time_of_a_switch_are_those_of_differences(engine, first):
    """On the border of two cells too, where the derivative of a minimum would be half of it."""
    times, h = TIMES.at[0].set(first), 1e-6
    value = jax.jit(lambda t: total(t, 0.005, engine))
    slope = jax.jit(jax.grad(lambda t: total(t, 0.005, engine)))(times)[0]
    one = jnp.zeros(3).at[0].set(h)
    sides = [float(value(times + one) - value(times)), float(value(times) - value(times - one))]
    assert abs(float(slope)) > 1
    # There it may jump, by the error of the step.
    tolerance = 1e-4 if first == 0.213 else 0.05
    np.testing.assert_allclose(np.array(sides) / h, float(slope), rtol=tolerance)


def test_nothing_jumps_as_a_switch_crosses_a_border():
    run = jax.jit(lambda t: spikes(t, 0.01, LOCKSTEP).times)
    around = [run(TIMES.at[0].set(0.2 + e)) for e in (-1e-9, 0.0, 1e-9)]
    known = spikes(jnp.array([0.2, 0.61, 0.62]), 0.01, LOCKSTEP).times
    traced = run(jnp.array([0.2, 0.61, 0.62]))
    finite = jnp.isfinite(around[0])
    for other in around[1:]:
        np.testing.assert_allclose(around[0][finite], other[finite], atol=1e-6)
    # Between cells it is what it is where that is known beforehand, up to the error of the step.
    finite = jnp.isfinite(known)
    np.testing.assert_allclose(known[finite], traced[finite], atol=2e-3)


@pytest.mark.slow
def test_switches_outside_of_the_window_and_windows_that_go_on():
    times = jnp.array([-0.3, 0.6177, 1.4])
    whole = rs.Window(0.0, 1.0, 0.01)
    half = rs.Window(0.0, 0.5, 0.01)

    @jax.jit
    def run(times):
        drive = rs.StepPath(times, VALUES)
        given: Any = dict(max_spikes=60, key=jr.key(1))
        first = rs.simulate(network(), drive, half, **given)
        second = rs.simulate(network(), drive, half.next(), **given, initial=first.final)
        return rs.simulate(network(), drive, whole, **given).spikes, first.spikes, second.spikes

    together, first, second = run(times)
    parts = np.concatenate(
        [t[np.isfinite(t)] for t in map(np.asarray, (first.times, second.times))]
    )
    count = int(first.count)
    parts[count:] += 0.5
    np.testing.assert_allclose(parts, together.times[: int(together.count)], atol=1e-9)


def test_states_inside_of_the_cell_of_a_switch():
    """Against the event engine, before the first spike."""
    at = jnp.array([0.211, 0.2135, 0.218, 0.224])
    drive = rs.StepPath(TIMES, VALUES)
    quiet = lif_network(rs.HardThreshold(50.0), size=2)
    given: Any = dict(max_spikes=5, key=jr.key(0))
    window = rs.Window(0.0, 0.5, 0.01)
    a = rs.simulate(
        quiet, drive, window, **given, engine=rs.Lockstep(record={"v": at, "syn": at})
    ).states
    b = rs.simulate(
        quiet, drive, window, **given, engine=rs.EventByEvent(saveat=dfx.SaveAt(ts=at))
    ).states.ys
    np.testing.assert_allclose(a["v"], b["v"], atol=2e-4)
    np.testing.assert_allclose(a["syn"], b["syn"], atol=1e-12)


@pytest.mark.slow
def test_the_likelihood_has_a_derivative_in_the_time_of_a_switch(exact):
    train, _ = exact

    def density(times):
        drive = rs.StepPath(times, VALUES)
        return rs.log_likelihood(network(), drive, train, rs.Window(0.0, 1.0, 0.01)).value

    slope = jax.jit(jax.grad(density))(TIMES)
    h, value = 1e-6, jax.jit(density)
    for n in range(3):
        one = jnp.zeros(3).at[n].set(h)
        gap = (value(TIMES + one) - value(TIMES - one)) / (2 * h)
        np.testing.assert_allclose(slope[n], gap, rtol=1e-5)


@pytest.mark.slow
def test_with_noise_and_float32_it_runs():
    drive = rs.StepPath(TIMES.astype(jnp.float32), VALUES.astype(jnp.float32))
    net = jax.tree.map(lambda x: x.astype(jnp.float32), network(((0.3,), (0.1,))))
    run = lambda e: (
        rs.simulate(
            net, drive, rs.Window(0.0, 1.0, 0.01), max_spikes=60, key=jr.key(2), engine=e
        ).spikes
    )
    a, b = run(LOCKSTEP), run(EVENT)
    assert a.times.dtype == jnp.float32
    first = jnp.minimum(a.count, b.count) // 2
    np.testing.assert_allclose(a.times[: int(first)], b.times[: int(first)], atol=0.02)
