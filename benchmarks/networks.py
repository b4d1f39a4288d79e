"""The large networks that are timed: stochastic neurons with random synapses."""

import jax.numpy as jnp
import jax.random as jr
import numpy as np

import roughsnn as rs

SYNAPSES = 100
TAU, SIGMA, BETA, ALPHA = (0.05, 0.01), 0.3, 5.0, 0.03


class Network:
    """So many neurons with so many synapses each, balanced, for one second in cells of 1 ms.

    The input of each neuron is drawn from `drive`.
    """

    def __init__(
        self, neurons: int, synapses: int = SYNAPSES, drive: tuple[float, float] = (0.5, 1.4)
    ):
        rng = np.random.default_rng(0)
        self.neurons = neurons
        made = rs.connectors.fixed_out_degree(
            neurons, neurons, synapses, key=jr.key(0), weights=1.0, autapses=False
        )
        self.targets = np.asarray(made.targets)
        scale = 0.03 * (SYNAPSES / synapses) ** 0.5
        self.values = rng.normal(size=self.targets.shape).astype(np.float32) * np.float32(scale)
        self.drive = rng.uniform(*drive, neurons).astype(np.float32)

    def simulate(
        self,
        weights,
        key=None,
        *,
        window: rs.Window | None = None,
        max_spikes: int | None = None,
        engine: rs.Lockstep | None = None,
    ):
        """One sample."""
        drive = jnp.asarray(self.drive)
        population = rs.Population(
            self.neurons,
            rs.neurons.LIF(TAU[0], sigma=SIGMA),
            rs.StochasticFiring(rs.ExponentialIntensity(BETA, 1.0, 1.0), ALPHA),
            ports={"syn": rs.synapses.Exponential(TAU[1])},
        )
        network = rs.SpikingNetwork(population, weights=weights)
        return rs.simulate(
            network,
            drive,
            rs.Window(0.0, 1.0, 0.001) if window is None else window,
            max_spikes=max_spikes or 4 * self.neurons,
            key=jr.key(0) if key is None else key,
            engine=engine,
        ).spikes

    def sparse(self) -> rs.SparseWeights:
        """Lists of targets."""
        return rs.SparseWeights(self.targets, jnp.asarray(self.values))
