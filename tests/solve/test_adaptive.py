"""Steps whose length a diffrax controller chooses."""

import functools
from typing import Any

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from jaxtyping import Array

import roughsnn as rs

from ..helpers import constant, fed, lif_network, single_neuron

TIGHT = dfx.PIDController(rtol=1e-10, atol=1e-10)
WEIGHTS = jnp.array([[0.0, 0.6, 0.2], [-0.4, 0.0, 0.3], [0.5, 0.1, 0.0]])


def network(p, hard=False):
    firing: Any = rs.HardThreshold(1.0)
    if not hard:
        firing = rs.StochasticFiring(rs.ExponentialIntensity(5.0, 1.0, 0.3), 0.03)
    return lif_network(firing, p["weights"], mu=p["mu"], reset=1.2)


PARAMETERS = {"mu": jnp.array([8.0, 5.0]), "weights": WEIGHTS, "input": jnp.array([1.6, 1.4, 1.5])}


class Wave(eqx.Module):
    """A drive that is compiled once for all of its values."""

    size: Array

    def __call__(self, t):
        return self.size * (1 + 0.2 * jnp.sin(5 * t))


def outcome(p, controller, dt0=0.01, hard=False, **options: Any):
    """Spike times, 0 where padded, and the state at the end."""
    sim = rs.simulate(
        network(p, hard),
        Wave(p["input"]),
        rs.Window(0.0, 1.0, dt0),
        max_spikes=40,
        key=jr.key(2),
        engine=rs.EventByEvent(controller=controller, saveat=dfx.SaveAt(t1=True), **options),
    )
    train, sol = sim.spikes, sim.states
    return jnp.where(train.marks >= 0, train.times, 0), sol.y1["v"], sol.y1["syn"]


def test_closed_form_of_a_hard_threshold():
    """tau = log(c / (c - 1)) / mu, dtau/dc = -1 / (mu c (c - 1)), in a few steps."""
    net = lif_network(rs.HardThreshold(1.0), mu=(15.0, 1.0))

    def times(c):
        return rs.simulate(
            net,
            lambda t: c * jnp.ones(1),
            rs.Window(0.0, 1.0, 0.1),
            max_spikes=20,
            key=jr.key(0),
            engine=rs.EventByEvent(controller=TIGHT),
        ).spikes.times[:5]

    c = jnp.asarray(1.5)
    number = jnp.arange(1.0, 6.0)
    found, slope = jax.jit(lambda c: jax.jvp(times, (c,), (jnp.ones(()),)))(c)
    np.testing.assert_allclose(found, number * jnp.log(c / (c - 1)) / 15, rtol=1e-8)
    np.testing.assert_allclose(slope, -number / (15 * c * (c - 1)), rtol=1e-7)


@pytest.mark.slow
@pytest.mark.parametrize("hard", [False, True])
def test_it_agrees_with_small_constant_steps(hard):
    """Where the tolerances are tight; fewer steps where they are not."""
    adaptive = outcome(PARAMETERS, TIGHT, hard=hard)
    constant_steps = outcome(PARAMETERS, None, dt0=0.002, hard=hard, solver=dfx.Tsit5())
    assert int(jnp.sum(adaptive[0] > 0)) > 8
    for a, b in zip(adaptive, constant_steps, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-8)
    loose = outcome(PARAMETERS, dfx.PIDController(1e-4, 1e-4), hard=hard, max_steps=120)
    for a, b in zip(adaptive, loose, strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-2, atol=2e-3)


@functools.cache
def slopes_and_values(mode, constant_steps=False):
    """Input, tolerance -> the derivatives of the outcome by the input, and the outcome."""

    def run(c, tolerance):
        options: Any = {"controller": dfx.PIDController(tolerance, tolerance)}
        if constant_steps:
            options = {"controller": None, "dt0": 0.002, "solver": dfx.Tsit5()}
        found = outcome({**PARAMETERS, "input": c}, **options)
        return found, found

    return jax.jit(mode(run, has_aux=True))


@pytest.mark.slow
@pytest.mark.parametrize("mode", [jax.jacfwd, jax.jacrev])
def test_derivatives_converge_with_the_tolerance(mode):
    """To those of small constant steps, which are differences of the discrete solution.

    Differences of an adaptive solution see its step lengths change: with h = 1e-4 they are as good
    as 2e-8 / 2h.
    """
    c, h = np.asarray(PARAMETERS["input"]), 1e-4
    shift = np.array([1.0, -0.5, 0.7])
    along = lambda jacobians: [np.asarray(j) @ shift for j in jacobians]
    exact = along(slopes_and_values(jax.jacfwd, constant_steps=True)(c, 0.0)[0])
    adaptive = slopes_and_values(mode)
    for tolerance, bound in ((1e-6, 1e-4), (1e-10, 1e-7)):
        found = along(adaptive(c, tolerance)[0])
        for a, b in zip(found, exact, strict=True):
            np.testing.assert_allclose(a, b, rtol=10 * bound, atol=bound)
    above, below = (adaptive(c + s * shift, 1e-10)[1] for s in (h, -h))
    difference = [(a - b) / (2 * h) for a, b in zip(above, below, strict=True)]
    for a, b in zip(exact, difference, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)


