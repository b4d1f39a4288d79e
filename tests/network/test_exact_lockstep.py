"""Lockstep on the exact motion: the spikes of the event engine, however long the cells."""

from typing import Any

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import roughsnn as rs
from roughsnn._engine import sources

from ..helpers import Wave, check_along_a_direction, compilations, in_float32, set_limit, smooth
from ..zoo import WEIGHTS as OF_THREE
from ..zoo import drive, population
from . import test_delays as delays

EXACT, EVENT = rs.Lockstep(exact=True), rs.EventByEvent()
DT = 0.012
HARD = rs.HardThreshold(1.0)
TRAIN = rs.SpikeTrain.from_lists(
    [[0.11, 0.13, 0.3, 0.35], [0.052, 0.09, 0.31]], t0=0.0, t1=0.48, max_spikes=9
)


def hard(net: rs.SpikingNetwork, **options) -> rs.SpikingNetwork:
    """The same without noise, with hard thresholds."""
    neuron = rs.neurons.LIF(0.07, rs.Subtract(1.0))
    parts = {
        name: rs.Population(p.size, neuron, HARD, p.ports, **options)
        if isinstance(p, rs.Population)
        else p
        for name, p in net.populations.items()
    }
    return rs.SpikingNetwork(parts, net.projections)


def zoo(neuron: str, synapse: str) -> rs.SpikingNetwork:
    own = population(neuron, synapse, False, rs.HardThreshold(0.8))
    return rs.SpikingNetwork({"n": own}, [rs.Projection("n", "n", 0.4 * OF_THREE, delay=0.021)])


def of_their_own() -> rs.SpikingNetwork:
    """Every neuron with time constants of its own, two ports, and what they read out."""
    neuron = rs.neurons.AdaptiveLIF(np.linspace(0.05, 0.09, 4), 0.2, 0.3, rs.Subtract(1.0))
    ports = {
        "slow": rs.synapses.Alpha(np.linspace(0.01, 0.03, 4)),
        "fast": rs.synapses.Exponential(np.linspace(0.02, 0.05, 4)),
    }
    own = rs.Population(4, neuron, HARD, ports)
    out = rs.Population(4, rs.neurons.LIF(0.1), None, {"syn": rs.synapses.Exponential(0.03)})
    return rs.SpikingNetwork(
        {"n": own, "out": out},
        [
            rs.Projection("n", "n", delays.WEIGHTS, "slow", delay=0.034),
            rs.Projection("n", "n", delays.LISTS, "fast", delay=delays.EACH[:, :2]),
            rs.Projection("n", "out", delays.WEIGHTS),
        ],
    )


def plastic() -> rs.SpikingNetwork:
    own = rs.Population(4, rs.neurons.LIF(0.07), HARD, {"syn": rs.synapses.Exponential(0.05)})
    rule = rs.synapses.TsodyksMarkram(0.6, 0.3, 0.2)
    return rs.SpikingNetwork(
        {"in": rs.Source(2), "n": own},
        [
            rs.Projection("n", "n", delays.WEIGHTS, delay=0.021, plasticity=rule),
            rs.Projection("n", "n", delays.WEIGHTS, delay=delays.EACH, plasticity=rule),
            rs.Projection("in", "n", delays.WIDE, plasticity=rule),
        ],
    )


def layered() -> rs.SpikingNetwork:
    """Each fires by what the one before sends in the same cell."""
    part = rs.Population(4, rs.neurons.LIF(0.07), HARD, {"syn": rs.synapses.Exponential(0.05)})
    there = 0.6 * np.abs(delays.WEIGHTS)
    return rs.SpikingNetwork(
        {"a": part, "b": part, "c": part},
        [
            rs.Projection("a", "b", there),
            rs.Projection("b", "c", there),
            rs.Projection("a", "c", delays.LISTS),
            rs.Projection("c", "a", delays.WEIGHTS, delay=0.02),
        ],
    )


