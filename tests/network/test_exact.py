"""Steps and crossings on the exact motion: networks of linear parts without noise, by default."""

import dataclasses

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import roughsnn as rs
from roughsnn._engine.joint import Joint
from roughsnn._event.polynomial import search
from roughsnn._model.layout import layout_of

from ..helpers import in_float32
from ..zoo import NEURONS, SYNAPSES, WEIGHTS, drive, population

REFERENCE = rs.EventByEvent(
    controller=dfx.PIDController(rtol=1e-10, atol=1e-10, pcoeff=0.3, icoeff=0.4), max_steps=20000
)


def simulated(net, c, t1, dt0, *, max_spikes, engine=None, **given):
    """Without noise, event by event."""
    engine = rs.EventByEvent() if engine is None else engine
    window = rs.Window(0.0, t1, dt0)
    return rs.simulate(net, c, window, key=jr.key(0), max_spikes=max_spikes, engine=engine, **given)


def differences(fn, p, ways, h):
    """Central ones of fourth order along each of some directions."""
    moved = lambda way, s: fn(jax.tree.map(lambda x, d: x + s * h * d, p, way))
    of = lambda way: (
        (8 * (moved(way, 1) - moved(way, -1)) - (moved(way, 2) - moved(way, -2))) / (12 * h)
    )
    return jax.lax.map(of, ways)


def assert_derivatives(fn, p, h, bound=1e-7):
    """AD is the difference, for each leaf along a direction of its own."""
    rng, leaves = np.random.default_rng(0), jax.tree.leaves(p)
    rows = []
    for n in range(len(leaves)):
        way = [np.zeros(x.shape) for x in leaves]
        way[n] = rng.normal(size=leaves[n].shape) * np.abs(leaves[n])
        rows.append(jax.tree.unflatten(jax.tree.structure(p), way))
    ways = jax.tree.map(lambda *x: jnp.stack(x), *rows)

    @jax.jit
    def both(p):
        gradient = jax.grad(fn)(p)
        dots = jax.tree.map(lambda g, d: jnp.sum(g[None] * d, range(1, d.ndim)), gradient, ways)
        return sum(jax.tree.leaves(dots)), differences(fn, p, ways, h)

    slope, difference = both(p)
    assert np.all(np.abs(difference) > 1e-4)
    np.testing.assert_allclose(slope, difference, rtol=bound)


def functional(sim):
    """A smooth function of spike times and of the state at the end."""
    times, marks = sim.spikes.times, sim.spikes.marks
    weight = jnp.cos(marks.astype(times.dtype) + 1.0)
    state = sum(jnp.sum(x) for x in jax.tree.leaves(sim.final.state))
    return jnp.sum(jnp.where(marks >= 0, times * weight, 0)) + 0.1 * state


@pytest.mark.parametrize("dt0", [2.0, 10.0])
def test_a_periodic_neuron(dt0):
    """tau log(c/(c - threshold)) from spike to spike, however long the cells."""
    c, tau, threshold = jnp.array([1.2, 3.0]), 8.0, 0.9
    neuron = rs.neurons.LIF(tau, rs.ResetTo(0.0))
    net = rs.SpikingNetwork(rs.Population(2, neuron, rs.HardThreshold(threshold)))
    spikes = simulated(net, c, 60.0, dt0, max_spikes=40).spikes
    for level, mine in zip(np.asarray(c), spikes.to_lists(), strict=True):
        period = tau * np.log(level / (level - threshold))
        assert len(mine) == int(60 / period)
        np.testing.assert_allclose(mine, period * np.arange(1, len(mine) + 1), rtol=2e-14)


SIZE = 12


def parameters():
    """Of a recurrent network, in milliseconds."""
    rng = np.random.default_rng(1)
    weights = 4 * rng.normal(size=(SIZE, SIZE)) / SIZE**0.5
    return {
        "weights": jnp.asarray(weights * (1 - np.eye(SIZE))),
        "tau": jnp.asarray(20.0),
        "tau_s": jnp.asarray(3.0),
        "threshold": jnp.asarray(1.0),
        "input": jnp.asarray(2.0 + 0.5 * rng.random(SIZE)),
    }


