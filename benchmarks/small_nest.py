"""Spikes of six neurons with delays in NEST, by its precise neurons: the numbers of
`tests/network/test_nest.py`.

pip install nest-simulator; python -m benchmarks.small_nest

NEST holds the potential in refractory times, and its precise neurons have one of a step at least:
the times at steps of 0.001 and 0.002 ms tell those without.
"""

from typing import Any

import numpy as np

from tests.network.test_nest import (
    DECAYS,
    DRIVE,
    RESET,
    SIZE,
    START,
    TAU,
    THRESHOLD,
    TIME,
    synapses,
)

LEAK = 12.5


def spikes(step: float) -> list[list[float]]:
    """The spike times of each neuron."""
    nest: Any = __import__("nest")
    nest.ResetKernel()
    nest.SetKernelStatus({"resolution": step})
    common = dict(C_m=TAU * LEAK, tau_m=TAU, E_L=0.0, V_th=THRESHOLD, V_reset=RESET, t_ref=step)
    decays = dict(tau_syn_ex=DECAYS[0], tau_syn_in=DECAYS[1])
    neurons = nest.Create("iaf_psc_exp_ps", SIZE, params=common | decays)
    weights, delays = synapses()
    for k in range(SIZE):
        neurons[k].set(I_e=DRIVE[k] * LEAK, V_m=START[k])
        for post in np.flatnonzero(weights[k]):
            options = {"weight": weights[k, post] * LEAK, "delay": delays[k, post]}
            nest.Connect(neurons[k], neurons[int(post)], "one_to_one", options)
    recorder = nest.Create("spike_recorder")
    nest.Connect(neurons, recorder)
    nest.Simulate(TIME)
    events = recorder.get("events")
    times, senders = np.asarray(events["times"]), np.asarray(events["senders"]) - 1
    return [np.sort(times[senders == k]).tolist() for k in range(SIZE)]


if __name__ == "__main__":
    for name, step in (("FINE", 0.001), ("COARSE", 0.002)):
        rows = (" ".join(f"{t:.6f}" for t in neuron) for neuron in spikes(step))
        print(name, "; ".join(rows))
