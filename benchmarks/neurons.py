"""What each kind of neuron costs in lockstep beside LIF in the same network: processor time, the
least of several runs in turn.

1000 neurons with 100 synapses each and noise, in 500 cells, float32; the gradient is in all
parameters and weights. Linear neurons are stochastic, those that run away to a peak have noise on
their currents and a threshold, and each is beside LIF of the same kind.

    python -m benchmarks.neurons [NAME ...]
"""

import sys
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr

import roughsnn as rs

from .in_turn import least_times

NEURONS, SYNAPSES, CELLS = 1000, 100, 500
LISTS = rs.connectors.fixed_out_degree(NEURONS, NEURONS, SYNAPSES, key=jr.key(0), weights=1.0)
N = rs.neurons
CURRENTS = [N.AfterSpikeCurrent(0.1, -0.4, 0.9), N.AfterSpikeCurrent(0.02, 0.3)]
SPIKE, VOLTAGE = N.SpikeThreshold(0.05, 0.3), N.VoltageThreshold(0.2, 0.3)
BASIS = N.LaguerreBasis(0.04, (-0.4, 0.3, -0.2))


class Kind(NamedTuple):
    """A neuron, its drive, the peak of one that has one, and one of its milliseconds."""

    neuron: rs.AbstractNeuron
    drive: float = 1.5
    peak: float | None = None
    ms: float = 0.001


KINDS = {
    "LIF": Kind(N.LIF(0.02, sigma=0.3)),
    "AdaptiveLIF": Kind(N.AdaptiveLIF(0.02, 0.2, 0.3, sigma=0.3)),
    "GLIF 1": Kind(N.GLIF(0.02, 1.0, sigma=0.3)),
    "GLIF 2": Kind(N.GLIF(0.02, 1.0, spike_threshold=SPIKE, sigma=0.3)),
    "GLIF 3": Kind(N.GLIF(0.02, 1.0, currents=CURRENTS, sigma=0.3)),
    "GLIF 4": Kind(N.GLIF(0.02, 1.0, currents=CURRENTS, spike_threshold=SPIKE, sigma=0.3)),
    "GLIF 5": Kind(
        N.GLIF(
            0.02,
            1.0,
            currents=CURRENTS,
            spike_threshold=SPIKE,
            voltage_threshold=VOLTAGE,
            sigma=0.3,
        )
    ),
    "ResonateAndFire": Kind(N.ResonateAndFire(0.05, 6.0, sigma=0.3)),
    "HistoryFilter": Kind(N.HistoryFilter(0.02, [BASIS], 0.3)),
    "LIF, hard": Kind(N.LIF(0.02), 1.2, 1.0),
    "QIF": Kind(N.QIF(0.02, -0.3, 0.4, 1.2, -8.0), 2.0, 10.0),
    "EIF": Kind(N.EIF(), 6.0, -20.0, 1.0),
    "AdEx": Kind(N.AdEx(), 30.0, 0.0, 1.0),
    "Izhikevich": Kind(N.Izhikevich(), 10.0, 30.0, 1.0),
}


def total(kind: Kind, numbers: tuple[Any, Any], rest: Any, key: Any):
    """A sum over spike times, and the number of spikes."""
    parameters, values = numbers
    neuron, ms = eqx.combine(parameters, rest), kind.ms
    if kind.peak is None:
        firing, sigma = rs.StochasticFiring(rs.ExponentialIntensity(5.0 * 1e-3 / ms), 0.03), None
    else:
        firing, sigma = rs.HardThreshold(kind.peak), 0.1 * kind.drive / (5 * ms) ** 0.5
    ports = {"syn": rs.synapses.Exponential(5 * ms, sigma)}
    cells = rs.Population(NEURONS, neuron, firing, ports)
    synapses = rs.SparseWeights(LISTS.targets, values)
    projection = rs.Projection("n", "n", synapses, autapses=True)
    network = rs.SpikingNetwork({"n": cells}, [projection])
    drive = kind.drive * jnp.linspace(0.9, 1.1, NEURONS, dtype=values.dtype)
    window = rs.Window(0.0, CELLS * ms, ms)
    sim = rs.simulate(network, drive, window, key=key, max_spikes=40 * NEURONS)
    return jnp.sum(jnp.where(sim.spikes.marks >= 0, sim.spikes.times, 0)), sim.spikes.count


def main() -> None:
    """Prints a line for each of them."""
    names = ["LIF", "LIF, hard", *sys.argv[1:]] if sys.argv[1:] else list(KINDS)
    programs, spikes = {}, {}
    for name in names:
        kind = KINDS[name]
        values = 0.02 * kind.drive * jr.normal(jr.key(1), (NEURONS, SYNAPSES), jnp.float32)
        neuron = jax.tree.map(lambda x: x.astype(jnp.float32), kind.neuron)
        parameters, rest = eqx.partition(neuron, eqx.is_inexact_array)
        fn = lambda numbers, kind=kind, rest=rest: total(kind, numbers, rest, jr.key(2))
        run, gradient = jax.jit(fn), jax.jit(jax.grad(fn, has_aux=True))
        numbers = parameters, values
        programs[name, "run"] = lambda run=run, numbers=numbers: run(numbers)
        programs[name, "gradient"] = lambda run=gradient, numbers=numbers: run(numbers)
        spikes[name] = int(run(numbers)[1])
    spent = least_times(programs)
    print(f"{'':17}{'spikes':>7}{'run':>10}{'gradient':>12}   beside LIF")
    for name in names:
        base = "LIF" if KINDS[name].peak is None else "LIF, hard"
        own = [spent[name, what] for what in ("run", "gradient")]
        ratio = [spent[name, what] / spent[base, what] for what in ("run", "gradient")]
        times = f"{own[0] * 1e3:7.0f} ms{own[1] * 1e3:9.0f} ms"
        print(f"{name:17}{spikes[name]:7d}{times}   {ratio[0]:.2f} {ratio[1]:.2f}")


if __name__ == "__main__":
    main()
