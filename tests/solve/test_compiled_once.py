"""Outside of `jit`, too, a solve is compiled once for its functions and shapes."""

from typing import Any

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import roughsnn as rs

from ..helpers import ENGINES, fed, lif_network

_compiled = []


def _listen(event: str, duration_secs: float, **_: Any) -> None:
    if event.endswith("backend_compile_duration"):
        _compiled.append(duration_secs)


jax.monitoring.register_event_duration_secs_listener(_listen)

WEIGHTS = np.array([[0.0, 0.9, -0.4], [0.6, 0.0, 0.8], [0.5, 0.3, 0.0]])


def window(x) -> rs.Window:
    """A second, at another time and on another clock for each x."""
    return rs.Window(2 * x, 2 * x + 1, 0.02, origin=7200 * x)


class Wave(eqx.Module):
    """An input that is a pytree: other values of it are no other function."""

    level: jax.Array

    def __call__(self, t):
        return self.level * (1 + 0.1 * jnp.sin(t))


class Leaky(rs.AbstractLinearNeuron):
    """A neuron of one's own: its conditions are checked at each call."""

    tau: jax.Array
    size: float = 1.2

    def initial(self):
        return {"v": jnp.zeros(())}

    def drift(self, t, x, current):
        return {"v": (current - x["v"]) / self.tau}

    def noise(self, x, dw):
        return {"v": 0.25 * dw[0]}

    def spike(self, x):
        return {"v": x["v"] - self.size}

    def potential(self, x):
        return x["v"]

    @property
    def channels(self):
        return 1


def network(x):
    firing = rs.StochasticFiring(rs.ExponentialIntensity(5.0, 1.0, 1.0), 0.03)
    weights, sigma = jnp.asarray(0.3 * x * WEIGHTS), ((0.25,), (0.1,))
    return lif_network(firing, weights, mu=(6.0, 5.0), sigma=sigma, reset=1.2)


def values(x):
    """Network, drive and key of run number x."""
    return network(x), jnp.full(3, 0.5 + x), jr.key(round(10 * x))


def simulated(x, method, drive=None):
    net, level, key = values(x)
    drive = level if drive is None else drive(level)
    return rs.simulate(
        net, drive, window=window(x), max_spikes=60, key=key, engine=ENGINES[method]
    ).spikes.times


def gradient(x, method):
    net, drive, key = values(x)

    def loss(drive):
        times = rs.simulate(
            net, drive, window=window(x), max_spikes=60, key=key, engine=ENGINES[method]
        ).spikes.times
        return jnp.sum(jnp.where(jnp.isfinite(times), times, 1.0))

    return jax.grad(loss)(drive)


def batch(x, method):
    net, drive, key = values(x)
    one = lambda key: (
        rs.simulate(
            net, drive, window=window(x), max_spikes=60, key=key, engine=ENGINES[method]
        ).spikes.times
    )
    return jax.vmap(one)(jr.split(key, 4))


def waved(x, method):
    return simulated(x, method, Wave)


def rows(x, method):
    """A row of the input for each cell."""
    return simulated(x, method, lambda level: level[None] * (1 + jnp.arange(50.0)[:, None] / 50))


def own(x, method):
    net, drive, key = values(x)
    net = eqx.tree_at(lambda n: n["neurons"].neuron, net, Leaky(jnp.asarray(1 / 6)))
    sim = rs.simulate(net, drive, window=window(x), max_spikes=60, key=key, engine=ENGINES[method])
    return sim.spikes.times


def constrained(x, method):
    """Time constants by their logarithms."""
    net, drive, key = values(x)
    free = rs.constrained(net)
    return rs.simulate(
        free, drive, window=window(x), max_spikes=60, key=key, engine=ENGINES[method]
    ).spikes.times


def recorded(x, method):
    del method
    net, drive, key = values(x)
    engine = rs.Lockstep(record={"v": ("cells", 2 * x + jnp.array([0.1, 0.2 * x]), "mean")})
    sim = rs.simulate(net, drive, window=window(x), max_spikes=60, key=key, engine=engine)
    return jnp.concatenate([r.reshape(-1) for r in sim.states["v"]])


