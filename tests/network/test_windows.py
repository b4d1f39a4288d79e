"""Time in windows: nothing depends on where it is counted from, or on how it is cut."""

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

from ..helpers import ENGINES, recurrent_network, recurrent_parameters

P = recurrent_parameters()
ROOM: Any = dict(key=jr.key(3), max_spikes=200)


class Wave(eqx.Module):
    """A drive that depends on time."""

    level: jax.Array

    def __call__(self, t):
        return self.level * (1 + 0.3 * jnp.sin(7 * t))


def in_float32(tree):
    return jax.tree.map(lambda x: x.astype(jnp.float32) if eqx.is_inexact_array(x) else x, tree)


@pytest.mark.parametrize("t0", [5.0, -3.0])
@pytest.mark.parametrize("method", ENGINES)
def test_another_start_moves_the_times_alone(method, t0):
    inputs = rs.SpikeTrain.from_lists([[0.103, 0.251, 0.317]], t0=0.0, t1=0.5)
    weights = np.array([[0.8, 0.0, -0.4]])

    @eqx.filter_jit
    def run(p, t0):
        spikes = inputs.in_frame(t0, t0 + 0.5)
        return rs.simulate(
            recurrent_network(p),
            Wave(p["input"]) if t0 == 0 else lambda t: Wave(p["input"])(t - t0),
            rs.Window(t0, t0 + 0.5, 0.01, edges=(t0 + 0.2,)),
            inputs=rs.SpikeInput(spikes, weights),
            engine=ENGINES[method],
            **ROOM,
        ).spikes

    here, there = run(P, 0.0), run(P, t0)
    known = np.asarray(here.marks) >= 0
    assert known.sum() >= 4
    np.testing.assert_array_equal(there.marks, here.marks)
    np.testing.assert_allclose(there.times[known] - t0, here.times[known], atol=1e-13)
    assert there.boundary is not None and here.boundary is not None
    assert there.boundary.ts == (t0 + 0.2, t0 + 0.5)
    np.testing.assert_allclose(there.boundary.excess, here.boundary.excess, atol=1e-12)


@pytest.mark.parametrize("shift", [7200.0, 1e5, 1.7e9])
def test_the_origin_changes_nothing_in_float32(shift):
    """Recordings of a second that begin at another time: likelihood, its gradient, losses."""
    net = in_float32(recurrent_network(P))
    # Numbers that float64 holds wherever the clock starts.
    grain = 2.0**-20
    rng = np.random.default_rng(0)
    lists = [np.sort(rng.choice(2**19, 12, replace=False)) * grain + 0.2 for _ in range(3)]
    lists = [np.round(times / grain) * grain for times in lists]

    @eqx.filter_jit
    def measured(net, train):
        def likelihood(net):
            window = rs.Window(0.0, 1.0, 0.01)
            drive = jnp.array([1.2, 1.0, 0.9], jnp.float32)
            return jnp.sum(rs.clamp(net, drive, train, window, key=jr.key(1)).log_likelihood)

        value, gradient = eqx.filter_value_and_grad(likelihood)(net)
        batch = jax.tree.map(lambda x: x[None], train)
        ts = jnp.array([0.25, 0.5, 0.9], jnp.float32)
        return value, gradient, rs.losses.psth(batch, ts, 0.1), rs.losses.filtered(train, ts, 0.1)

    found = []
    for origin in (0.0, shift):
        session = rs.io.Session([t + origin for t in lists], t0=origin, t1=origin + 1.0)
        train = in_float32(session.train())
        assert float(train.origin) == origin
        assert train.times.dtype == jnp.float32
        assert (train.t0, train.t1) == (0.0, 1.0)
        found.append(measured(net, train))
    for a, b in zip(*map(jax.tree.leaves, found), strict=True):
        np.testing.assert_array_equal(a, b)


def test_times_that_the_precision_cannot_hold_are_refused():
    jax.config.update("jax_enable_x64", False)
    try:
        assert rs.Window(0.0, 1.0, 0.01, origin=1.7e9).origin == 1.7e9
        with pytest.raises(ValueError, match=r"too far from 0.*origin=7200\.0"):
            rs.Window(7200.0, 7201.0, 1e-3)
        with pytest.raises(ValueError, match="neuron 1 at 3599.9.*are one in float32"):
            rs.SpikeTrain.from_lists([[0.1], [3599.9, 3599.900001]], t0=0.0, t1=3600.0)
        # A spike just before the end stays before it.
        train = rs.SpikeTrain.from_lists([[1.0 - 1e-12]], t0=0.0, t1=1.0)
        assert float(train.times[0]) < 1.0
    finally:
        jax.config.update("jax_enable_x64", True)


def test_the_origin_passes_through_batches_and_programs():
    trains = [
        rs.SpikeTrain.from_lists([[0.1 * n]], t0=0.0, t1=1.0, origin=1.7e9 + n / 3)
        for n in range(4)
    ]
    batch = jax.jit(jax.vmap(lambda train: train.window(0.05, 1.0)))(rs.SpikeTrain.stack(trains))
    np.testing.assert_array_equal(batch.origin, 1.7e9 + np.arange(4) / 3)
    assert not bool(trains[1].equals(rs.SpikeTrain.from_lists([[0.1]], t0=0.0, t1=1.0)))
    with pytest.raises(TypeError, match="outside of `jit`"):
        jax.jit(lambda train: train.origin)(trains[0])