OF_DELAYS = "rows", "each", "lists", "lists-each", "populations-each", "back"
OF_DELAYS += "source", "source-each", "source-twice"
OF_ZOO = ("GLIF5", "Alpha"), ("ResonateAndFire", "Exponential"), ("LIF", "DoubleExponential")
NETWORKS = {
    **{name: lambda name=name: hard(delays.NETWORKS[name]()) for name in OF_DELAYS},
    **{"-".join(pair): lambda pair=pair: zoo(*pair) for pair in OF_ZOO},
    "refractory": lambda: hard(delays.recurrent(delays.WEIGHTS, 0.034), refractory=0.0233),
    "of-their-own": of_their_own,
    "plastic": plastic,
    "layers-exact": layered,
}


def simulated(
    net: rs.SpikingNetwork, engine: Any = EXACT, dt: float = DT, t1: float = 0.48, **options
):
    name = next(iter(net.simulated))
    c: Any = drive(type(net.simulated[name].neuron).__name__) if net.num_neurons == 3 else None
    c = jnp.linspace(1.95, 1.6, net.num_neurons) if c is None else c
    inputs = {"in": TRAIN} if "in" in net.names else {}
    options = dict[str, Any](key=jr.key(5), max_spikes=120, inputs=inputs, drive=c) | options
    c = options.pop("drive")
    return rs.simulate(net, c, rs.Window(0.0, t1, dt), engine=engine, **options)


def assert_same(found, wanted, bound: float = 1e-10):
    """The same spikes."""
    assert int(wanted.count) >= 8
    np.testing.assert_array_equal(found.marks, wanted.marks)
    np.testing.assert_allclose(found.times, wanted.times, rtol=0, atol=bound)


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_spikes_and_states_are_those_of_the_event_engine(name):
    net = NETWORKS[name]()
    found, wanted = simulated(net), simulated(net, EVENT)
    assert_same(found.spikes, wanted.spikes)
    states = (jax.tree.leaves(sim.final.state.groups) for sim in (found, wanted))
    for a, b in zip(*states, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-9)


@pytest.mark.slow
def test_spikes_do_not_depend_on_the_cells():
    net = NETWORKS["rows"]()
    wanted = simulated(net, dt=0.002)
    for dt in (0.0051, 0.015):
        assert_same(simulated(net, dt=dt).spikes, wanted.spikes)


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_derivatives_are_differences(name):
    check_along_a_direction(simulated, NETWORKS[name]())


@pytest.mark.slow
def test_gradients_are_those_of_the_event_engine():
    """In reverse mode, in every parameter, and derivatives of these along a direction."""
    arrays, rest = eqx.partition(NETWORKS["each"](), eqx.is_inexact_array)
    rng = np.random.default_rng(3)
    way = jax.tree.map(lambda x: jnp.asarray(np.abs(x) * rng.normal(size=x.shape)), arrays)

    def slopes(engine):
        fn = lambda arrays: jnp.sum(smooth(simulated(eqx.combine(arrays, rest), engine))[0])
        return jax.jit(lambda: jax.jvp(jax.grad(fn), (arrays,), (way,)))()

    for a, b in zip(*map(jax.tree.leaves, map(slopes, (EXACT, EVENT))), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-7 * float(np.max(np.abs(b), initial=0)))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["source-each", "plastic"])
def test_windows_go_on(name):
    """Two windows are one, to rounding; the last cell may be shorter than the others."""
    net = NETWORKS[name]()
    whole = simulated(net)
    options: dict[str, Any] = {}
    trains = []
    inputs = {"in": TRAIN} if "in" in net.names else {}
    for window in (rs.Window(0.0, 0.24, DT), rs.Window(0.24, 0.48, DT)):
        cut = {k: v.window(window.t0, window.t1) for k, v in inputs.items()}
        sim = rs.simulate(
            net,
            jnp.linspace(1.95, 1.6, 4),
            window,
            key=jr.key(5),
            max_spikes=60,
            engine=EXACT,
            inputs=cut,
            **options,
        )
        options = dict(initial=sim.final)
        trains.append(sim.spikes)
    found = np.concatenate([np.sort(t.times[t.marks >= 0]) for t in trains])
    np.testing.assert_allclose(found, whole.spikes.times[: len(found)], rtol=0, atol=1e-12)
    assert len(found) == int(whole.spikes.count)
    assert_same(simulated(net, dt=0.0173).spikes, whole.spikes)


