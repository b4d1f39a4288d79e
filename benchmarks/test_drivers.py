"""What a driver costs: 22 neurons, 100 cells, batch 128, float32.

python -m pytest benchmarks/test_drivers.py --benchmark-columns=min,median,rounds

"given" is with a path that is there already, "drawn" with its random numbers.
"""

from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import pytest

import roughsnn as rs

from .problems import ENGINES

NEURONS, BATCH, RATE, T1, DT = 22, 128, 20.0, 1.0, 0.01
ROOM: Any = dict(shape=(NEURONS, 1))
DRIVERS = {
    "none": lambda key: None,
    "Brownian": lambda key: rs.BrownianPath(0.0, T1, DT, key=key, interpolation="linear", **ROOM),
    "fractional": lambda key: rs.fractional_path(0.0, T1, DT, key=key, hurst=0.4, **ROOM),
    "coloured": lambda key: rs.coloured_path(0.0, T1, DT, key=key, timescale=0.05, **ROOM),
    "Poisson": lambda key: rs.poisson_spikes(
        0.0, T1, rates=jnp.full(4, RATE / 4), max_spikes=20, key=key
    ),
}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", DRIVERS)
@pytest.mark.parametrize("mode", ["given", "drawn"])
def test_driver(benchmark, name, engine, mode):
    """Forward; Poisson: 20 input spikes on average, onto all neurons."""
    draw = jax.jit(jax.vmap(DRIVERS[name]))
    noisy = name not in ("none", "Poisson")
    population = rs.Population(
        NEURONS,
        rs.neurons.LIF(1 / 6, rs.Subtract(1.2), 0.25 if noisy else None),
        rs.StochasticFiring(rs.ExponentialIntensity(5.0, 1.0, 1.0), 0.03),
        ports={"syn": rs.synapses.Exponential(1 / 5)},
    )
    own = jnp.full((NEURONS, NEURONS), 0.02) * (1 - jnp.eye(NEURONS))
    parts: dict[str, rs.Population | rs.Source] = {"neurons": population}
    projections = [rs.Projection("neurons", "neurons", own)]
    if name == "Poisson":
        parts["input"] = rs.Source(4)
        projections += [rs.Projection("input", "neurons", 0.1 * jnp.ones((4, NEURONS)))]
    network = rs.SpikingNetwork(parts, projections)

    def one(key, driver):
        options: Any = {"noise": driver if noisy else None}
        if name == "Poisson":
            options["inputs"] = {"input": driver}
        return rs.simulate(
            network,
            jnp.full(NEURONS, 1.0),
            rs.Window(0.0, T1, DT),
            max_spikes=120,
            key=key,
            engine=ENGINES[engine],
            **options,
        ).spikes.times

    keys = jr.split(jr.key(0), (2, BATCH))
    if mode == "given":
        arguments, run = (keys[0], draw(keys[1])), jax.vmap(one)
    else:
        arguments, run = (keys[0], keys[1]), jax.vmap(lambda a, b: one(a, DRIVERS[name](b)))
    compiled = jax.jit(run).lower(*arguments).compile()
    benchmark.group = f"{engine}, {mode}"
    benchmark.pedantic(
        lambda: jax.block_until_ready(compiled(*arguments)), rounds=20, warmup_rounds=2
    )
