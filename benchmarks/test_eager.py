"""Calls outside of `jit`: the first one, and one with other numbers.

python -m pytest benchmarks/test_eager.py --benchmark-columns=median,rounds
"""

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import roughsnn as rs

WEIGHTS = np.random.default_rng(0).uniform(0, 0.5, (6, 6)) * (1 - np.eye(6))


class Constant(eqx.Module):
    """An input whose numbers may change."""

    level: jax.Array

    def __call__(self, t):
        """The input."""
        return self.level


def simulated(x: float, method):
    """Spikes of a network of six neurons, 100 cells."""
    network = rs.SpikingNetwork(
        rs.LIF((6.0, 5.0), ((0.25, 0.0), (0.0, 0.25)), 1.2),
        rs.StochasticFiring(rs.ExponentialIntensity(5.0, 1.0, 1.0)),
        jnp.asarray(x * WEIGHTS, jnp.float32),
    )

    def first(drive):
        train = rs.simulate(
            network, drive, t0=0.0, t1=1.0, dt0=0.01, max_spikes=200, key=jr.key(0), method=method
        )
        return jnp.sum(train.times[:5])

    return first, Constant(jnp.full(6, 1.5 * x))


def value(x: float, method):
    """Spike times."""
    first, drive = simulated(x, method)
    return first(drive)


def gradient(x: float, method):
    """Their derivative."""
    first, drive = simulated(x, method)
    return jax.grad(first)(drive).level


def drift(t, y, args):
    """Towards 2."""
    return args * (2.0 - y)


EVENT = rs.Event(lambda t, y, args: y - 1.0, lambda t, y, args, k, u: y - 1.0)


def solved(x: float, method):
    """An event SDE whose conditions are checked."""
    del method
    return rs.eventsolve(
        dfx.ODETerm(drift),
        dfx.Heun(),
        0.0,
        1.0,
        0.01,
        jnp.zeros(1),
        jnp.asarray(2.0 * x),
        event=EVENT,
        max_events=10,
        key=jr.key(0),
    ).event_times


CASES = {
    "eventsolve": (solved, ""),
    "simulate, event": (value, "event"),
    "simulate, lockstep": (value, "lockstep"),
    "gradient, event": (gradient, "event"),
    "gradient, lockstep": (gradient, "lockstep"),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("call", ["first", "other numbers"])
def test_call(benchmark, case, call):
    """Whatever XLA kept is given up before."""
    run, method = CASES[case]
    benchmark.group = case
    jax.clear_caches()
    numbers = iter(np.linspace(1.0, 1.1, 20))
    if call == "first":
        benchmark.pedantic(lambda: jax.block_until_ready(run(1.0, method)), rounds=1)
        return
    run(next(numbers), method)
    benchmark.pedantic(lambda: jax.block_until_ready(run(next(numbers), method)), rounds=10)
