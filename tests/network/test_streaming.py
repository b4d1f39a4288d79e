"""Blocks of cells are the whole, and take memory that does not grow with their number."""

import functools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import roughsnn as rs
from roughsnn._path.brownian import labelled_path
from roughsnn._random import seeds

from ..helpers import Wave, in_float32, lif_network

# Small simulations are one block unless a size is given; 100 cells are three of 32 and a part.
BLOCKS = rs.Lockstep(adjoint=rs.CheckpointAdjoint(block_size=32))
WHOLE = rs.Lockstep(adjoint=rs.DirectAdjoint())
CELLS, DT0 = 100, 0.01
NEURONS = 70


@pytest.mark.parametrize("interpolation", ["linear", "parabola"])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_noise_in_pieces_is_the_whole_draw_bit_for_bit(interpolation, dtype):
    words, entries = seeds(jr.key(3)), jnp.arange(5, dtype=jnp.uint32)

    def drawn(first, cells):
        options: Any = dict(interpolation=interpolation, dtype=dtype, first=first)
        return labelled_path(0.0, cells * DT0, DT0, words=words, entries=entries, **options)

    def pieces(first):
        step = lambda begin, _: (begin + 32, drawn(begin, 32).arrays())
        return jax.lax.scan(step, first, length=4)[1]

    first = jnp.int32(1013)
    whole, parts = drawn(first, 128).arrays(), jax.jit(pieces)(first)
    for a, b in zip(jax.tree.leaves(whole), jax.tree.leaves(parts), strict=True):
        np.testing.assert_array_equal(a, b.reshape(a.shape))


def network(p, travels: bool = False, hold: float = 0.0):
    """Neurons with matrices that are not small, and spikes from outside."""
    population = rs.Population(
        NEURONS,
        rs.neurons.LIF(p["tau"], rs.Subtract(1.2), p["sigma"]),
        rs.StochasticFiring(rs.ExponentialIntensity(5.0, 1.0, 1.0), 0.03),
        {"syn": rs.synapses.Exponential(0.15, 0.1)},
        **(dict(refractory=hold) if hold else {}),
    )
    delay: Any = dict(delay=p["delay"], max_delay=0.2) if travels else {}
    return rs.SpikingNetwork(
        {"in": rs.Source(2), "n": population},
        [
            rs.Projection("in", "n", p["feed"]),
            rs.Projection("n", "n", p["weights"], **delay),
        ],
    )


def parameters(dtype: Any = jnp.float64):
    rng = np.random.default_rng(1)
    lists = rs.connectors.fixed_out_degree(
        NEURONS, NEURONS, 10, key=jr.key(0), weights=1.0, autapses=False
    )
    values = jnp.asarray(0.3 * rng.normal(size=(NEURONS, 10)))
    p = {
        "tau": jnp.asarray(0.1),
        "sigma": jnp.asarray(0.25),
        "feed": jnp.asarray(rng.normal(size=(2, NEURONS))),
        "weights": eqx.tree_at(lambda w: w.values, lists, values),
        "delay": jnp.asarray(0.057),
        "drive": jnp.linspace(1.1, 1.6, NEURONS),
    }
    return in_float32(p) if dtype == jnp.float32 else p


def inputs(dtype: Any = jnp.float64, t1: float = 1.0):
    train = rs.SpikeTrain.from_lists([[0.103, 0.251, 0.3201, 0.72], [0.6399]], t0=0.0, t1=t1)
    return {"in": in_float32(train) if dtype == jnp.float32 else train}


def run(p, engine, key=None, *, travels=False, hold=0.0, record=None, t1=1.0, **options: Any):
    """A simulation; all options of it may be others."""
    window = options.pop("window", rs.Window(0.0, t1, DT0))
    engine = rs.Lockstep(record, engine.adjoint)
    call: Any = dict(key=jr.key(2) if key is None else key, max_spikes=900, engine=engine)
    call["inputs"] = inputs(p["drive"].dtype, t1)
    drive = options.pop("drive", Wave(p["drive"]))
    return rs.simulate(network(p, travels, hold), drive, window, **call | options)


def same(a, b, rtol):
    for x, y in zip(*map(jax.tree.leaves, (a, b)), strict=True):
        if jnp.issubdtype(jnp.asarray(x).dtype, jnp.inexact):
            scale = float(np.max(np.abs(np.asarray(x)[np.isfinite(x)]), initial=1e-3))
            np.testing.assert_allclose(x, y, rtol=rtol, atol=rtol * scale)
        else:
            np.testing.assert_array_equal(x, y)


CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "on their way": dict(travels=True, hold=0.03),
    "parabolas": dict(noise=rs.Brownian("parabola")),
    "edges": dict(window=rs.Window(0.0, 1.0, DT0, edges=(0.32, 0.33, 0.75))),
    "stopped": dict(window=rs.Window(0.0, 1.0, DT0, stop_after=150)),
    "rows": dict(drive=1.3 + 0.3 * np.random.default_rng(0).normal(size=(CELLS, NEURONS))),
    "overflow": dict(max_spikes=100, throw=False),
    "inside": dict(travels=True, record={"v": np.array([0.313, 0.32, 0.555])}),
}


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [jnp.float64, jnp.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("case", CASES)
def test_blocks_are_the_whole(case, dtype):
    """In spikes, counts, states, ends, records, boundaries and results."""
    record = {"v": ("cells", "mean", "max", "last")}
    options = dict(record=record) | CASES[case]
    if "drive" in options:
        options["drive"] = jnp.asarray(options["drive"], dtype)
    p = parameters(dtype)
    one, other = (jax.jit(functools.partial(run, engine=e, **options))(p) for e in (WHOLE, BLOCKS))
    assert int(one.spikes.count) >= 100
    tight = 1e-11 if dtype == jnp.float64 else 2e-5
    same(one.spikes, other.spikes, tight)
    same(one.states, other.states, tight)
    same(one.result, other.result, tight)
    same(one.end, other.end, tight)


@pytest.mark.slow
@pytest.mark.parametrize(("travels", "t1"), [(False, 1.0), (True, 1.0), (True, 0.994)])
def test_derivatives_are_those_of_the_whole_and_differences(travels, t1):
    """In every parameter; also forwards, and for samples that share their weights."""
    p = parameters()
    # Not so strong that small differences grow.
    p["weights"] = jax.tree.map(lambda x: x / 3 if eqx.is_inexact_array(x) else x, p["weights"])
    keys = jr.split(jr.key(5), 2)

    def loss(p, engine):
        def one(key):
            options: Any = dict(travels=travels, hold=0.03 if travels else 0.0, t1=t1)
            sim = run(p, engine, key, record={"v": "last"}, **options)
            ts = jnp.array([0.4, 0.9, t1])
            smooth = jnp.sum(rs.losses.filtered(sim.spikes, ts, 0.2) ** 2)
            # There is no window to go on from behind a shorter cell.
            ends = sim.states, sim.final.state["n"]["v"] if t1 == 1.0 else None
            return smooth + sum(jnp.sum(jnp.sin(x)) for x in jax.tree.leaves(ends))

        return jnp.mean(jax.vmap(one)(keys))

    moving, fixed = eqx.partition(p, eqx.is_inexact_array)
    of = lambda engine: jax.jit(lambda m: loss(eqx.combine(m, fixed), engine))
    whole, blocks = jax.jit(jax.grad(of(WHOLE)))(moving), jax.jit(jax.grad(of(BLOCKS)))(moving)
    same(whole, blocks, 1e-9)
    rng = np.random.default_rng(3)
    direction = jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape)), moving)
    if not travels:
        direction["delay"] = 0 * direction["delay"]
    total = sum(
        jnp.vdot(a, b) for a, b in zip(*map(jax.tree.leaves, (blocks, direction)), strict=True)
    )
    forward = jax.jit(lambda m, d: jax.jvp(of(BLOCKS), (m,), (d,))[1])(moving, direction)
    np.testing.assert_allclose(forward, total, rtol=1e-9)
    h = 3e-8
    at = lambda s: of(BLOCKS)(jax.tree.map(lambda a, b: a + s * b, moving, direction))
    np.testing.assert_allclose((at(h) - at(-h)) / (2 * h), total, rtol=1e-5)


@pytest.mark.slow
def test_rows_have_derivatives():
    p, rows = parameters(), jnp.asarray(CASES["rows"]["drive"])

    def last(rows, engine):
        return jnp.sum(run(p, engine, drive=rows).final.state["n"]["v"])

    gradient = lambda engine: jax.jit(jax.grad(functools.partial(last, engine=engine)))(rows)
    whole, blocks = gradient(WHOLE), gradient(BLOCKS)
    assert np.count_nonzero(whole) > 0.5 * rows.size
    same(whole, blocks, 1e-9)