def distance(x, method):
    """Between two batches, by a kernel that is fitted to them."""
    del method
    rows = lambda shift: jnp.sort(jr.uniform(jr.key(1), (6, 8)) * (0.5 + shift / 4), axis=1)
    trains = [
        rs.SpikeTrain(
            times=rows(shift),
            marks=jnp.broadcast_to(jnp.arange(8, dtype=jnp.int32) % 2, (6, 8)),
            count=jnp.full(6, 8, jnp.int32),
            overflow=jnp.zeros(6, bool),
            t0=0.0,
            t1=1.0,
            num_neurons=2,
        )
        for shift in (x, 0.5)
    ]
    return rs.losses.mmd(*trains)[None]


def clamped(x, method):
    del method
    net, drive, key = values(x)
    lists = [[0.2, 0.7 + 0.1 * x], [0.4], [0.5, 0.9]]
    lists = [[2 * x + t for t in times] for times in lists]
    train = rs.SpikeTrain.from_lists(lists, t0=2 * x, t1=2 * x + 1)
    return rs.clamp(net, drive, train, window(x), key=key).log_likelihood


def drift(t, y, args):
    return args * (2.0 - y)


def fire(t, y, args):
    return y - 1.0


def reset(t, y, args, k, u):
    return y - 1.0


def solved(x, method):
    del method
    return rs.eventsolve(
        dfx.ODETerm(drift),
        window(x),
        jnp.zeros(1),
        jnp.asarray(2.0 + x),
        event=rs.Event(fire, reset),
        max_events=10,
        key=jr.key(0),
        engine=rs.EventByEvent(solver=dfx.Heun()),
    ).event_times


def problem(params):
    return dfx.ODETerm(drift), rs.Event(fire, reset), jnp.zeros(1), params


def online(x, method):
    del method
    return rs.online_gradient(
        problem,
        jnp.asarray(2.0 + x),
        jnp.asarray(1.0),
        window=window(x),
        max_events=10,
        key=jr.key(0),
        engine=rs.EventByEvent(solver=dfx.Heun()),
    ).time_derivatives


def eligible(x, method):
    del method
    net, drive, key = values(x)
    found = rs.eligibility(net, drive, window=window(x), max_spikes=60, key=key)
    return found.time_derivatives


def carried(x, method):
    del method
    _, drive, key = values(x)
    params = jnp.asarray(1.0 + 0.1 * x)
    options: Any = dict(window=window(x), max_spikes=60, key=key)
    model = lambda scale: (values(x)[0], scale * drive)
    return rs.simulate_online(model, params, jnp.ones(()), **options).time_derivatives


def continued(x, method):
    """Two windows, one after the other; the second begins at another time."""
    net, drive, key = values(x)
    call: Any = dict(max_spikes=60, key=key, engine=ENGINES[method])
    first = rs.simulate(net, drive, window(x), **call)
    return rs.simulate(net, drive, window(x).next(), initial=first.final, **call).spikes.times


CASES = [
    (simulated, "event"),
    (simulated, "lockstep"),
    (gradient, "event"),
    (gradient, "lockstep"),
    (batch, "event"),
    (waved, "lockstep"),
    (rows, "lockstep"),
    (continued, "event"),
    (continued, "lockstep"),
    (own, "event"),
    (own, "lockstep"),
    (constrained, "lockstep"),
    (recorded, ""),
    (distance, ""),
    (clamped, ""),
    (solved, ""),
    (online, ""),
    (eligible, ""),
    (carried, ""),
]