def firing(hard: bool):
    size = 1.0 if hard else 1.4
    noise = ((0.0, 0.0), (0.0, 0.3)) if hard else ((0.25, 0.0), (0.0, 0.1))
    weights = (0.1 if hard else 0.3) * np.array(jr.normal(jr.key(9), (6, 6)))
    np.fill_diagonal(weights, 0)
    return rs.SpikingNetwork(
        rs.LIF((15.0, 6.0), noise, size),
        rs.ThresholdFiring(1.0)
        if hard
        else rs.StochasticFiring(rs.ExponentialIntensity(5.0, 1.0), 0.03),
        jnp.asarray(weights),
    )


def one_by_one(net, cuts, method, save=None):
    """Simulations of windows, one after the other, of a second together."""
    found, initial, start = [], None, 0.0
    drive = Wave(jnp.linspace(1.1, 1.6, 6, dtype=net.weights.dtype))
    for length in cuts:
        window = rs.Window(0.0, length, 0.01, origin=start)
        sim = rs.simulate(
            net,
            drive,
            window,
            initial=initial,
            key=jr.key(0),
            max_spikes=800,
            engine=ENGINES[method],
        )
        found.append(sim)
        start, initial = start + length, sim.final
        if save is not None:
            eqx.tree_serialise_leaves(save, initial)
            initial = eqx.tree_deserialise_leaves(save, jax.tree.map(jnp.zeros_like, initial))
    return found


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("method", ENGINES)
def test_two_windows_are_the_whole_bit_for_bit(method, hard, dtype, tmp_path):
    """Also where the end of the first was written to a file and read again."""
    net = firing(hard)
    net = in_float32(net) if dtype == "float32" else net
    (whole,) = one_by_one(net, [1.0], method)
    assert int(whole.spikes.count) >= 50
    for cuts, save in (([0.37, 0.63], tmp_path / "final.eqx"), ([0.01, 0.5, 0.49], None)):
        parts = one_by_one(net, cuts, method, save)
        for a, b in zip(*map(jax.tree.leaves, (whole.final, parts[-1].final)), strict=True):
            np.testing.assert_array_equal(a, b)
        trains = [part.spikes for part in parts]
        assert sum(int(train.count) for train in trains) == int(whole.spikes.count)
        marks = np.concatenate([train.marks[: int(train.count)] for train in trains])
        times = [np.asarray(t.times[: int(t.count)], float) + t.origin for t in trains]
        there = np.asarray(whole.spikes.marks) >= 0
        np.testing.assert_array_equal(marks, whole.spikes.marks[there])
        tolerance = 1e-14 if dtype == "float64" else 3e-7
        np.testing.assert_allclose(np.concatenate(times), whole.spikes.times[there], atol=tolerance)


