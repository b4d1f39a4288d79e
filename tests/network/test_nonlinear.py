"""Neurons that run away to a peak."""

import dataclasses
from typing import Any, cast

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from scipy.integrate import solve_ivp

import roughsnn as rs

from ..helpers import smooth
from ..zoo import NONLINEAR, RUNS, runaways

N, S = rs.neurons, rs.synapses
PRECISE = rs.EventByEvent(
    solver=dfx.Tsit5(), controller=dfx.PIDController(1e-10, 1e-10), max_steps=20_000
)
WITH_NOISE = rs.EventByEvent()
KEY = jr.key(5)


def alone(neuron: rs.AbstractNeuron, drive, run, engine=PRECISE, **options) -> rs.Simulation:
    """Neurons without synapses, under constant currents."""
    net = rs.SpikingNetwork(rs.Population(len(drive), neuron, rs.HardThreshold(run.peak)))
    window = rs.Window(0.0, run.t1, run.dt)
    return rs.simulate(
        net, jnp.asarray(drive), window, key=KEY, max_spikes=200, engine=engine, **options
    )


def right_hand_side(name: str, neuron: Any):
    """dx/dt under a current, what a spike does, and the state at the start, in NumPy, as the
    papers have them."""
    p = {k: np.asarray(v) for k, v in vars(neuron).items()}
    if name == "QIF":
        rate = lambda v, i: p["curvature"] * (v - p["rest"]) * (v - p["critical"]) + i
        return lambda x, i: [rate(x[0], i) / p["tau"]], lambda x: [p["reset_to"]], [p["rest"]]
    if name in ("EIF", "AdEx"):
        up = lambda v: p["delta"] * np.exp((v - p["soft_threshold"]) / p["delta"])
        rate = lambda v, i: (-(v - p["rest"]) + up(v) + i) / p["tau"]
        if name == "EIF":
            return lambda x, i: [rate(x[0], i)], lambda x: [p["reset_to"]], [p["rest"]]
        slow = lambda x: (p["a"] * (x[0] - p["rest"]) - x[1]) / p["tau_w"]
        both = lambda x, i: [rate(x[0], i - x[1]), slow(x)]
        return both, lambda x: [p["reset_to"], x[1] + p["b"]], [p["rest"], 0.0]
    v = lambda x, i: 0.04 * x[0] ** 2 + 5 * x[0] + 140 - x[1] + i
    u = lambda x: p["a"] * (p["b"] * x[0] - x[1])
    start = [p["c"], p["b"] * p["c"]]
    after = lambda x: [p["c"], x[1] + p["d"]]
    return lambda x, i: [v(x, i) / p["tau"], u(x) / p["tau"]], after, start


def spikes_by_scipy(name: str, neuron, current: float, run) -> np.ndarray:
    """The spikes of one neuron by an independent solver."""
    rate, after, x = right_hand_side(name, neuron)
    t, found = 0.0, []
    peak = lambda t, x: x[0] - run.peak
    peak.terminal, peak.direction = True, 1  # pyright: ignore[reportFunctionMemberAccess]
    while True:
        field = lambda t, x: rate(x, current)
        options: Any = dict(method="DOP853", rtol=1e-11, atol=1e-11, events=peak)
        sol = solve_ivp(field, (t, run.t1), x, **options)
        if sol.status != 1:
            return np.array(found)
        t = sol.t_events[0][0]
        found.append(t)
        x = after(sol.y_events[0][0])


@pytest.mark.parametrize("name", NONLINEAR)
def test_spikes_are_those_of_another_solver(name):
    run, neuron = RUNS[name], NONLINEAR[name](None)
    sim = alone(neuron, run.drive, run)
    assert sim.conditions == "hold"
    for current, times in zip(run.drive, sim.spikes.to_lists(), strict=True):
        expected = spikes_by_scipy(name, neuron, current, run)
        assert len(expected) >= 3
        np.testing.assert_allclose(times, expected, rtol=1e-8)


def features(net: rs.SpikingNetwork, drive, name: str, engine) -> tuple:
    """A smooth functional of spikes and final state, in units of the run, and whose spikes."""
    run = RUNS[name]
    window = rs.Window(0.0, run.t1, run.dt)
    sim = rs.simulate(net, drive, window, key=KEY, max_spikes=50, engine=engine, throw=False)
    values, marks = smooth(sim)
    return jnp.sum(values * jnp.array([1.0] * (len(values) - 1) + [1 / run.t1])), marks