@pytest.mark.slow
@pytest.mark.parametrize(("run", "method"), CASES)
def test_other_values_compile_nothing(run, method):
    jax.clear_caches()
    _compiled.clear()
    first = run(1.0, method)
    assert _compiled
    # Whatever makes the values and reads the results.
    jax.block_until_ready((values(1.5), np.asarray(first)))
    _compiled.clear()
    second = run(1.5, method)
    assert not _compiled
    assert not np.array_equal(first, second, equal_nan=True)
    whole = jax.jit(lambda: run(1.5, method))()
    np.testing.assert_allclose(second, whole, rtol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["event", "lockstep"])
def test_another_function_is_another_program(method):
    doubled = simulated(1.0, method, lambda level: lambda t: 2 * level)
    np.testing.assert_array_equal(
        doubled, simulated(1.0, method, lambda level: lambda t: level * 2)
    )
    assert not np.array_equal(doubled, simulated(1.0, method, lambda level: lambda t: 1 * level))


@pytest.mark.slow
def test_known_values_are_checked_outside_of_the_program():
    """They are traced within, where no `ValueError` can tell of them."""
    net, drive, key = values(1.0)
    call: Any = dict(window=rs.Window(0.0, 1.0, 0.02), max_spikes=60, key=key)
    with pytest.raises(ValueError, match="must be negative"):
        rs.simulate(net, drive, **call, initial={"s": jnp.ones(3)})
    with pytest.raises(ValueError, match="lie in the window"):
        rs.simulate(net, drive, **call, engine=rs.Lockstep(record={"v": jnp.array([1.5])}))
    spikes = rs.SpikeTrain.from_lists([[0.1, 0.5]], t0=0.0, t1=1.0)
    spikes = eqx.tree_at(lambda s: s.times, spikes, spikes.times[::-1])
    for method in ("event", "lockstep"):
        with pytest.raises(ValueError, match="not in increasing order"):
            given: Any = dict(inputs={"in": spikes}, engine=ENGINES[method])
            rs.simulate(fed(net, jnp.ones((1, 3))), drive, **call, **given)
    solve: Any = dict(event=rs.Event(fire, reset), max_events=10, key=key)
    with pytest.raises(ValueError, match="must be increasing"):
        rs.eventsolve(
            dfx.ODETerm(drift),
            rs.Window(0.0, 1.0, 0.02),
            jnp.zeros(1),
            jnp.asarray(2.0),
            jump_ts=jnp.array([0.5, 0.4]),
            **solve,
            engine=rs.EventByEvent(solver=dfx.Heun()),
        )
    grazing = rs.Event(lambda t, y, args: y - 1.0, lambda t, y, args, k, u: y)
    with pytest.raises(ValueError, match="C4 FAILS"):
        rs.eventsolve(
            dfx.ODETerm(drift),
            rs.Window(0.0, 1.0, 0.02),
            jnp.zeros(1),
            jnp.asarray(2.0),
            **{**solve, "event": grazing},
            engine=rs.EventByEvent(solver=dfx.Heun()),
        )


@pytest.mark.slow
def test_failures_of_eager_calls_are_one_sentence():
    """Raised before the call returns, without a trace of the compiled program."""
    net, drive, key = values(1.5)
    for method in ("event", "lockstep"):
        few: Any = dict(
            window=rs.Window(0.0, 1.0, 0.02), max_spikes=2, key=key, engine=ENGINES[method]
        )
        with pytest.raises(RuntimeError) as caught:
            rs.simulate(net, drive, **few)
        assert type(caught.value) is RuntimeError
        assert "More events occurred" in str(caught.value) and "Got 2" in str(caught.value)
        assert "\n" not in str(caught.value)
        sim = rs.simulate(net, drive, **few, throw=False)
        assert sim.result == rs.RESULTS.max_events_reached
        with pytest.raises(RuntimeError, match="More events occurred"):
            rs.check(sim)
        one = lambda key, few=few: rs.simulate(net, drive, **{**few, "key": key}, throw=False)
        with pytest.raises(RuntimeError, match="3 of 3 samples failed"):
            rs.check(jax.vmap(one)(jr.split(key, 3)))
    with pytest.raises(TypeError, match="has a `result`.*got a SpikeTrain"):
        rs.check(sim.spikes)
