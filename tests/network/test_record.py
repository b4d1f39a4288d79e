"""States that lockstep keeps: at the borders of cells, at any times, and reduced on the way."""

import diffrax as dfx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import roughsnn as rs

from ..helpers import (
    constant,
    fed,
    largest_difference,
    lif_network,
    recurrent_network,
    recurrent_parameters,
)

T1 = 0.64
TS = jnp.array([0.0, 0.0131, 0.1, 0.1055, 0.2, 0.333, 0.4147, 0.5, 0.64])
# One of them is just before an input spike, in its cell.
SPIKES = rs.SpikeTrain.from_lists([[0.1065, 0.33, 0.41]], t0=0.0, t1=T1)
FEED = jnp.array([[0.8, 0.0, -0.4]])
P = recurrent_parameters()


def run(p, record, dt0=0.02, **options):
    window = rs.Window(0.0, T1, dt0, stop_after=options.pop("stop_after", None))
    return rs.simulate(
        fed(recurrent_network(p), FEED),
        p["input"],
        window,
        key=jr.key(4),
        max_spikes=60,
        inputs={"in": SPIKES},
        engine=rs.Lockstep(record=record),
        **options,
    )


@pytest.mark.slow
def test_they_are_those_of_the_other_engine_as_the_cells_shrink():
    """At times inside of cells, with spikes of neighbours and from outside; second order."""

    def gaps(dt0):
        def both(p):
            network, window = fed(recurrent_network(p), FEED), rs.Window(0.0, T1, dt0)
            engine = rs.EventByEvent(saveat=dfx.SaveAt(ts=TS))
            exact = rs.simulate(
                network,
                p["input"],
                window,
                key=jr.key(4),
                max_spikes=60,
                inputs={"in": SPIKES},
                engine=engine,
            )
            found = run(p, {"v": TS, "syn": TS}, dt0)
            return found.states, exact.states.ys, found.spikes.count, exact.spikes.count

        states, ys, count, same = jax.jit(both)(P)
        assert int(count) == int(same) >= 4
        return [float(jnp.max(jnp.abs(states[n] - ys[n]))) for n in ("v", "syn")]

    coarse, fine = gaps(0.01), gaps(0.0025)
    assert all(b < 2e-3 for b in fine)
    # Four times shorter cells: 16 times less at order two.
    assert all(a > 6 * b for a, b in zip(coarse, fine, strict=True))


def test_the_charging_curve():
    """v' = mu (0.8 + t - v) where nobody fires: exact, also inside of a cell."""
    network = lif_network(rs.HardThreshold(9.0))
    ts = jnp.array([0.013, 0.25, 0.4])
    engine = rs.Lockstep(record={"v": {"trace": "cells", "some": [0.013, 0.25, 0.4]}})
    states = rs.simulate(
        network,
        lambda t: jnp.full(1, 0.8) + t,
        rs.Window(0.0, 0.41, 0.02),
        key=jr.key(0),
        max_spikes=1,
        engine=engine,
    ).states["v"]
    curve = lambda t: 0.8 + t - 1 / 15 - (0.8 - 1 / 15) * np.exp(-15.0 * t)
    borders = np.append(0.02 * np.arange(21), 0.41)
    np.testing.assert_allclose(states["trace"][:, 0], curve(borders), rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(states["some"][:, 0], curve(np.asarray(ts)), rtol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("stop_after", [None, 3])
def test_reductions_are_those_of_the_trace_and_have_its_derivative(stop_after):
    def reduced(p):
        states = run(p, {"v": ("mean", "max"), "s": "mean"}, stop_after=stop_after).states
        return [*states["v"], states["s"]]

    def of_trace(p):
        states = run(p, {"v": "cells", "s": "cells"}, stop_after=stop_after).states
        # Behind a deliberate end the trace is nan.
        there = jnp.isfinite(states["v"])
        mean = lambda x: jnp.sum(jnp.where(there, x, 0), 0) / jnp.sum(there.astype(x.dtype), 0)
        v = jnp.where(there, states["v"], -jnp.inf)
        return [mean(states["v"]), jnp.max(v, 0), mean(states["s"])]

    both = lambda p: (reduced(p), of_trace(p))
    (a, b), (da, db) = jax.jit(lambda p: (both(p), jax.jacrev(both)(p)))(P)
    for x, y in zip(a, b, strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-12)
    assert largest_difference(da, db) < 1e-9
    assert all(np.any(np.abs(x) > 1e-3) for x in jax.tree.leaves(da[0]))


@pytest.mark.slow
def test_the_last_state_and_the_end():
    sim = jax.jit(lambda: run(P, {"v": ("last", "cells")}))()
    last, cells = sim.states["v"]
    np.testing.assert_array_equal(last, cells[-1])
    assert cells.shape == (33, 3)
    stopped = jax.jit(lambda: run(P, {"v": ("last", "cells", TS)}, stop_after=2))()
    last, cells, times = stopped.states["v"]
    end = float(stopped.spikes.times[1])
    assert np.all(np.isnan(last)) and np.all(np.isnan(cells[int(end / 0.02) + 2 :]))
    assert np.all(np.isfinite(cells[: int(end / 0.02)])) and np.all(
        np.isnan(times[TS > end + 0.02])
    )


@pytest.mark.slow
def test_derivatives_are_those_of_differences():
    """Along all parameters and the times themselves, in both modes."""

    def fn(p, ts):
        states = run(p, {"v": ts, "syn": "cells"}).states
        return jnp.sum(jnp.sin(states["v"])) + jnp.sum(states["syn"] ** 2)

    rng = np.random.default_rng(0)
    direction = jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape)), P)
    direction["weights"] = direction["weights"] * (1 - jnp.eye(3))
    inside, along = TS[1:-1] + 0.003, jnp.ones(7)

    def at(h):
        return fn(jax.tree.map(lambda a, b: a + h * b, P, direction), inside + h * along)

    slope, gradient, up, down = jax.jit(
        lambda: (
            jax.jvp(at, (0.0,), (1.0,))[1],
            jax.grad(fn, (0, 1))(P, inside),
            at(1e-6),
            at(-1e-6),
        )
    )()
    np.testing.assert_allclose(slope, (up - down) / 2e-6, rtol=1e-6)
    pairs = jax.tree.map(lambda a, b: jnp.sum(a * b), gradient, (direction, along))
    np.testing.assert_allclose(sum(jax.tree.leaves(pairs)), slope, rtol=1e-9)


def test_bad_records():
    with pytest.raises(
        ValueError, match="'w' is no part of the state of 'neurons'.*'v', 'syn', 's'"
    ):
        run(P, {"w": "cells"})
    with pytest.raises(ValueError, match="'cells', 'mean', 'max', 'last' or an array.*'median'"):
        run(P, {"v": "median"})
    with pytest.raises(ValueError, match=r"must lie in the window \[0.0, 0.64\]"):
        run(P, {"v": jnp.array([0.1, 0.7])})
    with pytest.raises(ValueError, match="increasing order"):
        run(P, {"v": jnp.array([0.3, 0.1])})
    with pytest.raises(ValueError, match=r"floating array of shape \(times,\)"):
        run(P, {"v": 3})
    with pytest.raises(TypeError, match="must be a dictionary"):
        run(P, "v")
    hard = lif_network(rs.HardThreshold(1.0))
    engine = rs.Lockstep(record={"s": "cells"})
    with pytest.raises(ValueError, match="'s' is no part of the state"):
        rs.simulate(
            hard,
            constant(1.5),
            rs.Window(0.0, 1.0, 0.05),
            key=jr.key(0),
            max_spikes=9,
            engine=engine,
        )
