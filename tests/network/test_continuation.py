"""Simulations that go on where others ended: windows, one after the other, are the whole."""

import functools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import roughsnn as rs

from ..helpers import ENGINES, Wave, in_float32, lif_network

ROOM: Any = dict(key=jr.key(3), max_spikes=200)


def firing(hard: bool, travels: bool = False):
    size = 1.0 if hard else 1.4
    noise = ((0.0, 0.0), (0.0, 0.3)) if hard else ((0.25, 0.0), (0.0, 0.1))
    weights = (0.1 if hard else 0.3) * np.array(jr.normal(jr.key(9), (6, 6)))
    np.fill_diagonal(weights, 0)
    rule = (
        rs.HardThreshold(1.0)
        if hard
        else rs.StochasticFiring(rs.ExponentialIntensity(5.0, 1.0), 0.03)
    )
    net = lif_network(rule, jnp.asarray(weights), sigma=noise, reset=size)
    if not travels:
        return net
    pop = net["neurons"]
    pop = rs.Population(6, pop.neuron, pop.firing, pop.ports, refractory=0.053)
    delay = np.linspace(0.011, 0.2, 6)
    return rs.SpikingNetwork(
        {"neurons": pop}, [rs.Projection("neurons", "neurons", weights, delay=delay)]
    )


def one_by_one(net, cuts, method, save=None):
    """Simulations of windows, one after the other, of a second together."""
    found, initial, start = [], None, 0.0
    drive = Wave(jnp.linspace(1.1, 1.6, 6, dtype=net.projections[0].weights.dtype))
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


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("travels", [False, True])
@pytest.mark.parametrize("method", ENGINES)
def test_two_windows_are_the_whole_bit_for_bit(method, travels, hard, dtype, tmp_path):
    """Also where the end of the first was written to a file and read again, with spikes on their
    way."""
    net = firing(hard, travels)
    net = in_float32(net) if dtype == "float32" else net
    (whole,) = one_by_one(net, [1.0], method)
    assert int(whole.spikes.count) >= (30 if travels else 50)
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


def crowded(key, window, initial=None, **options: Any):
    """Neurons that fire about once in two cells, some of them late at a border."""
    rates = rs.StochasticFiring(rs.ExponentialIntensity(beta=3.0, timescale=0.1), alpha=0.3)
    weights = 0.1 * (1 - jnp.eye(6))
    net = lif_network(rates, weights, mu=(8.0, 8.0))
    call: Any = dict(key=key, max_spikes=400, initial=initial, throw=False) | options
    return rs.simulate(net, 1.1 * jnp.ones(6), window, **call)


@pytest.mark.slow
def test_late_spikes_are_told_once():
    """They are found again, and not told again: trains, states, stops and boundaries are those of
    the whole."""

    def both(key):
        whole = crowded(key, rs.Window(0.0, 1.0, 0.05))
        first = crowded(key, rs.Window(0.0, 0.6, 0.05))
        second = crowded(key, rs.Window(0.0, 0.4, 0.05), first.final)
        third = crowded(key, rs.Window(0.0, 0.4, 0.05, stop_after=5), first.final).spikes
        counts = first.spikes.counts() + second.spikes.counts()
        a, b = whole.spikes.boundary, second.spikes.boundary
        assert a is not None and b is not None
        wanted = jnp.minimum(second.spikes.count, 5)
        good = whole.result == rs.RESULTS.successful
        return (
            good,
            first.final.told,
            (
                (whole.final, second.final),
                (whole.spikes.counts(), counts),
                (a.at_risk, b.at_risk),
                (wanted, third.count),
                (jnp.all(second.spikes.times >= 0), True),
            ),
        )

    good, told, pairs = jax.jit(jax.vmap(both))(jr.split(jr.key(0), 1024))
    assert int(jnp.sum(good)) >= 100
    assert int(jnp.sum(jnp.any(told[good] > 0, 1))) >= 20
    for pair in pairs:
        for a, b in zip(*map(jax.tree.leaves, pair), strict=True):
            a, b = jnp.asarray(a), jnp.asarray(b)
            a, b = (x[good] if x.ndim else x for x in (a, b))
            np.testing.assert_array_equal(*np.broadcast_arrays(a, b))


