"""One network on all devices that JAX has: samples shared out, or neurons.

The same script runs on one device, on several, and as several processes; the numbers are the same
to rounding. Arrays that are shared out are placed so, and XLA does the rest.

    python examples/devices.py
    XLA_FLAGS=--xla_force_host_platform_device_count=4 python examples/devices.py
    python examples/devices.py --coordinator localhost:12345 --processes 2 --process 0 &
    python examples/devices.py --coordinator localhost:12345 --processes 2 --process 1
"""

import argparse
import functools
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

import roughsnn as rs

NEURONS, SYNAPSES, SAMPLES = 240, 20, 12


@functools.cache
def connections() -> np.ndarray:
    """The targets of each neuron; made once JAX knows of all processes."""
    sizes = NEURONS, NEURONS, SYNAPSES
    made = rs.connectors.fixed_out_degree(*sizes, key=jr.key(0), weights=1.0, autapses=False)
    return np.asarray(made.targets)


def loss(values: jax.Array, drive: jax.Array, keys: jax.Array) -> jax.Array:
    """The mean square of all spike times."""
    population = rs.Population(
        NEURONS,
        rs.neurons.LIF(tau=0.05, sigma=0.3),
        rs.StochasticFiring(rs.ExponentialIntensity(5.0, 1.0, 1.0), alpha=0.03),
        ports={"syn": rs.synapses.Exponential(tau=0.01)},
    )
    network = rs.SpikingNetwork(population, weights=rs.SparseWeights(connections(), values))

    def one(key):
        train = rs.simulate(
            network, drive, rs.Window(0.0, 0.5, 0.005), max_spikes=10 * NEURONS, key=key
        ).spikes
        return jnp.mean(jnp.where(train.marks >= 0, train.times, train.t1) ** 2)

    return jnp.mean(jax.vmap(one)(keys))


def place(value: np.ndarray, mesh, spec: P) -> jax.Array:
    """An array shared out over all devices of all processes."""
    sharding = NamedSharding(mesh, spec)
    return jax.make_array_from_callback(value.shape, sharding, lambda index: value[index])


def run(shared: str) -> dict:
    """Value and gradients, with samples or neurons shared out."""
    mesh = jax.make_mesh((jax.device_count(),), ("all",), axis_types=(jax.sharding.AxisType.Auto,))
    rng = np.random.default_rng(0)
    dtype = jnp.result_type(float)
    by_neuron = P("all") if shared == "neurons" else P()
    by_sample = P("all") if shared == "samples" else P()
    values = place((rng.normal(size=connections().shape) * 0.1).astype(dtype), mesh, by_neuron)
    drive = place(rng.uniform(1.2, 2.0, NEURONS).astype(dtype), mesh, by_neuron)
    keys = jr.wrap_key_data(
        place(np.asarray(jr.key_data(jr.split(jr.key(0), SAMPLES))), mesh, by_sample)
    )
    fn = jax.jit(jax.value_and_grad(loss, argnums=(0, 1)), out_shardings=NamedSharding(mesh, P()))
    value, (of_values, of_drive) = fn(values, drive, keys)
    here = lambda x: np.asarray(x.addressable_data(0))
    return {
        "loss": float(here(value)),
        "gradient in the weights": float(np.linalg.norm(here(of_values))),
        "gradient in the input": here(of_drive)[:5].tolist(),
    }


def main(argv: list[str] | None = None) -> dict:
    """Prints the results, and writes them where `--out` says."""
    parser = argparse.ArgumentParser(description="Samples or neurons on all devices.")
    parser.add_argument("--coordinator", help="address of the first process, HOST:PORT")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--process", type=int, default=0, help="the number of this one")
    parser.add_argument("--x64", action="store_true", help="in float64")
    parser.add_argument("--out", type=Path, help="a JSON file")
    args = parser.parse_args(argv)
    jax.config.update("jax_enable_x64", args.x64)
    if args.coordinator:
        jax.distributed.initialize(args.coordinator, args.processes, args.process)
    results = {"devices": jax.device_count(), "processes": jax.process_count()}
    results |= {shared: run(shared) for shared in ("samples", "neurons")}
    print(json.dumps(results, indent=1))
    if args.out is not None:
        args.out.write_text(json.dumps(results))
    return results


if __name__ == "__main__":
    main()