def recurrent(p, engine=None, t1=40.0, max_spikes=70):
    """Its simulation with cells of a millisecond."""
    neuron, firing = rs.neurons.LIF(p["tau"], rs.Subtract(1.0)), rs.HardThreshold(p["threshold"])
    ports = {"syn": rs.synapses.Exponential(p["tau_s"])}
    net = rs.SpikingNetwork(rs.Population(SIZE, neuron, firing, ports), weights=p["weights"])
    v = jnp.asarray(np.random.default_rng(2).random(SIZE), p["tau"].dtype)
    initial = {"v": 0.9 * v}
    return simulated(
        net, p["input"], t1, 1.0, max_spikes=max_spikes, engine=engine, initial=initial
    )


@pytest.mark.slow
def test_a_recurrent_network():
    """Against adaptive steps of order five; and in single precision."""
    p = parameters()
    found, wanted = recurrent(p).spikes, recurrent(p, REFERENCE).spikes
    assert int(wanted.count) > 30
    np.testing.assert_array_equal(found.marks, wanted.marks)
    known = wanted.marks >= 0
    np.testing.assert_allclose(found.times[known], wanted.times[known], rtol=0, atol=1e-7)
    single = recurrent(in_float32(p)).spikes
    np.testing.assert_array_equal(single.marks, wanted.marks)
    np.testing.assert_allclose(single.times[known], wanted.times[known], rtol=0, atol=1e-3)


@pytest.mark.slow
def test_derivatives_of_a_recurrent_network():
    assert_derivatives(lambda p: functional(recurrent(p)), parameters(), 1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("neuron", "synapse"),
    [
        ("GLIF5", "Alpha"),
        ("LIF", "DoubleExponential"),
        ("ResonateAndFire", "Exponential"),
    ],
)
def test_the_zoo(neuron, synapse):
    """With hard thresholds, against adaptive steps; and a derivative in all parameters."""
    firing = rs.HardThreshold(0.8)
    net = rs.SpikingNetwork(population(neuron, synapse, False, firing), weights=WEIGHTS)
    arrays, rest = eqx.partition(net, eqx.is_inexact_array)
    run = lambda arrays, engine=None: simulated(
        eqx.combine(arrays, rest), drive(neuron), 0.3, 0.02, max_spikes=40, engine=engine
    )
    found, wanted = run(arrays), run(arrays, REFERENCE)
    assert int(wanted.spikes.count) >= 6
    np.testing.assert_array_equal(found.spikes.marks, wanted.spikes.marks)
    known = wanted.spikes.marks >= 0
    gap = found.spikes.times[known] - wanted.spikes.times[known]
    assert np.max(np.abs(gap)) < 1e-8
    rng = np.random.default_rng(3)
    way = jax.tree.map(lambda x: jnp.asarray(0.1 * np.abs(x) * rng.normal(size=x.shape)), arrays)
    moved = lambda s: functional(run(jax.tree.map(lambda x, d: x + (s - 1) * d, arrays, way)))
    assert_derivatives(moved, jnp.ones(()), 3e-5)


def kicked(weight, dt0, *, number=1, tau=10.0, tau_s=0.5, level=0.0, **given):
    """Neurons at rest that an input spike at 1.3 kicks up and that fall back at once."""
    ports = {"syn": rs.synapses.Alpha(tau_s)}
    neuron = rs.neurons.LIF(tau, rs.Subtract(0.5))
    out = rs.Population(number, neuron, rs.HardThreshold(0.5), ports)
    feed = jnp.broadcast_to(weight, (1, number))
    net = rs.SpikingNetwork({"in": rs.Source(1), "out": out}, [rs.Projection("in", "out", feed)])
    train = rs.SpikeTrain.from_lists([[1.3]], t0=0.0, t1=16.0)
    c = jnp.full(number, level)
    return simulated(net, c, 16.0, dt0, max_spikes=6, inputs={"in": train}, **given)


