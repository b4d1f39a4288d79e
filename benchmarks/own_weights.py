"""What a batch costs whose samples have weights of their own, beside one that shares them.

1000 neurons with 100 synapses each, in 1000 cells, float32; 4 samples.

    python -m benchmarks.own_weights
"""

import functools as ft

import jax
import jax.numpy as jnp
import jax.random as jr

import roughsnn as rs

from .in_turn import least_times
from .networks import Network

NEURONS, SAMPLES = 1000, 4


def main() -> None:
    """Prints a line for lists of targets, and one for a matrix."""
    network, keys = Network(NEURONS), jr.split(jr.key(1), SAMPLES)
    lists = network.sparse()
    kinds = {
        "lists": (lists.values, lambda x: rs.SparseWeights(network.targets, x)),
        "matrix": (lists.to_dense(), lambda x: x),
    }
    for kind, (values, weights) in kinds.items():

        def total(x, key, weights=weights):
            found = network.simulate(weights(x), key)
            return jnp.sum(jnp.where(found.marks >= 0, found.times, 0))

        programs = {}
        for mode, fn in {"run": total, "gradient": jax.grad(total)}.items():
            batch = {"shared": (None, 0), "own": (0, 0)}
            for name, axes in batch.items():
                x = jnp.stack([values] * SAMPLES) if name == "own" else values
                programs[f"{mode} {name}"] = ft.partial(jax.jit(jax.vmap(fn, axes)), x, keys)
        spent = least_times(programs)
        for mode in ("run", "gradient"):
            shared, own = spent[f"{mode} shared"], spent[f"{mode} own"]
            print(f"{kind:8}{mode:10}{shared:7.3f} s shared{own:7.3f} s own{own / shared:6.2f}")


if __name__ == "__main__":
    main()