@pytest.mark.slow
def test_windows_of_one_cell_are_the_whole_too():
    """As a scan over windows, with `final` as its carry; late spikes may be four cells late."""
    window = rs.Window(0.0, 0.05, 0.05)

    def both(key):
        whole = crowded(key, rs.Window(0.0, 0.5, 0.05))
        first = crowded(key, window)

        def step(final, _):
            sim = crowded(key, window, final)
            return sim.final, (sim.spikes.counts(), sim.result == rs.RESULTS.successful)

        final, (counts, fine) = jax.lax.scan(step, first.final, length=9)
        counts = jnp.sum(counts, 0, dtype=jnp.int32) + first.spikes.counts()
        good = jnp.all(fine) & (whole.result == rs.RESULTS.successful)
        return good, (whole.spikes.counts(), counts), (whole.final.state["v"], final.state["v"])

    good, counts, states = jax.jit(jax.vmap(both))(jr.split(jr.key(0), 256))
    assert int(jnp.sum(good)) >= 100
    np.testing.assert_array_equal(*(x[good] for x in counts))
    np.testing.assert_allclose(*(x[good] for x in states), rtol=1e-13, atol=1e-13)


@pytest.mark.slow
def test_a_first_threshold_that_was_given_stays_so():
    """In the second window, for neurons that have not fired yet: they are at no risk of a spike in
    the sense of the boundary, as they would be if that threshold had been drawn."""
    given = jnp.array([-0.01, -0.6, -0.6, -0.6, -0.6, -0.6])
    start = {"s": given}
    net = lif_network(rs.StochasticFiring(rs.ExponentialIntensity(beta=1.0)), mu=(8.0, 8.0), size=6)

    def run(length, initial):
        options: Any = dict(initial=initial, **ROOM)
        return rs.simulate(net, 0.1 * jnp.ones(6), rs.Window(0.0, length, 0.05), **options)

    def at_risk(train):
        assert train.boundary is not None
        return train.boundary.at_risk[0]

    def parts(initial):
        return at_risk(run(0.25, run(0.25, initial).final).spikes)

    @jax.jit
    def all_of_them():
        whole = run(0.5, start).spikes
        return at_risk(whole), parts(start), parts(None), whole.counts()

    whole, given_parts, drawn_parts, counts = all_of_them()
    assert np.sum(counts > 0) == 1 and np.any(np.asarray(drawn_parts)[1:])
    np.testing.assert_array_equal(whole, given_parts)
    assert not np.any(np.asarray(given_parts)[1:])


@pytest.mark.slow
def test_derivatives_in_the_weights_where_spikes_come_again():
    """With no more room than the window needs, beside room for all."""
    size = 65
    start = 0.02 * jr.normal(jr.key(9), (size, size)) * (1 - jnp.eye(size))
    rates = rs.StochasticFiring(rs.ExponentialIntensity(beta=1.0, timescale=0.3))

    def run(weights, room, initial, key):
        net = lif_network(rates, weights, mu=(8.0, 8.0))
        call: Any = dict(max_spikes=room, initial=initial, throw=False, key=key)
        return rs.simulate(net, 1.1 * jnp.ones(size), rs.Window(0.0, 0.25, 0.05), **call)

    @functools.partial(jax.jit, static_argnums=2)
    def gradient(final, key, room):
        last = lambda weights: jnp.sum(run(weights, room, final, key).final.state["v"])
        return jax.grad(last)(start)

    for seed in range(30):
        key = jr.key(seed)
        final = run(start, 400, None, key).final
        again = run(start, 400, final, key)
        if int(jnp.sum(final.told)) > 0 and int(jnp.sum(again.final.told)) == 0:
            break
    else:
        raise AssertionError("no spike was late")
    room = int(again.spikes.count)
    np.testing.assert_allclose(
        gradient(final, key, room), gradient(final, key, 400), rtol=1e-9, atol=1e-12
    )


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
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
    with pytest.raises(ValueError, match="StochasticFiring.*HardThreshold"):
        run(net=firing(True), initial=final)
    other = lif_network(rs.StochasticFiring(rs.ExponentialIntensity()), jnp.zeros((2, 2)))
    with pytest.raises(ValueError, match="neurons: 6 of.*neurons: 2 of"):
        run(net=other, initial=final)
    failed = rs.simulate(net, 3 * drive, window, key=jr.key(0), max_spikes=2, throw=False).final
    with pytest.raises(ValueError, match="simulation that failed"):
        run(initial=failed)
    long_ago = eqx.tree_at(lambda f: f.clock.cells, in_float32(final), jnp.int32(3_600_000))
    run = functools.partial(rs.simulate, in_float32(net), window=window, **ROOM)
    with pytest.raises(ValueError, match="time since the first window, 36000.*too coarse"):
        run(Wave(drive.astype(jnp.float32)), initial=long_ago)
    run(drive.astype(jnp.float32), initial=long_ago)
    train = rs.SpikeTrain.from_lists([[0.1]] + [[]] * 5, t0=0.0, t1=0.2)
    with pytest.raises(TypeError, match=r"`initial` of a clamped network"):
        rs.clamp(net, drive, train, window, key=jr.key(0), initial=final)