def in_numbers(name: str, noisy: bool):
    """The functional of all parameters and the drive in a row, and where they are."""
    net, drive = runaways(name, noisy), jnp.array(RUNS[name].drive)
    (arrays, drive), rest = eqx.partition((net, drive), eqx.is_inexact_array)
    flat, unravel = ravel_pytree((arrays, drive))

    def total(flat):
        arrays, drive = unravel(flat)
        engine = WITH_NOISE if noisy else PRECISE
        return features(cast(Any, eqx.combine(arrays, rest[0])), drive, name, engine)

    return total, flat


def check_differences(gradient, values, marks, size):
    """Of values at both sides of each parameter; all neurons fire, and always in this order."""
    marks = np.asarray(marks)
    assert np.all(marks == marks[0])
    assert np.all(np.bincount(marks[0][marks[0] >= 0], minlength=3) >= 2), marks[0]
    up, down = jnp.split(values, 2)
    assert np.sum(np.abs(gradient) > 1e-3) >= len(gradient) - 4
    np.testing.assert_allclose(gradient, (up - down) / (2 * size), rtol=1e-6, atol=1e-6)


def around(flat):
    """Points at both sides of each parameter, and by how much they are moved: so little that no
    spike crosses the border of a cell, where the derivative of the discrete solution has a kink."""
    size = 1e-6 * jnp.clip(jnp.abs(flat), 0.02, 5.0)
    steps = jnp.diag(size)
    return flat[None] + jnp.concatenate([steps, -steps]), size


@pytest.mark.slow
def test_gradients_are_differences_in_each_parameter():
    """In reverse mode, by adaptive steps, up to the high peak."""
    total, flat = in_numbers("AdEx", noisy=False)
    gradient = jax.jit(jax.grad(lambda x: total(x)[0]))(flat)
    at, size = around(flat)
    values, marks = jax.jit(jax.vmap(total))(at)
    check_differences(gradient, values, marks, size)


# Without noise there are AdEx above and, in closed form, QIF below.
FORWARD = [*((name, True) for name in NONLINEAR), ("EIF", False), ("Izhikevich", False)]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "noisy"), FORWARD)
def test_derivatives_are_differences_in_each_parameter(name, noisy):
    """In forward mode, with noise on the current (and a lower peak), and without."""
    total, flat = in_numbers(name, noisy)
    at, size = around(flat)
    count = len(flat)
    at = jnp.concatenate([at, jnp.broadcast_to(flat, (count, count))])
    along = lambda x, d: jax.jvp(total, (x,), (d,))
    (values, marks), (slopes, _) = jax.jit(jax.vmap(along))(at, jnp.tile(jnp.eye(count), (3, 1)))
    check_differences(slopes[2 * count :], values[: 2 * count], marks, size)


def test_period_of_the_quadratic_neuron():
    """From reset to peak in closed form, and its derivatives in current and time constant."""
    rest, critical, a, reset, peak = -0.3, 0.4, 1.2, -40.0, 50.0
    run = RUNS["QIF"]._replace(peak=peak)
    engine = dataclasses.replace(PRECISE, controller=dfx.PIDController(1e-12, 1e-12))

    def found(tau, current):
        neuron = N.QIF(tau, rest, critical, a, reset)
        times = alone(neuron, current[None], run, engine, throw=False).spikes.times
        return times[2] - times[1]

    def exact(tau, current):
        u = lambda v: a * (v - (rest + critical) / 2)
        root = jnp.sqrt(a * current - a**2 * (critical - rest) ** 2 / 4)
        return tau / root * (jnp.arctan(u(peak) / root) - jnp.arctan(u(reset) / root))

    at = jnp.asarray(0.02), jnp.asarray(2.5)
    both = lambda x, y: jax.jit(jax.vmap(lambda d: jax.jvp(found, at, (d[0], d[1]))))(
        jnp.stack([x, y], -1)
    )
    (period, _), slopes = both(jnp.array([1.0, 0.0]), jnp.array([0.0, 1.0]))
    np.testing.assert_allclose(period, exact(*at), rtol=1e-9)
    np.testing.assert_allclose(slopes, jax.grad(exact, (0, 1))(*at), rtol=1e-8)
    # Reset and peak far away: the period of the canonical neuron.
    root = np.sqrt(a * 2.5 - a**2 * 0.7**2 / 4)
    missing = 0.02 / a * (1 / (peak - 0.05) + 1 / (-reset + 0.05))
    np.testing.assert_allclose(np.pi * 0.02 / root - missing, period, rtol=1e-4)


def test_the_exponential_neuron_fires_above_its_rheobase():
    """Which is the least current without a fixed point, and ever faster with more."""
    neuron = NONLINEAR["EIF"](None)
    least = float(neuron.soft_threshold - neuron.rest - neuron.delta)
    run = RUNS["EIF"]._replace(t1=400.0)
    counts = alone(neuron, [0.97 * least, 1.1 * least, 2 * least, 4 * least], run).spikes.counts()
    assert counts[0] == 0 < counts[1] < counts[2] < counts[3]


