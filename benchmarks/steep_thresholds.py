"""The mean pathwise derivative beside that of the mean, as a random threshold becomes steep.

One neuron with noise on its potential, driven to 0.8 of its threshold: dE[tau_1]/dc by AD and by
differences of means on the same keys, each with its standard error.

    python benchmarks/steep_thresholds.py
"""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

import roughsnn as rs

SAMPLES, STEP, END = 20_000, 0.02, 2.0


def first_spike(beta: float, c: jax.Array, key: jax.Array) -> jax.Array:
    """The time of the first spike, or the end of the window."""
    neuron = rs.neurons.LIF(1 / 15, rs.Subtract(1.4), sigma=0.5)
    firing = rs.StochasticFiring(rs.ExponentialIntensity(beta, 1.0, 0.02))
    network = rs.SpikingNetwork(rs.Population(1, neuron, firing))
    window = rs.Window(0.0, END, 0.005, stop_after=1)
    train = rs.simulate(network, c[None], window, max_spikes=1, key=key).spikes
    return jnp.minimum(train.times[0], END)


def main() -> None:
    """Prints a line for each steepness."""
    jax.config.update("jax_enable_x64", True)
    c, keys = jnp.asarray(0.8), jr.split(jr.key(0), (20, SAMPLES // 20))
    for beta in (10.0, 20.0, 40.0, 100.0):

        @jax.jit
        @jax.vmap
        def both(key, beta=beta):
            f = lambda c: first_spike(beta, c, key)
            return jax.jvp(f, (c,), (1.0,))[1], (f(c + STEP) - f(c - STEP)) / (2 * STEP)

        pathwise, difference = (np.ravel(x) for x in jax.lax.map(both, keys))
        mean = lambda x: f"{x.mean():.3f} +- {x.std(ddof=1) / x.size**0.5:.3f}"
        print(f"beta {beta:5.0f}: pathwise {mean(pathwise)}, differences {mean(difference)}")


if __name__ == "__main__":
    main()