@pytest.mark.slow
def test_it_stops_at_declared_jumps_and_input_spikes():
    step = rs.StepPath([0.303, 0.6], [[1.5] * 3, [0.2] * 3, [1.8] * 3])
    spikes = rs.SpikeTrain.from_lists([[0.111, 0.45], [0.45, 0.72]], t0=0.0, t1=1.0)
    net = fed(network(PARAMETERS), jnp.array([[0.8, 0.0, 0.3], [0.0, 0.5, -0.2]]))

    def run(controller, dt0):
        return rs.simulate(
            net,
            step,
            rs.Window(0.0, 1.0, dt0),
            max_spikes=40,
            key=jr.key(2),
            inputs={"in": spikes},
            engine=rs.EventByEvent(solver=dfx.Tsit5(), controller=controller),
        ).spikes

    found, expected = run(TIGHT, 0.05), run(None, 0.002)
    np.testing.assert_array_equal(found.marks, expected.marks)
    np.testing.assert_allclose(found.times, expected.times, rtol=1e-7)


@pytest.mark.slow
def test_a_first_step_that_is_far_too_long():
    """It would reach the end, or a declared jump, and is rejected: nothing of it remains."""
    step = rs.StepPath([0.303, 0.6], [[1.5] * 3, [0.2] * 3, [1.8] * 3])

    def run(dt0, **options: Any) -> Any:
        return rs.simulate(
            network(PARAMETERS),
            step,
            rs.Window(0.0, 1.0, dt0),
            max_spikes=40,
            key=jr.key(2),
            engine=rs.EventByEvent(
                controller=dfx.PIDController(1e-9, 1e-9), max_steps=600, **options
            ),
        )

    for a, b in zip(outcome(PARAMETERS, TIGHT, 1.0), outcome(PARAMETERS, TIGHT), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-8)
    long = run(1.0, saveat=dfx.SaveAt(steps=True))
    np.testing.assert_allclose(long.spikes.times, run(0.01).spikes.times, rtol=1e-6)
    # Each time that is saved is that of a step that was made.
    times = np.asarray(long.states.ts)[::2]
    assert np.all(np.diff(times[np.isfinite(times)]) > 0)


def test_many_stops_cost_few_steps():
    """A step that a stop cut short is not the measure of the next one; one may have no length."""
    event = rs.Event(lambda t, y, args: y - 0.5, lambda t, y, args, k, u: y - 2.0)

    def run(stops, max_steps):
        return rs.eventsolve(
            dfx.ODETerm(lambda t, y, args: jnp.ones_like(y)),
            rs.Window(0.0, 1.0, 0.25),
            jnp.zeros(1),
            event=event,
            max_events=2,
            key=jr.key(0),
            jump_ts=stops,
            engine=rs.EventByEvent(
                solver=dfx.Tsit5(),
                controller=dfx.PIDController(1e-6, 1e-6, factormax=2.0),
                max_steps=max_steps,
            ),
        )

    # The event is at a stop; close behind another one there are others.
    stops = jnp.array([0.125, 0.125 + 1e-9, 0.5, 0.5 + 1e-9, 0.75])
    found = run(stops, 12)
    np.testing.assert_allclose(found.event_times[0], 0.5, rtol=1e-12)
    np.testing.assert_allclose(found.y1, -1.0, rtol=1e-9)


def test_a_crossing_on_a_step_that_is_rejected_is_none():
    """There is room for one event only, and it has happened before."""

    def rate(t, y, args):
        fast = jnp.where(t > 0.5, 80 * jnp.cos(200 * (t - 0.5)), 0.0)
        return jnp.stack([fast, jnp.ones_like(t)])

    event = rs.Event(
        lambda t, y, args: jnp.stack([y[0] - 0.45, y[1] - 0.05, -y[0] - 0.45]),
        lambda t, y, args, k, u: y.at[1].add(jnp.where(k == 1, -5.0, 0.0)),
        "waive",
    )
    found = rs.eventsolve(
        dfx.ODETerm(rate),
        rs.Window(0.0, 1.0, 0.1),
        jnp.zeros(2),
        event=event,
        max_events=1,
        key=jr.key(0),
        jump_ts=jnp.array([0.5]),
        engine=rs.EventByEvent(solver=dfx.Tsit5(), controller=dfx.PIDController(1e-6, 1e-6)),
    )
    assert int(found.event_count) == 1 and int(found.event_marks[0]) == 1
    np.testing.assert_allclose(found.y1[0], 0.4 * np.sin(100.0), atol=1e-4)


