"""What delays and refractory times cost in lockstep: processor time beside a network without,
the least of several runs in turn.

1000 neurons with 100 synapses each, in 1000 cells, float32.

    python benchmarks/waiting.py
"""

import time

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

import roughsnn as rs

NEURONS, SYNAPSES, CELLS, LONGEST, ROUNDS = 1000, 100, 1000, 0.1, 5
LISTS = rs.connectors.fixed_out_degree(NEURONS, NEURONS, SYNAPSES, key=jr.key(0), weights=1.0)
VALUES = 0.05 * jr.normal(jr.key(1), (NEURONS, SYNAPSES), jnp.float32)


def total(values, delay, refractory):
    """A sum over spike times, of neurons that fire now and then."""
    firing = rs.StochasticFiring(rs.ExponentialIntensity(5.0, 1.0), 0.03)
    ports, neuron = {"syn": rs.synapses.Exponential(0.005)}, rs.neurons.LIF(0.02)
    cells = rs.Population(NEURONS, neuron, firing, ports, refractory=refractory)
    weights = rs.SparseWeights(LISTS.targets, values)
    longest = None if delay is None else LONGEST
    synapses = rs.Projection("n", "n", weights, delay=delay, max_delay=longest, autapses=True)
    network = rs.SpikingNetwork({"n": cells}, [synapses])
    window, drive = rs.Window(0.0, 1.0, 1 / CELLS), jnp.full(NEURONS, 0.9, jnp.float32)
    sim = rs.simulate(network, drive, window, key=jr.key(0), max_spikes=4000)
    return jnp.sum(jnp.where(sim.spikes.marks >= 0, sim.spikes.times, 0))


def main() -> None:
    """Prints a line for each way to wait."""
    rows = jr.uniform(jr.key(2), (NEURONS,), jnp.float32, 0.002, LONGEST)
    each = jr.uniform(jr.key(3), (NEURONS, SYNAPSES), jnp.float32, 0.002, LONGEST)
    ways = {
        "none": (None, None),
        "refractory": (None, jnp.float32(0.002)),
        "one delay": (jnp.float32(0.0031), None),
        "one for each neuron": (rows, None),
        "one for each synapse": (each, None),
    }
    programs = {}
    for name, way in ways.items():
        forward, backward = jax.jit(total), jax.jit(jax.grad(total))
        for program in (forward, backward):
            jax.block_until_ready(program(VALUES, *way))
        programs[name] = forward, backward, way
    spent: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, (forward, backward, way) in programs.items():
            times = [time.process_time()]
            for program in (forward, backward):
                jax.block_until_ready(program(VALUES, *way))
                times.append(time.process_time())
            spent[name].append((times[1] - times[0], times[2] - times[1]))
    base = np.array([min(x) for x in zip(*spent["none"], strict=True)])
    print(f"{'':22}{'run':>9}{'gradient':>12}")
    for name, pairs in spent.items():
        own = np.array([min(x) for x in zip(*pairs, strict=True)])
        print(f"{name:22}{own[0] * 1e3:6.0f} ms{own[1] * 1e3:9.0f} ms", *(own / base).round(2))


if __name__ == "__main__":
    main()
