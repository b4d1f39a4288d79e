"""Spikes that come from outside of a network."""

import dataclasses

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._misc import as_float_array
from .._path.jumps import JumpPath, check_jump_times
from .._train.check import check_trains
from .._train.spike_train import SpikeTrain
from .._types import Numeric, Scalar


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
        check_trains("spikes", spikes)
        self.weights = as_float_array("weights", weights)
        if self.weights.ndim != 2 or self.weights.shape[0] != spikes.num_neurons:
            raise ValueError(
                f"`weights` must have shape ({spikes.num_neurons}, neurons), a row for each neuron "
                f"of the train, got {self.weights.shape}."
            )
        self.spikes = spikes.complete()

    def checked(self, neurons: int, t0: float, t1: float) -> "SpikeInput":
        """This input; `ValueError` unless it fits a simulation of so many neurons on [t0, t1]."""
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
        times = check_jump_times(self.spikes.times, t0, t1)
        spikes = dataclasses.replace(self.spikes, times=times).local()
        return eqx.tree_at(lambda one: one.spikes, self, spikes)

    def path(self, t0: float, t1: float, since: Scalar) -> JumpPath:
        """The input as a driver of the currents on [t0, t1], with times that count from `since`."""
        there = self.spikes.marks >= 0
        rows = self.weights[jnp.where(there, self.spikes.marks, 0)]
        sizes = jnp.where(there[:, None], rows, 0)
        # The times were checked at the door, and are not again in the program.
        empty = JumpPath(np.full(sizes.shape[0], np.inf), np.zeros(sizes.shape), t0=t0, t1=t1)
        return eqx.tree_at(
            lambda p: (p.jump_times, p.sizes),
            empty,
            (self.spikes.times + since.astype(self.spikes.times.dtype), sizes),
        )
