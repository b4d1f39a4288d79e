"""What delays, refractory times and plasticity cost in lockstep: processor time beside a network
without, the least of several runs in turn.

1000 neurons with 100 synapses each, in 1000 cells, float32.

    python -m benchmarks.waiting
"""

import functools as ft
import itertools
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

import roughsnn as rs

from .in_turn import least_times

NEURONS, SYNAPSES, CELLS, LONGEST = 1000, 100, 1000, 0.1
LISTS = rs.connectors.fixed_out_degree(NEURONS, NEURONS, SYNAPSES, key=jr.key(0), weights=1.0)
VALUES = 0.05 * jr.normal(jr.key(1), (NEURONS, SYNAPSES), jnp.float32)


def total(values, delay, refractory, plasticity):
    """A sum over spike times, of neurons that fire now and then."""
    firing = rs.StochasticFiring(rs.ExponentialIntensity(5.0, 1.0), 0.03)
    ports, neuron = {"syn": rs.synapses.Exponential(0.005)}, rs.neurons.LIF(0.02)
    cells = rs.Population(NEURONS, neuron, firing, ports, refractory=refractory)
    weights = rs.SparseWeights(LISTS.targets, values)
    longest = None if delay is None else LONGEST
    options: Any = dict(delay=delay, max_delay=longest, plasticity=plasticity)
    synapses = rs.Projection("n", "n", weights, autapses=True, **options)
    network = rs.SpikingNetwork({"n": cells}, [synapses])
    window, drive = rs.Window(0.0, 1.0, 1 / CELLS), jnp.full(NEURONS, 0.9, jnp.float32)
    sim = rs.simulate(network, drive, window, key=jr.key(0), max_spikes=4000)
    return jnp.sum(jnp.where(sim.spikes.marks >= 0, sim.spikes.times, 0))


def main() -> None:
    """Prints a line for each of them."""
    rows = jr.uniform(jr.key(2), (NEURONS,), jnp.float32, 0.002, LONGEST)
    one, tiring = jnp.float32(0.0031), rs.synapses.TsodyksMarkram(*jnp.float32([0.5, 0.1, 0.2]))
    each = jr.uniform(jr.key(3), (NEURONS, SYNAPSES), jnp.float32, 0.002, LONGEST)
    ways = {
        "none": (None, None, None),
        "refractory": (None, jnp.float32(0.002), None),
        "one delay": (one, None, None),
        "one for each neuron": (rows, None, None),
        "one for each synapse": (each, None, None),
        "plasticity": (None, None, tiring),
        "and one delay": (one, None, tiring),
        "and one for each synapse": (each, None, tiring),
    }
    modes = {"run": jax.jit(total), "gradient": jax.jit(jax.grad(total))}
    pairs = itertools.product(ways, modes)
    spent = least_times({(n, m): ft.partial(modes[m], VALUES, *ways[n]) for n, m in pairs})
    print(f"{'':25}{'run':>9}{'gradient':>12}")
    base = np.array([spent["none", m] for m in modes])
    for name in ways:
        own = np.array([spent[name, m] for m in modes])
        print(f"{name:25}{own[0] * 1e3:6.0f} ms{own[1] * 1e3:9.0f} ms", *(own / base).round(2))


if __name__ == "__main__":
    main()