def peak(weight=1.0):
    """The largest potential in response to the kick, and when."""
    fine = jnp.linspace(1.3, 16.0, 20001)
    engine = rs.EventByEvent(saveat=dfx.SaveAt(ts=fine))
    v = kicked(0.01 * weight, 0.5, engine=engine).states.ys["out"]["v"][:, 0]
    return 100 * float(jnp.max(v)), float(fine[jnp.argmax(v)])


@pytest.mark.slow
def test_above_the_threshold_and_below_again_within_a_step():
    """The potential peaks within a cell; by a hair above the threshold it fires, by a hair below
    it does not."""
    highest, _ = peak()
    just = 0.5 / highest
    for over, count in ((1e-4, 1), (0.2, 1), (-1e-4, 0)):
        weight = jnp.asarray(just * (1 + over))
        coarse, fine = kicked(weight, 16.0).spikes, kicked(weight, 0.05).spikes
        assert int(coarse.count) == int(fine.count) == count, over
        np.testing.assert_allclose(coarse.times[:count], fine.times[:count], rtol=1e-10)
    time = lambda weight: kicked(weight, 16.0).spikes.times[0]
    assert_derivatives(time, jnp.asarray(1.2 * just), 1e-4)


def test_neurons_that_rise_and_fall_together_fire_together():
    weight = jnp.asarray(0.6 / peak()[0])
    alone = kicked(weight, 16.0).spikes.to_lists()[0]
    assert len(alone) == 1
    for mine in kicked(weight, 16.0, number=3).spikes.to_lists():
        np.testing.assert_allclose(mine, alone, rtol=1e-14)


@pytest.mark.filterwarnings("ignore::roughsnn.StepWarning")
@pytest.mark.parametrize("tau_s", [0.5, 0.1, 0.02])
def test_synapses_much_faster_than_a_cell(tau_s):
    """Cells of 2, 10 and 50 of their time constants."""
    weight = jnp.asarray(2.2 / tau_s)
    coarse = kicked(weight, 1.0, tau_s=tau_s, level=0.45).spikes
    fine = kicked(weight, 0.01, tau_s=tau_s, level=0.45).spikes
    assert int(coarse.count) == int(fine.count) >= 1
    np.testing.assert_allclose(coarse.times, fine.times, rtol=1e-6 if tau_s < 0.1 else 1e-11)


def test_a_drive_that_is_linear_in_time():
    """v of LIF under a + b t, and where it crosses."""
    tau, a, b, threshold = 5.0, 0.3, 0.2, 0.6
    net = rs.SpikingNetwork(rs.Population(1, rs.neurons.LIF(tau), rs.HardThreshold(threshold)))
    sim = simulated(net, lambda t: jnp.stack([a + b * t]), 6.0, 6.0, max_spikes=1)
    t = float(sim.spikes.times[0])
    v = a + b * (t - tau) - (a - b * tau) * np.exp(-t / tau)
    np.testing.assert_allclose(v, threshold, rtol=1e-13)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::roughsnn.StepWarning")
def test_hidden_states_have_high_order():
    """Spikes of a rate on an exact potential: at the end of a step of order eight, and inside of
    it of order five, once for each spike."""
    firing = rs.StochasticFiring(rs.ExponentialIntensity(4.0, 1.0, 1.0), 0.03)
    net = rs.SpikingNetwork(population("LIF", "Exponential", False, firing), weights=WEIGHTS)
    train = lambda dt0: simulated(net, 1.5 * drive("LIF"), 0.6, dt0, max_spikes=60).spikes
    fine, errors = train(0.0025), []
    known = np.asarray(fine.marks) >= 0
    assert np.sum(known) > 8
    for dt0 in (0.06, 0.03, 0.015, 0.0075):
        found = train(dt0)
        np.testing.assert_array_equal(found.marks, fine.marks)
        errors.append(np.mean(np.square((found.times - fine.times)[known])) ** 0.5)
    # Where in a cell a spike falls makes single slopes uneven.
    order = np.log2(errors[0] / errors[-1]) / 3
    assert order > 4.3 and errors[-1] < 3e-9, (errors, order)


