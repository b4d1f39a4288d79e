"""What a simulation takes, for each neuron and cell: memory forward and with the gradient in all
weights, from the compiled programs, and time.

`python -m benchmarks.memory [neurons] [cells ...]` prints a table; without cells 500 to 8000.
"""

import sys
import time

import jax
import jax.numpy as jnp
import jax.random as jr

import roughsnn as rs

from .networks import Network


def programs(net: Network, cells: int, adjoint: rs.AbstractAdjoint | None = None):
    """The functions of (weights, key): times of spikes, and the gradient of their mean."""
    window = rs.Window(0.0, cells * 1e-3, 1e-3)
    room = 4 * net.neurons * max(1, cells // 1000)
    engine = rs.Lockstep(adjoint=adjoint)

    def spikes(weights, key):
        return net.simulate(weights, key, window=window, max_spikes=room, engine=engine)

    def loss(weights, key):
        return jnp.mean(rs.losses.filtered(spikes(weights, key), jnp.array([window.t1]), 0.05))

    return spikes, jax.value_and_grad(loss, allow_int=True)


def main() -> None:
    """Prints the table."""
    numbers = [int(x) for x in sys.argv[1:]]
    neurons, lengths = (numbers or [1000])[0], numbers[1:] or [500, 1000, 2000, 4000, 8000]
    net = Network(neurons)
    print(f"{neurons} neurons, {net.targets.shape[1]} synapses each, float32")
    print("cells  what      bytes/(neuron cell)  bytes/neuron  first call/s  CPU/s")
    for cells in lengths:
        for name, fn in zip(("forward", "gradient"), programs(net, cells), strict=True):
            args = net.sparse(), jr.key(0)
            begin = time.perf_counter()
            compiled = jax.jit(fn).lower(*args).compile()
            first = time.perf_counter() - begin
            memory = compiled.memory_analysis()
            assert memory is not None
            total = memory.temp_size_in_bytes + memory.output_size_in_bytes
            jax.block_until_ready(compiled(*args))
            begin = time.process_time()
            jax.block_until_ready(compiled(*args))
            cpu = time.process_time() - begin
            row = f"{total / neurons / cells:19.2f}  {total / neurons:12.0f}"
            print(f"{cells:5d}  {name:8s}  {row}  {first:12.2f}  {cpu:5.2f}")


if __name__ == "__main__":
    main()
