"""Every neuron and synapse: a new one is tested by adding a row."""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

import roughsnn as rs

N, S = rs.neurons, rs.synapses


def _glif(level: int, sigma):
    """GLIF 1 to 5, with resets by subtraction, which go with noise."""
    currents = [N.AfterSpikeCurrent(0.1, -0.4, 0.9), N.AfterSpikeCurrent(0.02, 0.3)]
    return N.GLIF(
        0.07,
        1.0,
        1.1,
        currents=currents if level >= 3 else (),
        spike_threshold=N.SpikeThreshold(0.05, 0.3) if level in (2, 4, 5) else None,
        voltage_threshold=N.VoltageThreshold(0.2, 0.3) if level == 5 else None,
        sigma=sigma,
    )


# From the strengths of the noise, for each of two channels, or `None`.
NEURONS = {
    "LIF": lambda sigma: N.LIF(0.07, rs.Subtract(1.2), sigma),
    "AdaptiveLIF": lambda sigma: N.AdaptiveLIF(0.07, 0.2, 0.3, rs.Subtract(1.0), sigma),
    **{f"GLIF{k}": lambda sigma, k=k: _glif(k, sigma) for k in range(1, 6)},
    "HistoryFilter": lambda sigma: N.HistoryFilter(
        0.07,
        [N.ExponentialBasis((0.03, 0.2), (-1.2, 0.3)), N.LaguerreBasis(0.04, (-0.4, 0.3, -0.2))],
        sigma,
    ),
    "ResonateAndFire": lambda sigma: N.ResonateAndFire(0.15, 6.0, rs.Subtract(0.8), sigma),
}
SYNAPSES = {
    "Exponential": lambda sigma: S.Exponential(0.05, sigma),
    "Alpha": lambda sigma: S.Alpha(0.05),
    "DoubleExponential": lambda sigma: S.DoubleExponential(0.01, 0.06),
}
# Each neuron with the usual synapse, each synapse with the usual neuron, and the richest of both.
PAIRS = [
    *((neuron, "Exponential") for neuron in NEURONS),
    *(("LIF", synapse) for synapse in SYNAPSES if synapse != "Exponential"),
    ("GLIF5", "Alpha"),
]
WEIGHTS = np.array([[0.0, 0.9, -0.5], [0.6, 0.0, 0.7], [-0.4, 0.8, 0.0]])
# Those with a high threshold, or that the drive only makes turn, get more of it; less, where no
# spike resets the potential.
MORE = {"GLIF5": 1.4, "ResonateAndFire": 1.8, "HistoryFilter": 0.95}


def drive(neuron: str):
    """An input at which each neuron fires some times in half a unit of time."""
    return MORE.get(neuron, 1.0) * jnp.array([1.5, 1.3, 1.2])


def population(neuron: str, synapse: str, noisy: bool = True, firing=None) -> rs.Population:
    """Three of a neuron, with a port of a synapse."""
    sigma, of_port = ((0.2, 0.0), (0.0, 0.2)) if noisy else (None, None)
    if firing is None:
        firing = rs.StochasticFiring(rs.ExponentialIntensity(beta=5.0), 0.03)
    ports = {"syn": SYNAPSES[synapse](of_port)}
    return rs.Population(3, NEURONS[neuron](sigma), firing, ports)


def network(neuron: str, synapse: str) -> rs.SpikingNetwork:
    """Three of them, coupled."""
    return rs.SpikingNetwork(population(neuron, synapse), weights=WEIGHTS)


def delayed(neuron: str, noisy: bool = True, firing=None) -> rs.SpikingNetwork:
    """Two populations of a neuron that is refractory, with delays within and between them."""
    whole = population(neuron, "Exponential", noisy, firing)
    part = lambda size: rs.Population(
        size, whole.neuron, whole.firing, whole.ports, refractory=0.011
    )
    delays = 0.03 + 0.01 * np.arange(6).reshape(3, 2)
    return rs.SpikingNetwork(
        {"a": part(3), "b": part(2)},
        [
            rs.Projection("a", "a", WEIGHTS, delay=0.023),
            rs.Projection("a", "b", np.abs(WEIGHTS[:, :2]) + 0.2, delay=delays),
            rs.Projection("b", "a", -0.3 * np.ones((2, 3))),
        ],
    )


class Run(NamedTuple):
    """How a neuron with a peak is driven: it fires some times before `t1`."""

    peak: float
    # A lower one, where steps of `dt` follow the upstroke without the coordinate.
    near: float
    drive: tuple[float, float, float]
    t1: float
    # A step that follows the upstroke in the coordinate.
    dt: float
    # The decay of the currents of its port, and how strong they are.
    tau: float
    weight: float


# Neurons that run away to a peak. Those of the papers are in mV and ms.
NONLINEAR = {
    "QIF": lambda sigma: N.QIF(0.02, -0.3, 0.4, 1.2, -8.0, sigma),
    "EIF": lambda sigma: N.EIF(sigma=sigma),
    "AdEx": lambda sigma: N.AdEx(sigma=sigma),
    "Izhikevich": lambda sigma: N.Izhikevich(sigma=sigma),
}
RUNS = {
    "QIF": Run(10.0, 2.0, (3.0, 2.0, 2.5), 0.12, 0.002, 0.02, 2.0),
    "EIF": Run(-20.0, -50.0, (12.0, 9.0, 10.0), 80.0, 0.1, 10.0, 5.0),
    "AdEx": Run(0.0, -43.0, (40.0, 32.0, 36.0), 60.0, 0.1, 10.0, 12.0),
    "Izhikevich": Run(30.0, 20.0, (14.0, 10.0, 12.0), 100.0, 0.1, 10.0, 5.0),
}


def runaways(neuron: str, noisy: bool = False, **options: Any) -> rs.SpikingNetwork:
    """Three neurons with a peak, coupled by currents; noisy ones come with the lower peak."""
    run = RUNS[neuron]
    sigma = 0.3 * run.weight / run.tau**0.5 if noisy else None
    ports = {"syn": S.Exponential(run.tau, sigma)}
    firing = rs.HardThreshold(run.near if noisy else run.peak)
    part = rs.Population(3, NONLINEAR[neuron](None), firing, ports, **options)
    return rs.SpikingNetwork(part, weights=run.weight * WEIGHTS)
