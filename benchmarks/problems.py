"""The two settings that are timed: those of Holberg & Salvi, Section 5."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

import roughsnn as rs

BATCH = 128
ENGINES = {"event": rs.EventByEvent(), "lockstep": rs.Lockstep()}


def single_neuron(c: float, max_spikes: int = 3, *, engine: str = "event"):
    """One neuron on [0, 5] with 500 cells, ended at its third spike; the input is trained."""
    neuron = rs.neurons.LIF(1 / 15, rs.Subtract(1.4), sigma=0.25)
    firing = rs.StochasticFiring(rs.ExponentialIntensity(5.0, 1.0, 1.0), alpha=0.03)
    network = rs.SpikingNetwork(rs.Population(1, neuron, firing))

    def run(c, key):
        return rs.simulate(
            network,
            c[None],
            rs.Window(0.0, 5.0, 0.01, stop_after=3 if max_spikes == 3 else None),
            max_spikes=max_spikes,
            key=key,
            engine=ENGINES[engine],
        ).spikes

    return run, jnp.asarray(c)


def feed_forward(dt0: float = 0.01, *, engine: str = "event"):
    """22 neurons, 4-16-2, on [0, 1] with 100 cells; all weights are trained."""
    layers = (4, 16, 2)
    starts = np.cumsum((0, *layers))
    mask = np.zeros((22, 22), bool)
    weights = np.zeros((22, 22), np.float32)
    rng = np.random.default_rng(0)
    for pre in range(2):
        rows, columns = (slice(starts[pre + i], starts[pre + i + 1]) for i in range(2))
        shape = (layers[pre], layers[pre + 1])
        mask[rows, columns] = True
        weights[rows, columns] = rng.uniform(0.5, 1.5, shape) * 3 / layers[pre]
    population = rs.Population(
        22,
        rs.neurons.LIF(1 / 6, rs.Subtract(1.2), (0.25, 0.0)),
        rs.StochasticFiring(rs.ExponentialIntensity(5.0, 1.0, 1.0), alpha=0.03),
        ports={"syn": rs.synapses.Exponential(1 / 5, (0.0, 0.25))},
    )
    drive = jnp.asarray(1.5 * (np.arange(22) < 4), jnp.float32)
    initial = {"v": jnp.full(22, 1.1), "syn": jnp.full(22, 0.6)}

    def run(weights, key):
        network = rs.SpikingNetwork(population, weights=weights, mask=mask)
        return rs.simulate(
            network,
            drive,
            rs.Window(0.0, 1.0, dt0),
            max_spikes=256,
            key=key,
            initial=initial,
            engine=ENGINES[engine],
        ).spikes

    return run, jnp.asarray(weights)


PROBLEMS = {
    "single neuron, c = 1.5": lambda: single_neuron(1.5),
    "single neuron, c = 0.565": lambda: single_neuron(0.565),
    "single neuron, all spikes": lambda: single_neuron(1.5, 60),
    "network 4-16-2": feed_forward,
    "network 4-16-2, lockstep": lambda: feed_forward(engine="lockstep"),
    "network 4-16-2, lockstep, dt = 0.02": lambda: feed_forward(0.02, engine="lockstep"),
    "single neuron, c = 1.5, lockstep": lambda: single_neuron(1.5, engine="lockstep"),
    "single neuron, c = 0.565, lockstep": lambda: single_neuron(0.565, engine="lockstep"),
    "single neuron, all spikes, lockstep": lambda: single_neuron(1.5, 60, engine="lockstep"),
}


def mean_square(run):
    """A scalar of all spike times of a batch; padding counts as the end of the window."""

    def loss(parameters, keys):
        trains = jax.vmap(lambda key: run(parameters, key))(keys)
        times = jnp.where(trains.marks >= 0, trains.times, trains.t1)
        return jnp.mean(times**2)

    return loss


def keys():
    """One key for each sample."""
    return jr.split(jr.key(0), BATCH)