@pytest.mark.slow
def test_patterns_of_firing():
    """Regular spiking adapts, fast spiking does not; AdEx adapts, and without b and a it does
    not."""
    regular, fast = (0.02, 0.2, -65.0, 8.0), (0.1, 0.2, -65.0, 2.0)
    simple = N.Izhikevich(*(np.array(pair) for pair in zip(regular, fast, strict=True)))
    run = RUNS["Izhikevich"]._replace(t1=300.0)
    regular, fast = map(np.diff, alone(simple, [10.0, 10.0], run).spikes.to_lists())
    assert regular[-1] > 1.5 * regular[0]
    assert abs(fast[-1] / fast[2] - 1) < 0.1 and fast[-1] < regular[-1] / 2
    exponential = N.AdEx(a=np.array([4 / 30, 0.0]), b=np.array([80.5 / 30, 0.0]))
    run = RUNS["AdEx"]._replace(t1=300.0)
    adapting, tonic = map(np.diff, alone(exponential, [34.0, 34.0], run).spikes.to_lists())
    assert np.all(np.diff(adapting) > 0) and adapting[-1] > 1.5 * adapting[0]
    np.testing.assert_allclose(tonic, tonic[0], rtol=1e-8)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("name", NONLINEAR)
def test_coordinates(name, dtype):
    """They rise, their inverse is one, and motion in them is slow up to the peak."""
    run, neuron = RUNS[name], NONLINEAR[name](None)
    neuron = jax.tree.map(lambda x: x.astype(dtype), neuron)
    assert neuron.has_coordinate and neuron.potential(neuron.initial()).dtype == dtype
    low = float(neuron.spike(neuron.initial()).v)
    v = jnp.linspace(low - 10, run.peak, 400, dtype=dtype)
    z, speed = jax.vmap(lambda v: jax.jvp(neuron.coordinate, (v,), (slope(neuron, v),)))(v)
    assert z.dtype == speed.dtype == dtype
    assert np.all(np.diff(z) > 0)
    assert np.max(np.abs(speed)) * run.dt < 0.5
    # As far as the rounding of z lets it.
    _, stretch = jax.vmap(lambda z: jax.jvp(neuron.from_coordinate, (z,), (jnp.ones_like(z),)))(z)
    eps = float(jnp.finfo(dtype).eps)
    allowed = 8 * eps * (np.abs(z) * stretch + np.abs(v) + abs(low))
    assert np.all(np.abs(jax.vmap(neuron.from_coordinate)(z) - v) <= allowed)


def slope(neuron, v, current: float = 1.0):
    """dv/dt at rest in all but the potential."""
    x = neuron.initial()._replace(v=v)
    return neuron.drift(jnp.zeros_like(v), x, jnp.asarray(current, v.dtype)).v


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("name", NONLINEAR)
def test_nothing_overflows(name, dtype):
    """Far beyond any peak and below any reset, and neither do derivatives in parameters."""
    neuron = jax.tree.map(lambda x: x.astype(dtype), NONLINEAR[name](None))
    far = np.array([10.0, 60.0, 1e3, 1e6, 1e12])
    far = jnp.asarray(np.concatenate([-far[::-1], far]), dtype)

    def everything(neuron, v, z):
        z_of_v, speed = jax.jvp(neuron.coordinate, (v,), (slope(neuron, v),))
        return slope(neuron, v), z_of_v, speed, neuron.from_coordinate(z)

    z = jnp.concatenate([jax.vmap(neuron.coordinate)(far), jnp.asarray([0.0, 0.1, 3.0], dtype)])
    assert np.all(np.diff(z[: len(far)]) >= 0)
    v = jnp.concatenate([far, jnp.zeros(3, dtype)])
    values, back = jax.vmap(lambda v, z: jax.vjp(everything, neuron, v, z))(v, z)
    pulled = jax.vmap(lambda f, y: f(jax.tree.map(jnp.ones_like, y)))(back, values)
    pushed = jax.vmap(jax.jacfwd(everything, (0, 1, 2)), (None, 0, 0))(neuron, v, z)
    for x in jax.tree.leaves((values, pulled, pushed)):
        assert np.all(np.isfinite(x))