@pytest.mark.slow
def test_derivatives_of_hidden_states():
    def run(p):
        firing = rs.StochasticFiring(rs.ExponentialIntensity(p["beta"]), p["alpha"])
        neuron, port = rs.neurons.LIF(p["tau"]), rs.synapses.Exponential(p["tau_s"])
        net = rs.SpikingNetwork(
            rs.Population(3, neuron, firing, {"syn": port}), weights=p["weights"]
        )
        return functional(simulated(net, p["input"], 0.5, 0.02, max_spikes=60))

    p = {
        "beta": 5.0,
        "alpha": 0.03,
        "tau": 0.07,
        "tau_s": 0.05,
        "weights": WEIGHTS,
        "input": 1.5 * drive("LIF"),
    }
    assert_derivatives(run, jax.tree.map(jnp.asarray, p), 1e-4)


def test_the_first_root_is_found():
    """Of random polynomials, against their roots."""
    rng, degree = np.random.default_rng(0), 7
    c = rng.normal(size=(degree + 1, 4000)) * 3.0 ** -np.arange(degree + 1)[:, None]
    c[0] = -0.1 * np.abs(c[0])
    one = lambda c: search(c[:, None], jnp.sum(c)[None], jnp.array(True))
    found = jax.device_get(jax.jit(jax.vmap(one, 1))(jnp.asarray(c)))
    humps = 0
    for k in range(c.shape[1]):
        roots = np.roots(c[::-1, k])
        real = np.sort(roots[np.abs(roots.imag) < 1e-7].real)
        inside = real[(real > 0) & (real < 1)]
        assert bool(found.found[k, 0]) == (len(inside) > 0), (k, roots)
        if len(inside):
            np.testing.assert_allclose(found.x[k, 0], inside[0], rtol=1e-8, atol=1e-10)
            humps += c[:, k].sum() < 0
    assert humps > 20


@pytest.mark.parametrize("synapse", SYNAPSES)
@pytest.mark.parametrize("neuron", NEURONS)
def test_maps(neuron, synapse):
    """Against exponentials of the matrix, by its eigenvectors; `radius` bounds the eigenvalues."""
    pop = population(neuron, synapse, False)
    net = rs.SpikingNetwork(pop, weights=WEIGHTS)
    joint = Joint.of(layout_of(net, [()]).groups[0], jnp.float64)
    zero = lambda x: 0.0 if x is None else float(np.ravel(x)[0])
    a = np.array([[zero(x) for x in row] for row in joint.matrix])
    assert np.max(np.abs(np.linalg.eigvals(a))) <= float(joint.radius) < 300
    r = 0.05
    maps = [m for m in joint.maps(jnp.asarray(r), True) if m is not None]
    found = [np.array([[zero(x) for x in row] for row in m]) for m in maps]
    # The exponential of (a, 1; 0, 0) and so on has the others as its blocks, by a long series.
    size = len(a)
    big = np.zeros((3 * size, 3 * size))
    big[:size, :size], big[:size, size : 2 * size] = a, np.eye(size)
    big[size : 2 * size, 2 * size :] = np.eye(size)
    total = term = np.eye(3 * size)
    for k in range(1, 60):
        term = term @ big * (r / 1024) / k
        total = total + term
    for _ in range(10):
        total = total @ total
    for k in (1, 2):
        exact = total[:size, k * size : (k + 1) * size]
        np.testing.assert_allclose(found[k - 1], exact, rtol=1e-11, atol=1e-13)


@pytest.mark.slow
def test_other_solvers_and_root_finders_may_be_given():
    """A root finder of one's own on exact steps, which sees only what is above at their ends."""
    p = parameters()
    wanted = recurrent(p).spikes
    for engine, error in (
        (rs.EventByEvent(root_finder=rs.Chandrupatla()), 1e-9),
        # Its interpolant is of order four.
        (rs.EventByEvent(solver=dfx.Tsit5()), 1e-4),
    ):
        found = recurrent(p, dataclasses.replace(engine)).spikes
        np.testing.assert_array_equal(found.marks, wanted.marks)
        known = wanted.marks >= 0
        np.testing.assert_allclose(found.times[known], wanted.times[known], rtol=0, atol=error)
