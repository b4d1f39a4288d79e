"""Calls outside of `jit`: the first one, and one with other numbers.

python -m pytest benchmarks/test_eager.py --benchmark-columns=median,rounds
"""

import diffrax as dfx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import roughsnn as rs

from .problems import ENGINES

WEIGHTS = np.random.default_rng(0).uniform(0, 0.5, (6, 6)) * (1 - np.eye(6))


def simulated(x: float, engine):
    """Spikes of a network of six neurons, 100 cells."""
    population = rs.Population(
        6,
        rs.neurons.LIF(1 / 6, rs.Subtract(1.2), (0.25, 0.0)),
        rs.StochasticFiring(rs.ExponentialIntensity(5.0, 1.0, 1.0)),
        ports={"syn": rs.synapses.Exponential(1 / 5, (0.0, 0.25))},
    )
    network = rs.SpikingNetwork(population, weights=jnp.asarray(x * WEIGHTS, jnp.float32))

    def first(drive):
        train = rs.simulate(
            network,
            drive,
            rs.Window(0.0, 1.0, 0.01),
            max_spikes=200,
            key=jr.key(0),
            engine=ENGINES[engine],
        ).spikes
        return jnp.sum(train.times[:5])

    return first, jnp.full(6, 1.5 * x)


def value(x: float, engine):
    """Spike times."""
    first, drive = simulated(x, engine)
    return first(drive)


def gradient(x: float, engine):
    """Their derivative."""
    first, drive = simulated(x, engine)
    return jax.grad(first)(drive)


def drift(t, y, args):
    """Towards 2."""
    return args * (2.0 - y)


EVENT = rs.Event(lambda t, y, args: y - 1.0, lambda t, y, args, k, u: y - 1.0)


def solved(x: float, engine):
    """An event SDE whose conditions are checked."""
    del engine
    return rs.eventsolve(
        dfx.ODETerm(drift),
        rs.Window(0.0, 1.0, 0.01),
        jnp.zeros(1),
        jnp.asarray(2.0 * x),
        event=EVENT,
        max_events=10,
        key=jr.key(0),
        engine=rs.EventByEvent(solver=dfx.Heun()),
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
    run, engine = CASES[case]
    benchmark.group = case
    jax.clear_caches()
    numbers = iter(np.linspace(1.0, 1.1, 20))
    if call == "first":
        benchmark.pedantic(lambda: jax.block_until_ready(run(1.0, engine)), rounds=1)
        return
    run(next(numbers), engine)
    benchmark.pedantic(lambda: jax.block_until_ready(run(next(numbers), engine)), rounds=10)
