"""Spikes that come from outside of a network."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._misc import as_float_array
from .._path.jumps import JumpPath
from .._path.spike_train import SpikeTrain
from .._types import Numeric
from .lockstep import Lockstep


class SpikeInput(eqx.Module):
    r"""A spike train as input of a network: at a spike of input $m$, $i_j \mathrel{+}= w_{mj}$.

    Recorded spikes, those of [`roughsnn.poisson_spikes`][] or of another network, with gradients
    with respect to the weights and to the spike times.

    **Arguments:**

    - `spikes`: one [`roughsnn.SpikeTrain`][] on the window of the simulation; for a batch
        `jax.vmap` over it.
    - `weights`: `weights[pre, post]`, shape `(inputs, neurons)`.

    **Raises:** `ValueError` for weights that do not fit the train or are not finite, and for a
        train that had no room for all of its spikes.
    """

    spikes: SpikeTrain
    weights: Float[Array, "inputs neurons"]

    def __init__(self, spikes: SpikeTrain, weights: Numeric):
        if not isinstance(spikes, SpikeTrain):
            raise TypeError(f"`spikes` must be a roughsnn.SpikeTrain, got {type(spikes).__name__}.")
        self.weights = as_float_array("weights", weights)
        if self.weights.ndim != 2 or self.weights.shape[0] != spikes.num_neurons:
            raise ValueError(
                f"`weights` must have shape ({spikes.num_neurons}, neurons), a row for each neuron "
                f"of the train, got {self.weights.shape}."
            )
        self.spikes = spikes.complete()

    def rows(self) -> Float[Array, "spikes neurons"]:
        """What each spike adds to the currents; 0 for padding."""
        there = self.spikes.marks >= 0
        rows = self.weights[jnp.where(there, self.spikes.marks, 0)]
        return jnp.where(there[:, None], rows, 0)

    def path(self) -> JumpPath:
        """The input as a driver of the currents."""
        return JumpPath(self.spikes.times, self.rows(), t0=self.spikes.t0, t1=self.spikes.t1)

    def check(self, neurons: int, t0: float, t1: float) -> None:
        """`ValueError` unless it fits a simulation of so many neurons on [t0, t1]."""
        if self.weights.shape[1] != neurons:
            raise ValueError(
                f"The weights of the input must have shape (inputs, {neurons}), got "
                f"{self.weights.shape}."
            )
        if (self.spikes.t0, self.spikes.t1) != (t0, t1):
            raise ValueError(
                "The train must be on the window of the simulation, "
                f"[{t0}, {t1}], got [{self.spikes.t0}, {self.spikes.t1}]. Cut it with "
                "SpikeTrain.window."
            )


def delivered_inputs(
    engine: Lockstep, inputs: SpikeInput, dt0: float, lengths: Float[Array, " cells"]
) -> Float[Array, "cells 3 neurons"]:
    """What the spikes of an input add to each cell of a lockstep simulation."""
    times, rows = (x.astype(lengths.dtype) for x in (inputs.path().jump_times, inputs.rows()))
    cells, n = lengths.shape[0], rows.shape[1]
    there = jnp.isfinite(times)
    since = jnp.where(there, times, inputs.spikes.t0) - inputs.spikes.t0
    cell = jnp.floor(jax.lax.stop_gradient(since) / dt0).astype(jnp.int32)
    cell = jnp.clip(cell, 0, cells - 1)
    length = lengths[cell]
    left = jnp.where(there, cell.astype(since.dtype) * dt0 + length - since, 0)
    sources = jax.vmap(lambda h, r: jnp.stack(engine.response(h).sources(r)))(length, left)
    kinds = sources.shape[1]
    # So many spikes at a time that they take about as much memory as the result.
    size = max(1, min(times.shape[0], cells))
    blocks = -(-times.shape[0] // size)

    def pad(x):
        x = jnp.pad(x, [(0, blocks * size - x.shape[0])] + [(0, 0)] * (x.ndim - 1))
        return x.reshape(blocks, size, *x.shape[1:])

    def some(total, block):
        cell, sources, rows = block
        return total.at[cell].add(sources[:, :, None] * rows[:, None, :]), None

    zero = jnp.zeros((cells, kinds, n), rows.dtype)
    sums, _ = jax.lax.scan(some, zero, (pad(cell), pad(sources), pad(rows)))

    def response(length, sums):
        return jnp.stack(engine.response(length).targets([sums[k] for k in range(kinds)]))

    return jax.vmap(response)(lengths, sums)