BAD = [
    (lambda: N.QIF(tau=-1.0), "`tau` must be positive, got -1"),
    (lambda: N.QIF(curvature=0.0), "`curvature` must be positive, got 0"),
    (lambda: N.QIF(reset_to=-np.inf), "`reset_to` must be finite"),
    (lambda: N.EIF(delta=0.0), "`delta` must be positive, got 0"),
    (lambda: N.EIF(rest=np.array([-65, -60])), "`rest` must have a floating dtype"),
    (lambda: N.AdEx(tau_w=-144.0), "`tau_w` must be positive, got -144"),
    (lambda: N.AdEx(sigma=np.ones((1, 1, 1))), "`sigma` must be a number, or have shape"),
    (lambda: N.Izhikevich(tau=0.0), "`tau` must be positive, got 0"),
    (lambda: N.Izhikevich(a=-0.02), "`a` must be positive, got -0.02"),
    (
        lambda: rs.Population(2, N.AdEx(delta=np.ones(3)), None),
        r"`delta` must have shape \(\) or \(2,\) for 2 neurons, got \(3,\)",
    ),
]


@pytest.mark.parametrize(("make", "message"), BAD)
def test_bad_parameters(make, message):
    with pytest.raises((ValueError, TypeError), match=message):
        make()


@pytest.mark.parametrize("name", NONLINEAR)
def test_noise_on_a_potential_that_is_reset_to_a_constant_is_refused(name):
    """By condition C1 at a hard threshold, by C3 at random ones; on the current it may be."""
    run = RUNS[name]
    neuron = NONLINEAR[name](0.1)
    with pytest.raises(ValueError, match=r"`sigma`.*C1.*Put the noise on the current"):
        rs.SpikingNetwork(rs.Population(1, neuron, rs.HardThreshold(run.peak)))
    firing = rs.StochasticFiring(rs.ExponentialIntensity(0.1, run.near))
    window: Any = dict(window=rs.Window(0.0, 2 * run.dt, run.dt), key=KEY, max_spikes=3)
    window |= dict(engine=rs.EventByEvent())
    net = rs.SpikingNetwork(rs.Population(1, neuron, firing))
    with pytest.raises(ValueError, match="C3 FAILS"):
        rs.simulate(net, jnp.ones(1), **window)
    waived = rs.SpikingNetwork(rs.Population(1, neuron, firing), conditions="waive")
    conditions = lambda net: (
        jax.eval_shape(lambda c: rs.simulate(net, c, **window), jnp.ones(1)).conditions
    )
    assert conditions(waived) == "waived"
    ports = {"syn": S.Exponential(run.tau, 0.1)}
    net = rs.SpikingNetwork(rs.Population(1, NONLINEAR[name](None), firing, ports))
    assert conditions(net) == "hold"


def test_a_reset_above_the_peak_is_reported():
    run = RUNS["QIF"]
    with pytest.raises(Exception, match="still at or above its threshold"):
        alone(N.QIF(0.02, reset_to=run.peak + 1), [3.0], run)


def test_parameters_that_leave_their_domain_are_reported():
    run = RUNS["AdEx"]
    of = lambda delta: alone(N.AdEx(delta=delta), [30.0], run, throw=False).result
    assert jax.jit(of)(jnp.asarray(-2.0)) == rs.RESULTS.parameter_outside


@pytest.mark.slow
def test_float32_reaches_a_high_peak():
    """Ten slope factors above the soft threshold, with derivatives that are right."""
    run = RUNS["AdEx"]._replace(peak=-30.0)

    def total(flat, dtype, tolerance):
        cast = lambda x: jnp.asarray(x, dtype)
        neuron = jax.tree.map(cast, N.AdEx())
        neuron = eqx.tree_at(lambda n: (n.delta, n.b, n.tau), neuron, tuple(flat))
        net = rs.SpikingNetwork(rs.Population(3, neuron, rs.HardThreshold(cast(run.peak))))
        engine = rs.EventByEvent(controller=dfx.PIDController(tolerance, tolerance))
        window = rs.Window(0.0, run.t1, run.dt)
        drive = cast(run.drive)
        sim = rs.simulate(net, drive, window, key=KEY, max_spikes=30, engine=engine, throw=False)
        return smooth(sim)[0][-1]

    at = np.array([2.0, 80.5 / 30, 281 / 30])
    found = {}
    for dtype, tolerance in ((jnp.float32, 1e-6), (jnp.float64, 1e-10)):
        run_it = lambda x, d=dtype, t=tolerance: total(x, d, t)
        along = jax.vmap(lambda x, d, f=run_it: jax.jvp(f, (x,), (d,)), (None, 0))
        (value, *_), slopes = jax.jit(along)(jnp.asarray(at, dtype), jnp.eye(3, dtype=dtype))
        assert value.dtype == slopes.dtype == dtype
        found[dtype] = value, slopes
    (value, slopes), exact = found[jnp.float32], found[jnp.float64]
    np.testing.assert_allclose(value, exact[0], rtol=1e-5)
    np.testing.assert_allclose(slopes, exact[1], rtol=1e-3)
