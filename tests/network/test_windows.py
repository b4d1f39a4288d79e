"""Time in windows: nothing depends on where it is counted from, or on how it is cut."""

from typing import Any

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import roughsnn as rs

from ..helpers import (
    ENGINES,
    Wave,
    fed,
    in_float32,
    lif_network,
    recurrent_network,
    recurrent_parameters,
)

P = recurrent_parameters()
ROOM: Any = dict(key=jr.key(3), max_spikes=200)


@pytest.mark.slow
@pytest.mark.parametrize("t0", [5.0, -3.0])
@pytest.mark.parametrize("method", ENGINES)
def test_another_start_moves_the_times_alone(method, t0):
    inputs = rs.SpikeTrain.from_lists([[0.103, 0.251, 0.317]], t0=0.0, t1=0.5)
    weights = np.array([[0.8, 0.0, -0.4]])

    @eqx.filter_jit
    def run(p, t0):
        spikes = inputs.in_frame(rs.Window(t0, t0 + 0.5, 0.01))
        return rs.simulate(
            fed(recurrent_network(p), weights),
            Wave(p["input"]) if t0 == 0 else lambda t: Wave(p["input"])(t - t0),
            rs.Window(t0, t0 + 0.5, 0.01, edges=(t0 + 0.2,)),
            inputs={"in": spikes},
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


@pytest.mark.slow
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


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::roughsnn.StepWarning")
def test_a_rounding_beside_a_border_is_on_it():
    """Where a train is cut, a state is asked for, and a train is moved."""
    start = 0.1 + 0.2  # a rounding behind 0.3
    whole = rs.SpikeTrain.from_lists([[0.3, 0.8], [1.0], []], t0=0.0, t1=1.3)
    net, drive = recurrent_network(P | {"sigma": 0 * P["sigma"]}), P["input"]
    found = []
    for a in (start, 0.3):
        cut, window = whole.window(a, 1.3), rs.Window(a, 1.3, 0.01)
        assert int(cut.count) == 3 and float(cut.times[0]) >= a
        found.append(rs.clamp(net, drive, cut, window, key=jr.key(0)).log_likelihood)
        call: Any = dict(inputs={"in": cut}, **ROOM)
        assert bool(rs.simulate(fed(net, np.ones((3, 3))), drive, window, **call).spikes.count > 0)
    np.testing.assert_allclose(*found, rtol=1e-12)
    for t0 in (0.1, 2.3, 10.1, 33.3):
        ts = [t0, t0 + 0.3, t0 + 0.6]
        engine = rs.EventByEvent(saveat=dfx.SaveAt(ts=ts, dense=True))
        call: Any = dict(engine=engine, **ROOM)
        states = rs.simulate(net, drive, rs.Window(t0, t0 + 0.6, 0.1), **call).states
        assert np.all(np.isfinite(states.ys["v"]))
        assert all(np.all(np.isfinite(states.evaluate(t)["v"])) for t in ts)
    end = in_float32(rs.SpikeTrain.from_lists([[0.72]], t0=0.0, t1=0.72))
    moved = end.in_frame(rs.Window(49.38, 50.1, 0.01))
    assert moved.times.dtype == jnp.float32 and float(moved.times[0]) <= np.float32(50.1)


def test_windows_are_hashable_and_static():
    window = rs.Window(0.0, 1.0, 0.01, origin=3.0)
    assert hash(window) == hash(rs.Window(0.0, 1.0, 0.01, origin=3.0))
    assert not jax.tree.leaves(window)
    assert eqx.filter_jit(lambda w: w.next().local().t1)(window) == 1.0
    for edges in ((1e-9,), (0.5, 0.5 + 1e-9)):
        with pytest.raises(ValueError, match="of a cell apart"):
            rs.Window(0.0, 1.0, 0.01, edges=edges)


@pytest.mark.parametrize("method", ENGINES)
def test_neurons_that_reach_the_threshold_together_all_fire(method):
    """And then inhibit one another; a little apart, the first keeps the other from it."""
    weights = jnp.array([[0.0, -3.0], [-3.0, 0.0]])
    net = lif_network(rs.HardThreshold(1.0), weights)
    window = rs.Window(0.0, 0.6, 0.00125)
    run = lambda drive: rs.simulate(net, drive, window, engine=ENGINES[method], **ROOM).spikes
    # At many levels, so that the second is now a rounding above its threshold, now below.
    levels = jnp.linspace(1.4, 1.8, 64)
    tied = jax.jit(jax.vmap(lambda c: run(jnp.array([1.0, 1.0]) * c)))(levels)
    apart = run(jnp.array([1.5, 1.53]))
    counts = np.asarray(jax.vmap(lambda train: train.counts())(tied))
    assert counts.min() >= 1
    np.testing.assert_array_equal(counts[:, 0], counts[:, 1])
    np.testing.assert_array_equal(jax.vmap(lambda train: train.ties())(tied), counts[:, 0])
    first = np.log(levels / (levels - 1)) / 15
    np.testing.assert_allclose(tied.times[:, :2], np.stack([first] * 2, 1), rtol=1e-5)
    assert int(apart.ties()) == 0
    assert int(apart.counts()[0]) == 0 and int(apart.counts()[1]) >= 7


def test_all_fire_where_adaptive_steps_are_rejected():
    weights = jnp.array([[0.0, -200.0], [-200.0, 0.0]])
    net = lif_network(rs.HardThreshold(1.0), weights, mu=(8.0, 6.0))
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
