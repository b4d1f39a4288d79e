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

_compiled = []


def _listen(event: str, duration_secs: float, **_: Any) -> None:
    if event.endswith("backend_compile_duration"):
        _compiled.append(duration_secs)


jax.monitoring.register_event_duration_secs_listener(_listen)

WEIGHTS = np.array([[0.0, 0.9, -0.4], [0.6, 0.0, 0.8], [0.5, 0.3, 0.0]])
WINDOW: Any = dict(t0=0.0, t1=1.0, dt0=0.02)


class Constant(eqx.Module):
    """An input that is a pytree: other values of it are no other function."""

    level: jax.Array

    def __call__(self, t):
        return self.level


def network(x):
    return rs.SpikingNetwork(
        rs.LIF((6.0, 5.0), ((0.25,), (0.1,)), 1.2),
        rs.StochasticFiring(rs.ExponentialIntensity(5.0, 1.0, 1.0), 0.03),
        jnp.asarray(0.3 * x * WEIGHTS),
    )


def values(x):
    """Network, drive and key of run number x."""
    return network(x), Constant(jnp.full(3, 0.5 + x)), jr.key(round(10 * x))


def simulated(x, method, drive=None):
    net, constant, key = values(x)
    drive = constant if drive is None else drive(constant.level)
    return rs.simulate(net, drive, **WINDOW, max_spikes=60, key=key, method=method).times


def gradient(x, method):
    net, drive, key = values(x)

    def loss(drive):
        times = rs.simulate(net, drive, **WINDOW, max_spikes=60, key=key, method=method).times
        return jnp.sum(jnp.where(jnp.isfinite(times), times, 1.0))

    return jax.grad(loss)(drive).level


def batch(x, method):
    net, drive, key = values(x)
    one = lambda key: rs.simulate(net, drive, **WINDOW, max_spikes=60, key=key, method=method).times
    return jax.vmap(one)(jr.split(key, 4))


def clamped(x, method):
    del method
    net, drive, key = values(x)
    train = rs.SpikeTrain.from_lists([[0.2, 0.7 + 0.1 * x], [0.4], [0.5, 0.9]], t0=0.0, t1=1.0)
    return rs.clamp(net, drive, train, dt0=0.02, key=key).log_likelihood


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
        dfx.Heun(),
        0.0,
        1.0,
        0.02,
        jnp.zeros(1),
        jnp.asarray(2.0 + x),
        event=rs.Event(fire, reset),
        max_events=10,
        key=jr.key(0),
    ).event_times


def problem(params):
    return dfx.ODETerm(drift), rs.Event(fire, reset), jnp.zeros(1), params


def online(x, method):
    del method
    return rs.online_gradient(
        problem,
        jnp.asarray(2.0 + x),
        jnp.asarray(1.0),
        solver=dfx.Heun(),
        **WINDOW,
        max_events=10,
        key=jr.key(0),
    ).time_derivatives


def eligible(x, method):
    del method
    net, drive, key = values(x)
    found = rs.eligibility(net, drive, **WINDOW, max_spikes=60, key=key)
    return found.time_derivatives


CASES = [
    (simulated, "event"),
    (simulated, "lockstep"),
    (gradient, "event"),
    (gradient, "lockstep"),
    (batch, "event"),
    (clamped, ""),
    (solved, ""),
    (online, ""),
    (eligible, ""),
]


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


@pytest.mark.parametrize("method", ["event", "lockstep"])
def test_another_function_is_another_program(method):
    doubled = simulated(1.0, method, lambda level: lambda t: 2 * level)
    np.testing.assert_array_equal(
        doubled, simulated(1.0, method, lambda level: lambda t: level * 2)
    )
    assert not np.array_equal(doubled, simulated(1.0, method, lambda level: lambda t: 1 * level))


def test_known_values_are_checked_outside_of_the_program():
    """They are traced within, where no `ValueError` can tell of them."""
    net, drive, key = values(1.0)
    call: Any = dict(**WINDOW, max_spikes=60, key=key)
    late = rs.NeuronState(jnp.zeros(3), jnp.zeros(3), jnp.ones(3))
    with pytest.raises(ValueError, match="must be negative"):
        rs.simulate(net, drive, **call, initial=late)
    steps = rs.StepPath([0.513], jnp.ones((2, 3)))
    with pytest.raises(ValueError, match="must lie on the grid"):
        rs.simulate(net, steps, **call, method="lockstep")
    spikes = rs.SpikeTrain.from_lists([[0.0, 0.5]], t0=0.0, t1=1.0)
    for method in ("event", "lockstep"):
        with pytest.raises(ValueError, match="belongs into the initial state"):
            inputs = rs.SpikeInput(spikes, jnp.ones((1, 3)))
            rs.simulate(net, drive, **call, spike_input=inputs, method=method)
    solve: Any = dict(event=rs.Event(fire, reset), max_events=10, key=key)
    with pytest.raises(ValueError, match="must be increasing"):
        rs.eventsolve(
            dfx.ODETerm(drift),
            dfx.Heun(),
            0.0,
            1.0,
            0.02,
            jnp.zeros(1),
            jnp.asarray(2.0),
            jump_ts=jnp.array([0.5, 0.4]),
            **solve,
        )
    grazing = rs.Event(lambda t, y, args: y - 1.0, lambda t, y, args, k, u: y)
    with pytest.raises(ValueError, match="C4 FAILS"):
        rs.eventsolve(
            dfx.ODETerm(drift),
            dfx.Heun(),
            0.0,
            1.0,
            0.02,
            jnp.zeros(1),
            jnp.asarray(2.0),
            **{**solve, "event": grazing},
        )
