"""The way into a simulation: windows, drives, what happens at t0, and what `clamp` records."""

from typing import Any

import diffrax as dfx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import roughsnn as rs

from ..helpers import ENGINES, fed, lif_network, recurrent_network, recurrent_parameters

DETERMINISTIC = lif_network(rs.HardThreshold(1.0))
P = recurrent_parameters()


@pytest.mark.parametrize("method", ENGINES)
def test_nothing_is_before_the_start(method):
    """v starts far above the threshold: two spikes at once, the second a moment later."""
    late = {"v": jnp.array([1.999])}

    @jax.jit
    def times():
        return rs.simulate(
            DETERMINISTIC,
            jnp.array([1.5]),
            rs.Window(0.0, 0.2, 0.01),
            key=jr.key(0),
            max_spikes=60,
            initial=late,
            engine=ENGINES[method],
        ).spikes.times[:4]

    # v = 1.5 + (v0 - 1.5) exp(-15 t) from v0 = 0.999, and then from 0.
    second, period = np.log(0.501 / 0.5) / 15, np.log(3) / 15
    expected = np.array([0.0, second, second + period, second + 2 * period])
    found = np.asarray(times())
    assert np.all(found >= 0)
    # Lockstep puts the second of two spikes in a cell to the nearest time that it may have.
    np.testing.assert_allclose(found, expected, atol=1e-12 if method == "event" else 2e-4)


@pytest.mark.slow
@pytest.mark.parametrize("method", ENGINES)
def test_an_input_spike_at_the_start_is_an_initial_current(method):
    def run(spikes, weights, current):
        train = rs.SpikeTrain.from_lists([spikes], t0=0.0, t1=0.3)
        return rs.simulate(
            fed(recurrent_network(P), weights),
            P["input"],
            rs.Window(0.0, 0.3, 0.01),
            key=jr.key(1),
            max_spikes=30,
            initial={"syn": current},
            inputs={"in": train},
            engine=ENGINES[method],
        ).spikes.times

    row = jnp.array([0.8, -0.3, 0.5])
    at_start, before = jax.jit(
        lambda: (run([0.0, 0.1], row[None], 0 * row), run([0.1], row[None], row))
    )()
    np.testing.assert_allclose(at_start, before, rtol=1e-12)
    assert np.isfinite(before[2])


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_rows_of_a_drive_are_read_in_their_cells(dtype):
    """Many cells: in float32 the time of a border is rounded by more than 1e-4 of a cell."""
    cells, rate, dt = 5000, 15.0, 0.01
    firing = rs.HardThreshold(jnp.full((), 9.0, dtype))
    quiet = lif_network(firing, mu=jnp.array([rate, 6.0], dtype), reset=jnp.ones((), dtype))
    rows = np.zeros((cells, 1))
    rows[::2] = 1.0
    expected = np.zeros(cells + 1)
    for n, c in enumerate(rows[:, 0]):
        expected[n + 1] = c + (expected[n] - c) * np.exp(-rate * dt)
    window = rs.Window(0.0, cells * dt, dt)
    room: Any = dict(key=jr.key(0), max_spikes=1)
    drive = jnp.asarray(rows, dtype)
    v = rs.simulate(quiet, drive, window, **room, engine=rs.Lockstep(record={"v": "cells"}))
    ts = jnp.asarray([0.005, 12.345, 49.99], dtype)
    engine = rs.EventByEvent(saveat=dfx.SaveAt(ts=ts, t1=True))
    other = rs.simulate(quiet, drive, window, **room, engine=engine).states.ys["v"][:, 0]
    bound = 1e-12 if dtype == jnp.float64 else 1e-5
    np.testing.assert_allclose(v.states["v"][:, 0], expected, atol=bound)
    np.testing.assert_allclose(other[2:], expected[[4999, 5000]], atol=20 * bound)


def test_bad_drives_and_windows():
    window, room = rs.Window(0.0, 0.5, 0.05), dict(key=jr.key(0), max_spikes=9)
    run = lambda drive, **other: rs.simulate(DETERMINISTIC, drive, window, **{**room, **other})
    bad: Any = "a"
    with pytest.raises(TypeError, match="`drive` must be an array .*a callable.*got a str"):
        run(bad)
    with pytest.raises(ValueError, match=r"or \(10, neurons\) with a row for each cell.*\(9, 1\)"):
        run(jnp.ones((9, 1)))
    with pytest.raises(ValueError, match="`drive` must be finite"):
        run(jnp.array([jnp.nan]))
    with pytest.raises(TypeError, match="`inputs` must be a dictionary"):
        run(jnp.ones(1), inputs=[3])
    with pytest.raises(ValueError, match="`edges` must be increasing"):
        rs.Window(0.0, 1.0, 0.1, edges=(0.5, 0.2))
    fine = rs.Window(0.0, 1.0, 0.1, stop_after=3, edges=(0.5,)).refined(4)
    assert (fine.cells, fine.dt0, fine.stop_after, fine.edges) == (40, 0.025, 3, (0.5,))


@pytest.mark.slow
def test_a_clamped_network_records_what_the_simulation_did():
    """With its own spikes and the same noise; what neighbours do within a cell comes earlier."""

    def gap(dt):
        window, record = rs.Window(0.0, 1.28, dt), {"v": ("cells", "mean"), "syn": "last"}
        options: Any = dict(engine=rs.Lockstep(record=record))
        path = rs.BrownianPath(0.0, 1.28, dt, shape=(3, 2), key=jr.key(3), interpolation="linear")
        net = recurrent_network(P)
        free = rs.simulate(
            net, P["input"], window, key=jr.key(11), max_spikes=60, noise=path, **options
        )
        told = rs.clamp(net, P["input"], free.spikes, window, noise=path, **options)
        assert told.states["v"][0].shape == (window.cells + 1, 3)
        gaps = jax.tree.map(lambda a, b: jnp.max(jnp.abs(a - b)), told.states, free.states)
        return jnp.stack(jax.tree.leaves(gaps)), free.spikes.count

    coarse, fine = (jax.jit(gap, static_argnums=0)(dt) for dt in (0.02, 0.005))
    assert int(fine[1]) >= 10
    assert np.all(fine[0] < 2e-5) and np.all(coarse[0] < 1e-3)
    with pytest.raises(ValueError, match="asks for 'cells', 'mean', 'max' or 'last', got times"):
        train = rs.SpikeTrain.from_lists([[0.1], [], []], t0=0.0, t1=1.28)
        engine = rs.Lockstep(record={"v": [0.1, 0.2]})
        window = rs.Window(0.0, 1.28, 0.02)
        rs.clamp(recurrent_network(P), P["input"], train, window, key=jr.key(0), engine=engine)


def test_check_under_jit():
    """The check becomes a part of the program."""

    @jax.jit
    def counted(drive):
        window = rs.Window(0.0, 0.5, 0.01)
        sim = rs.simulate(DETERMINISTIC, drive, window, key=jr.key(0), max_spikes=2, throw=False)
        return rs.check(sim).spikes.count

    assert int(counted(jnp.array([0.5]))) == 0
    with pytest.raises(Exception, match="More events occurred"):
        jax.block_until_ready(counted(jnp.array([2.0])))