@pytest.mark.slow
def test_what_is_saved():
    """States at given times lie on the solution; steps are in order and two-sided at spikes."""
    ts = jnp.linspace(0.0, 1.0, 21)

    def run(controller, dt0, saveat):
        return rs.simulate(
            network(PARAMETERS),
            constant(1.6, 1.4, 1.5),
            rs.Window(0.0, 1.0, dt0),
            max_spikes=40,
            key=jr.key(2),
            engine=rs.EventByEvent(
                solver=dfx.Tsit5(), controller=controller, saveat=saveat, max_steps=400
            ),
        )

    found = run(TIGHT, 0.05, dfx.SaveAt(ts=ts)).states
    expected = run(None, 0.002, dfx.SaveAt(ts=ts)).states
    np.testing.assert_allclose(found.ys["v"], expected.ys["v"], rtol=1e-6, atol=1e-7)
    sim = run(TIGHT, 0.05, dfx.SaveAt(steps=True))
    train, steps = sim.spikes, sim.states
    times = np.asarray(steps.ts)
    known = times[np.isfinite(times)]
    assert (
        np.all(np.diff(known) >= 0) and known[-1] == 1.0 and np.all(np.isinf(times[len(known) :]))
    )
    first, mark = int(np.searchsorted(known, train.times[0])), int(train.marks[0])
    jump = steps.ys["v"][first + 1, mark] - steps.ys["v"][first, mark]
    np.testing.assert_allclose(jump, -1.2, rtol=1e-12)


@pytest.mark.slow
def test_any_controller_and_batches():
    clipped = dfx.ClipStepSizeController(dfx.PIDController(1e-8, 1e-8), step_ts=[0.25, 0.5])
    expected = outcome(PARAMETERS, TIGHT)
    for controller in (clipped, dfx.PIDController(1e-8, 1e-8, pcoeff=0.3, icoeff=0.4, dtmax=0.05)):
        for a, b in zip(outcome(PARAMETERS, controller), expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    same = outcome(PARAMETERS, dfx.ConstantStepSize(), solver=dfx.Tsit5())
    for a, b in zip(same, outcome(PARAMETERS, None, solver=dfx.Tsit5()), strict=True):
        np.testing.assert_array_equal(a, b)
    inputs = np.asarray(PARAMETERS["input"]) * np.array([[0.9], [1.0], [1.1]])
    batch = jax.vmap(lambda c: outcome({**PARAMETERS, "input": c}, TIGHT))(inputs)
    for a, b in zip(batch, expected, strict=True):
        np.testing.assert_allclose(a[1], b, rtol=1e-10)


@pytest.mark.slow
def test_errors():
    with pytest.raises(RuntimeError, match="within `max_steps` steps"):
        outcome(PARAMETERS, TIGHT, max_steps=20)
    sol = rs.simulate(
        network(PARAMETERS),
        constant(1.0, 1.0, 1.0),
        rs.Window(0.0, 1.0, 0.1),
        max_spikes=40,
        key=jr.key(0),
        throw=False,
        engine=rs.EventByEvent(controller=TIGHT, max_steps=5, saveat=dfx.SaveAt(t1=True)),
    ).states
    assert sol.result == rs.RESULTS.max_steps_reached
    options: Any = dict(window=rs.Window(0.0, 1.0, 0.1), max_spikes=9, key=jr.key(0))
    with pytest.raises(ValueError, match="without noise.*sigma=None"):
        rs.simulate(
            single_neuron(), constant(1.0), **options, engine=rs.EventByEvent(controller=TIGHT)
        )
    with pytest.raises(ValueError, match="does not estimate its error.*Tsit5"):
        outcome(PARAMETERS, TIGHT, solver=dfx.Euler())
    with pytest.raises(TypeError, match="must be a diffrax step size controller"):
        outcome(PARAMETERS, 1e-3)
    path = rs.BrownianPath(0.0, 1.0, 0.1, shape=(), key=jr.key(0))
    never = rs.Event(lambda t, y, args: jnp.array([-1.0]), lambda t, y, args, k, u: y)
    with pytest.raises(ValueError, match="known cell by cell"):
        rs.eventsolve(
            dfx.ControlTerm(lambda t, y, args: 1.0, path),
            rs.Window(0.0, 1.0, 0.1),
            jnp.zeros(()),
            event=never,
            max_events=1,
            key=jr.key(0),
            engine=rs.EventByEvent(solver=dfx.Tsit5(), controller=TIGHT),
        )
    # A solution that ends: y' = y^2 from 1.
    with pytest.raises(RuntimeError, match="failed to make a step|inf or nan|max_steps"):
        rs.eventsolve(
            dfx.ODETerm(lambda t, y, args: y**2),
            rs.Window(0.0, 2.0, 0.1),
            jnp.ones(()),
            event=never,
            max_events=1,
            key=jr.key(0),
            engine=rs.EventByEvent(solver=dfx.Tsit5(), controller=TIGHT),
        )