@pytest.mark.slow
def test_windows_of_several_blocks_are_the_whole_bit_for_bit():
    net = lif_network(
        rs.StochasticFiring(rs.ExponentialIntensity(5.0, 1.0), 0.03),
        0.3 * jr.normal(jr.key(9), (6, 6)) * (1 - jnp.eye(6)),
        sigma=((0.25, 0.0), (0.0, 0.1)),
        reset=1.4,
    )
    delay = np.linspace(0.011, 0.2, 6)
    p = net.projections[0]
    net = rs.SpikingNetwork(
        net.populations, [rs.Projection(p.pre, p.post, p.weights, port=p.port, delay=delay)]
    )
    call: Any = dict(key=jr.key(0), max_spikes=800, engine=BLOCKS)
    drive = Wave(jnp.linspace(1.1, 1.6, 6))
    whole = rs.simulate(net, drive, rs.Window(0.0, 2.0, DT0), **call)
    first = rs.simulate(net, drive, rs.Window(0.0, 0.73, DT0), **call)
    second = rs.simulate(net, drive, rs.Window(0.0, 1.27, DT0), initial=first.final, **call)
    assert int(whole.spikes.count) == int(first.spikes.count) + int(second.spikes.count) >= 100
    for a, b in zip(*map(jax.tree.leaves, (whole.final, second.final)), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.slow
def test_bursts_beyond_the_usual_share_of_a_block_are_all_there():
    """All spikes in one block of many: no capacity but that of the window."""
    size = 200
    net = lif_network(size=size, mu=(15.0, 6.0))
    rows = jnp.zeros((1000, size)).at[500:510].set(6.0)
    sim = rs.simulate(net, rows, rs.Window(0.0, 10.0, DT0), key=jr.key(0), max_spikes=2000)
    # Twice the share of a block and 64 are 192.
    assert int(sim.spikes.count) > size and not bool(sim.spikes.overflow)
    alone = rs.Lockstep(adjoint=rs.DirectAdjoint())
    other = rs.simulate(
        net, rows, rs.Window(0.0, 10.0, DT0), key=jr.key(0), max_spikes=2000, engine=alone
    )
    same(sim.spikes, other.spikes, 1e-12)


def memory(cells: int, gradient: bool, adjoint: rs.AbstractAdjoint | None = None) -> float:
    """Bytes for each neuron, beside spikes."""
    neurons, room = 500, 500
    made = rs.connectors.fixed_out_degree(
        neurons, neurons, 20, key=jr.key(0), weights=jnp.float32(0.1), autapses=False
    )
    single = functools.partial(jnp.asarray, dtype=jnp.float32)
    population = rs.Population(
        neurons,
        rs.neurons.LIF(single(0.05), sigma=single(0.3)),
        rs.StochasticFiring(
            rs.ExponentialIntensity(single(5.0), single(1.0), single(1.0)), single(0.03)
        ),
        {"syn": rs.synapses.Exponential(single(0.01))},
    )

    def last(values, key):
        weights = eqx.tree_at(lambda w: w.values, made, values)
        sim = rs.simulate(
            rs.SpikingNetwork(population, weights=weights),
            jnp.full(neurons, 1.1, jnp.float32),
            rs.Window(0.0, cells * 1e-3, 1e-3),
            key=key,
            max_spikes=room,
            engine=rs.Lockstep(adjoint=adjoint),
            throw=False,
        )
        return jnp.sum(jnp.where(sim.spikes.marks >= 0, sim.spikes.times, 0))

    fn = jax.grad(last) if gradient else last
    values = jnp.full((neurons, 20), 0.1, jnp.float32)
    found = jax.jit(fn).lower(values, jr.key(0)).compile().memory_analysis()
    assert found is not None
    return (found.temp_size_in_bytes + found.output_size_in_bytes) / neurons


@pytest.mark.slow
def test_memory_does_not_grow_with_time():
    few, many = 2**14, 2**17
    short, long = memory(few, False), memory(many, False)
    assert long <= 1.05 * short
    assert short <= 4000
    growth = (memory(many, True) - memory(few, True)) / (many - few)
    # A state for each block of cells.
    assert growth <= 1.5


@pytest.mark.slow
def test_a_budget_is_kept():
    cells, neurons = 1000, 500
    free = memory(cells, True) * neurons / 2**20
    for megabytes in (0.75 * free, 8.0):
        used = memory(cells, True, rs.CheckpointAdjoint(megabytes=megabytes)) * neurons / 2**20
        assert used <= 1.1 * megabytes, (used, megabytes)
    with pytest.raises(ValueError, match="MiB are not enough"):
        memory(cells, True, rs.CheckpointAdjoint(megabytes=0.1))