def test_late_spikes_are_told_once():
    """Strong input, where some neurons are late at the border: found again, not told again."""
    net = firing(False)
    net = rs.SpikingNetwork(
        net.membrane, net.firing, 0.1 * jr.normal(jr.key(9), (6, 6)) * (1 - jnp.eye(6))
    )

    def run(key, window, initial=None):
        drive = 2 * jnp.linspace(1.1, 1.6, 6)
        return rs.simulate(net, drive, window, key=key, max_spikes=300, initial=initial)

    def both(key):
        whole, first = run(key, rs.Window(0.0, 0.4, 0.02)), run(key, rs.Window(0.0, 0.3, 0.02))
        second = run(key, rs.Window(0.0, 0.1, 0.02), first.final)
        counts = first.spikes.counts() + second.spikes.counts()
        return (whole.final, whole.spikes.counts()), (second.final, counts), first.final.told

    whole, parts, told = jax.jit(jax.vmap(both))(jr.split(jr.key(0), 64))
    assert int(jnp.sum(told)) >= 5
    for a, b in zip(*map(jax.tree.leaves, (whole, parts)), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("method", ENGINES)
def test_derivatives_pass_from_window_to_window(method):
    net = firing(False)

    def last(scale, cuts):
        drive, final = Wave(scale * jnp.linspace(1.1, 1.6, 6)), None
        for length in cuts:
            options: Any = dict(initial=final, engine=ENGINES[method], **ROOM)
            final = rs.simulate(net, drive, rs.Window(0.0, length, 0.01), **options).final
        assert final is not None
        return final.state

    @functools.partial(jax.jit, static_argnums=0)
    def slope(cuts):
        return jax.jvp(lambda scale: last(scale, cuts), (1.0,), (1.0,))

    whole, parts = slope((0.6,)), slope((0.25, 0.35))
    for a, b in zip(*map(jax.tree.leaves, (whole, parts)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("method", ENGINES)
def test_rows_belong_to_their_window(method):
    net, rows = firing(False), 1.2 + 0.3 * np.asarray(jr.normal(jr.key(5), (40, 6)))

    def run(rows, window, initial):
        options: Any = dict(initial=initial, engine=ENGINES[method], **ROOM)
        return rs.simulate(net, rows, window, **options)

    whole = run(rows, rs.Window(0.0, 0.4, 0.01), None)
    first = run(rows[:20], rs.Window(0.0, 0.2, 0.01), None)
    second = run(rows[20:], rs.Window(0.0, 0.2, 0.01).next(), first.final)
    assert float(second.spikes.origin) == 0.2
    for a, b in zip(*map(jax.tree.leaves, (whole.final, second.final)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)


def test_where_no_window_can_go_on():
    net, drive = firing(False), jnp.full(6, 1.3)
    window = rs.Window(0.0, 0.2, 0.01)
    run = lambda window=window, net=net, **options: rs.simulate(
        net, drive[: net.num_neurons], window, **ROOM | options
    )
    for odd in (rs.Window(0.0, 0.205, 0.01), rs.Window(0.0, 0.2, 0.01, stop_after=1)):
        with pytest.raises(ValueError, match="whole number of cells"):
            print(run(odd).final)
    final = run().final
    with pytest.raises(ValueError, match="of another simulation: of Lockstep.*dt0=0.01, where"):
        run(rs.Window(0.0, 0.2, 0.02), initial=final)
    with pytest.raises(ValueError, match="of Lockstep.*this one is of EventByEvent"):
        run(initial=final, engine=rs.EventByEvent())
    with pytest.raises(ValueError, match="StochasticFiring.*ThresholdFiring"):
        run(net=firing(True), initial=final)
    other = rs.SpikingNetwork(net.membrane, net.firing, jnp.zeros((2, 2)))
    with pytest.raises(ValueError, match="6 neurons.*2 neurons"):
        run(net=other, initial=final)
    failed = rs.simulate(net, 3 * drive, window, key=jr.key(0), max_spikes=2, throw=False).final
    with pytest.raises(ValueError, match="simulation that failed"):
        run(initial=failed)
    train = rs.SpikeTrain.from_lists([[0.1]] + [[]] * 5, t0=0.0, t1=0.2)
    with pytest.raises(TypeError, match=r"`initial` of a clamped network"):
        rs.clamp(net, drive, train, window, key=jr.key(0), initial=final)


@pytest.mark.parametrize("method", ENGINES)
def test_neurons_that_reach_the_threshold_together_all_fire(method):
    """And then inhibit one another; a little apart, the first keeps the other from it."""
    weights = jnp.array([[0.0, -3.0], [-3.0, 0.0]])
    net = rs.SpikingNetwork(rs.LIF((15.0, 6.0), v_reset=1.0), rs.ThresholdFiring(1.0), weights)
    window = rs.Window(0.0, 0.6, 0.00125)
    run = lambda drive: rs.simulate(net, drive, window, engine=ENGINES[method], **ROOM).spikes
    tied, apart = run(jnp.array([1.5, 1.5])), run(jnp.array([1.5, 1.53]))
    np.testing.assert_array_equal(tied.counts(), [2, 2])
    assert int(tied.ties()) == 2 and int(apart.ties()) == 0
    np.testing.assert_allclose(tied.times[:2], np.log(3) / 15, rtol=1e-5)
    assert int(apart.counts()[0]) == 0 and int(apart.counts()[1]) >= 7


def test_all_fire_where_adaptive_steps_are_rejected():
    weights = jnp.array([[0.0, -200.0], [-200.0, 0.0]])
    net = rs.SpikingNetwork(rs.LIF((8.0, 6.0), v_reset=1.0), rs.ThresholdFiring(1.0), weights)
    engine = rs.EventByEvent(controller=dfx.PIDController(1e-8, 1e-8))
    window, drive = rs.Window(0.0, 0.5, 0.05), jnp.array([2.0, 2.0])
    spikes = rs.simulate(net, drive, window, engine=engine, **ROOM).spikes
    np.testing.assert_array_equal(spikes.counts(), [1, 1])
    assert int(spikes.ties()) == 1


def test_ties_of_events_are_as_asked():
    """Two heights that fall together; the first bounce lifts both."""

    def solve(ties):
        def lift(t, y, args, k, u):
            return y[0] + 1.0, y[1].at[k].add(1.0)

        below = lambda t, y, args: jnp.stack([-y[0], -y[0]])
        event = rs.Event(below, lift, conditions="waive", ties=ties)
        term = dfx.ODETerm(lambda t, y, args: (jnp.array(-1.0), jnp.zeros(2)))
        window, y0 = rs.Window(0.0, 1.0, 0.01), (jnp.array(0.5), jnp.zeros(2))
        solution = rs.eventsolve(term, window, y0, event=event, max_events=5, key=jr.key(0))
        return np.asarray(solution.y1[1])

    np.testing.assert_array_equal(solve("first"), [1, 0])
    np.testing.assert_array_equal(solve("all"), [1, 1])
    with pytest.raises(ValueError, match="`ties` must be 'first' or 'all'"):
        solve("last")
