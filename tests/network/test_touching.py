"""A potential that peaks just above its threshold, on the exact motion, in both engines."""

import warnings
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import roughsnn as rs
from roughsnn._refine import refined, too_long

ENGINES = {"lockstep": rs.Lockstep(exact=True), "event": rs.EventByEvent()}
each_engine = pytest.mark.parametrize("engine", ENGINES.values(), ids=ENGINES)
noisy = lambda tau, sigma: rs.synapses.Exponential(tau, (sigma,))


def kicked(
    engine, weight, dt, threshold: Any = 0.5, firing=None, tau: Any = 0.5, sigma=None, **options
) -> rs.Simulation:
    """A neuron at rest that an input spike at 1.3 kicks up, and that falls back at once."""
    firing = rs.HardThreshold(threshold) if firing is None else firing
    ports = {"syn": rs.synapses.Alpha(tau) if sigma is None else noisy(tau, sigma)}
    out = rs.Population(1, rs.neurons.LIF(10.0, rs.Subtract(0.5)), firing, ports)
    feed = rs.Projection("in", "out", jnp.reshape(weight, (1, 1)))
    net = rs.SpikingNetwork({"in": rs.Source(1), "out": out}, [feed])
    inputs = {"in": rs.SpikeTrain.from_lists([[1.3]], t0=0.0, t1=16.0)}
    fixed: Any = dict(key=jr.key(0), max_spikes=60, engine=engine, inputs=inputs)
    return rs.simulate(net, jnp.zeros(1), rs.Window(0.0, 16.0, dt), **fixed, **options)


@pytest.mark.slow
@each_engine
def test_above_the_threshold_and_below_again_within_a_cell(engine):
    """What peaks within a cell fires, however short it is above its threshold."""
    times = lambda weight, dt: kicked(engine, weight, dt).spikes.times
    fine, coarse = times(5.0, 0.05), times(5.0, 2.0)
    assert np.sum(np.isfinite(fine)) == 1
    np.testing.assert_allclose(coarse, fine, rtol=1e-10)
    slope = jax.jacfwd(lambda w: times(w, 2.0)[0])(5.0)
    rise = (times(5.0 + 1e-5, 0.05)[0] - times(5.0 - 1e-5, 0.05)[0]) / 2e-5
    np.testing.assert_allclose(slope, rise, rtol=1e-6)


@pytest.mark.slow
@each_engine
def test_what_only_touches_its_threshold_is_a_failure(engine):
    """A spike time has no derivative there; just below the peak it is that of a square root."""
    run = jax.jit(lambda threshold: kicked(engine, 5.0, 1.0, threshold, throw=False))
    low, high = 0.5, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        fires = int(run(middle).spikes.count) > 0
        low, high = (middle, high) if fires else (low, middle)
    assert run(low).result == rs.RESULTS.event_grazed
    slope = jax.jit(jax.grad(lambda threshold: run(threshold).spikes.times[0]))
    for below in (1e-8, 1e-11):
        assert run(low - below).result == rs.RESULTS.successful
        np.testing.assert_allclose(slope(low - below), 2 * slope(low - 4 * below), rtol=1e-3)


@pytest.mark.slow
def test_cells_of_many_time_constants():
    """Exact maps take some; of more than they take there is a warning."""
    assert rs.StepWarning in [w.category for w in warned(ENGINES["lockstep"], 4.0)]
    assert not warned(ENGINES["event"], 16.0) and not warned(ENGINES["lockstep"], 2.0)
    assert warned(ENGINES["event"], 16.0, tau=0.4)
    finder = rs.BracketedCrossing(rs.Chandrupatla())
    assert warned(rs.EventByEvent(root_finder=finder), 1.0)
    hazard = rs.StochasticFiring(rs.ExponentialIntensity(0.1, 1.0, 1.0), 0.03)
    assert warned(ENGINES["event"], 1.0, firing=hazard)
    assert not warned(ENGINES["event"], 0.5, firing=hazard)
    assert warned(ENGINES["event"], 1.0, sigma=0.01) and not warned(ENGINES["event"], 1.0)


@pytest.mark.slow
def test_cells_of_many_time_constants_that_programs_see():
    """They are kept for who asked for the program, if the cells are too long."""
    run = lambda tau, dt: kicked(ENGINES["lockstep"], 5.0, dt, tau=tau).spikes.times
    for dt, number in ((2.0, 0), (4.0, 1)):
        too_long.clear()
        with refined(1):
            jax.block_until_ready(jax.jit(lambda tau, dt=dt: run(tau, dt))(0.5))
        jax.effects_barrier()
        assert len(too_long) == number
    assert too_long.pop()[0] == 2.0


def warned(engine, dt: float, **options: Any) -> list[warnings.WarningMessage]:
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        kicked(engine, 5.0, dt, **options)
    return found


@pytest.mark.slow
@each_engine
@pytest.mark.parametrize("adapts", [False, True])
def test_slow_rises_in_short_cells_have_derivatives_in_single_precision(engine, adapts):
    """t = tau log((c - v) / (c - 1)) from v under the drive c."""
    tau, v, dt = jnp.float32(10.0), jnp.float32(0.99), 0.004
    neuron: Any = rs.neurons.LIF(tau)
    if adapts:
        # With parts that are 0, of which rounding makes something.
        neuron = rs.neurons.AdaptiveLIF(tau, jnp.float32(20.0), jnp.float32(0.3))
        dt = 0.0005
    net = rs.SpikingNetwork(rs.Population(1, neuron, rs.HardThreshold(jnp.float32(1))))

    def time(c):
        fixed: Any = dict(key=jr.key(0), max_spikes=2, engine=engine, initial={"v": v[None]})
        return rs.simulate(net, c[None], rs.Window(0.0, 4.0, dt), **fixed).spikes.times[0]

    c = jnp.linspace(jnp.float32(1.045), 1.055, 8, dtype=jnp.float32)
    found, slope = jax.jit(jax.vmap(jax.value_and_grad(time)))(c)
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, tau * jnp.log((c - v) / (c - 1)), rtol=1e-2)
    np.testing.assert_allclose(slope, tau / (c - v) - tau / (c - 1), rtol=1e-2)


@each_engine
def test_above_the_threshold_by_rounding_at_the_start(engine):
    """Not before it, however slowly the potential rises."""
    net = rs.SpikingNetwork(rs.Population(1, rs.neurons.LIF(10.0), rs.HardThreshold(1.0)))
    fixed: Any = dict(key=jr.key(0), max_spikes=2, engine=engine)
    start = {"v": jnp.array([1 + 1e-15])}
    drive = jnp.array([1 + 1e-12])
    sim = rs.simulate(net, drive, rs.Window(0.0, 4.0, 0.5), initial=start, **fixed)
    assert float(sim.spikes.times[0]) == 0.0