@pytest.mark.slow
def test_a_source_with_more_spikes_in_a_cell_than_are_looked_at(monkeypatch):
    """Then all of its spikes are."""
    net = NETWORKS["source"]()
    wanted = simulated(net, EVENT)
    for name in ("_FEW", "_TIMES"):
        set_limit(monkeypatch, sources, name, 1)
    assert_same(simulated(net, dt=0.02).spikes, wanted.spikes)


@pytest.mark.slow
def test_other_numbers_compile_nothing():
    net = NETWORKS["source-each"]()
    arrays, rest = eqx.partition(net, eqx.is_inexact_array)
    moved = eqx.combine(jax.tree.map(lambda x: 1.01 * x, arrays), rest)
    c = jnp.linspace(1.95, 1.6, 4)
    simulated(net, drive=c)
    c, moved = jax.block_until_ready((1.02 * c, moved))
    with compilations() as found:
        simulated(moved, drive=c)
    assert not found


@pytest.mark.slow
def test_in_blocks_and_with_all_stored():
    """The gradient does not depend on what is kept of the loop."""
    net = NETWORKS["each"]()
    arrays, rest = eqx.partition(net, eqx.is_inexact_array)

    def gradient(adjoint):
        engine = rs.Lockstep(adjoint=adjoint, exact=True)
        fn = lambda arrays: jnp.sum(smooth(simulated(eqx.combine(arrays, rest), engine))[0])
        return jax.tree.leaves(jax.jit(jax.grad(fn))(arrays))

    wanted = gradient(rs.DirectAdjoint())
    for a, b in zip(gradient(rs.CheckpointAdjoint(8)), wanted, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


def test_the_end_of_plain_lockstep_is_no_start():
    """Its neurons may be above their thresholds, with spikes that are late."""
    net = NETWORKS["rows"]()
    end = simulated(net, rs.Lockstep()).final
    with pytest.raises(ValueError, match="of Lockstep,.* this one is of Lockstep.exact=True."):
        simulated(net, initial=end)


@pytest.mark.slow
def test_states_inside_of_cells():
    """Between arrivals, just before and behind spikes, and with the spikes of a source."""
    net = NETWORKS["source-each"]()
    ts = jnp.asarray(np.linspace(0.003, 0.477, 79))
    found = simulated(net, rs.Lockstep(record={"v": ts, "syn": ts}, exact=True)).states
    saved = simulated(net, rs.EventByEvent(saveat=dfx.SaveAt(ts=ts))).states.ys
    for name, own in found.items():
        np.testing.assert_allclose(own, saved[name], rtol=0, atol=1e-9)


@pytest.mark.slow
def test_a_drive_that_changes():
    """A straight line in each cell is no approximation; another one is of second order."""
    net = NETWORKS["rows"]()
    ramp = lambda t: delays.DRIVE * (1 + 0.5 * t)
    assert_same(simulated(net, drive=ramp).spikes, simulated(net, EVENT, drive=ramp).spikes)
    wave, errors = Wave(delays.DRIVE), []
    wanted = simulated(net, EVENT, dt=0.48 / 1024, drive=wave).spikes
    for cells in (32, 64):
        found = simulated(net, dt=0.48 / cells, drive=wave).spikes
        gaps = np.abs(found.times - wanted.times)[wanted.marks >= 0]
        errors.append(np.max(gaps))
    assert errors[1] < errors[0] / 3


@pytest.mark.slow
def test_free_above_the_threshold():
    """It fires just when it is free, and as late as that is; at the start at once."""
    neuron = rs.neurons.LIF(0.07, rs.Subtract(1.0))

    def times(hold):
        net = rs.SpikingNetwork(rs.Population(1, neuron, HARD, refractory=hold))
        window = rs.Window(0.0, 0.3, 0.04)
        return rs.simulate(
            net,
            jnp.array([30.0]),
            window,
            key=jr.key(0),
            max_spikes=9,
            engine=EXACT,
            initial={"v": jnp.array([1.5])},
        ).spikes.times[:6]

    hold = 0.047
    np.testing.assert_allclose(times(hold), hold * np.arange(6), atol=1e-14)
    slopes = jax.jacfwd(times)(hold)
    np.testing.assert_allclose(slopes, np.arange(6), atol=1e-12)


def test_two_spikes_in_a_cell_are_a_failure():
    net = rs.SpikingNetwork(rs.Population(1, rs.neurons.LIF(0.07, rs.Subtract(1.0)), HARD))
    run = lambda dt: rs.simulate(
        net,
        jnp.array([3.0]),
        rs.Window(0.0, 0.4, dt),
        key=jr.key(0),
        max_spikes=30,
        engine=EXACT,
        throw=False,
    )
    assert run(0.02).result == rs.RESULTS.successful
    assert run(0.1).result == rs.RESULTS.crowded_cell


@pytest.mark.slow
def test_batches_and_single_precision():
    """Samples with weights of their own, and float32."""
    net = NETWORKS["source"]()
    scales = jnp.array([0.8, 1.0, 1.2])
    weights = net.projections[1].weights

    def times(scale):
        own = eqx.tree_at(lambda n: n.projections[1].weights, net, scale * weights)
        return simulated(own).spikes.times[:10]

    every = jax.vmap(times)(scales)
    slopes = jax.vmap(jax.jacfwd(times))(scales)
    for scale, one, slope in zip(scales, every, slopes, strict=True):
        np.testing.assert_allclose(one, times(scale), rtol=1e-12)
        rise = (times(scale + 1e-6) - times(scale - 1e-6)) / 2e-6
        np.testing.assert_allclose(slope, rise, rtol=1e-5, atol=1e-7)
    single = in_float32(net)
    train = in_float32(TRAIN)
    found = simulated(
        single, drive=jnp.linspace(1.95, 1.6, 4, dtype=jnp.float32), inputs={"in": train}
    ).spikes
    assert found.times.dtype == jnp.float32
    assert_same(found, simulated(net).spikes, 1e-5)


def refused(name: str) -> rs.SpikingNetwork:
    plain = rs.neurons.LIF(0.07)
    ports = {"syn": rs.synapses.Exponential(0.05)}
    part = rs.Population(4, plain, HARD, ports)
    random = rs.StochasticFiring(rs.ExponentialIntensity(), 0.03)
    learning = rs.synapses.PairSTDP(*[0.1] * 4, w_max=1.0)
    return {
        "noise": lambda: delays.recurrent(delays.WEIGHTS, 0.034),
        "hazard": lambda: rs.SpikingNetwork({"n": rs.Population(4, plain, random)}),
        "loop": lambda: rs.SpikingNetwork({"n": part}, [rs.Projection("n", "n", delays.WEIGHTS)]),
        "poisson": lambda: rs.SpikingNetwork(
            {"noise": rs.Poisson(4, 20.0), "n": part},
            [rs.Projection("noise", "n", delays.WEIGHTS)],
        ),
        "quadratic": lambda: rs.SpikingNetwork(
            {"n": rs.Population(4, rs.neurons.QIF(0.02), rs.HardThreshold(10.0))}
        ),
        "learning": lambda: rs.SpikingNetwork(
            {"n": part, "out": part},
            [rs.Projection("n", "out", np.abs(delays.WEIGHTS), plasticity=learning)],
        ),
    }[name]()


@pytest.mark.parametrize(
    "name, message",
    [
        ("noise", "without noise"),
        ("hazard", "needs a HardThreshold, got a StochasticFiring for 'n'"),
        ("loop", "needs a delay of at least `dt0` in each loop.* 'n' onto 'n'"),
        ("poisson", "no Poisson population, got 'noise': .*Source"),
        ("quadratic", "needs linear neurons and synapses.*'n'"),
        ("learning", r"no weights that learn.*projections\[0\]"),
    ],
)
def test_what_has_no_exact_motion_is_refused(name, message):
    with pytest.raises(ValueError, match=rf"`Lockstep\(exact=True\)` .*{message}"):
        simulated(refused(name))


@pytest.mark.slow
def test_a_drive_that_jumps_inside_of_a_cell_is_refused():
    net = NETWORKS["rows"]()
    jumps = lambda t: rs.StepPath([t], [delays.DRIVE, 2 * delays.DRIVE])
    assert_same(
        simulated(net, drive=jumps(10 * DT)).spikes,
        simulated(net, EVENT, drive=jumps(10 * DT)).spikes,
    )
    with pytest.raises(ValueError, match="jumps between cells only"):
        simulated(net, drive=jumps(10.5 * DT))
    with pytest.raises(TypeError, match="`exact`"):
        rs.Lockstep(exact=1)  # pyright: ignore[reportArgumentType]
