"""Poisson spike trains."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._misc import at_least, at_most, check_positive_int, check_window
from .._path.jumps import arrivals, check_rates
from .._random import RandomKey, seeds
from .._types import Numeric, RealScalar
from .spike_train import SpikeTrain


def poisson_spikes(
    t0: RealScalar, t1: RealScalar, *, rates: Numeric, max_spikes: int, key: RandomKey
) -> SpikeTrain:
    r"""Independent Poisson spike trains, e.g. as input of a network.

    Each neuron has its own random numbers, so its train depends on its own rate only, and its
    spike times are differentiable in it.

    **Arguments:**

    - `t0`, `t1`: the window; concrete numbers.
    - `rates`: spikes per unit of time, not negative: shape `(neurons,)`, or `(steps, neurons)`, of
        each of so many equal steps of the window.
    - `max_spikes`: the room for the spikes of one neuron; the train has room for all of them.
    - `key`: a `jax.random.key`.

    **Returns:** a [`roughsnn.SpikeTrain`][]; `overflow` where a neuron had no room,
        or a traced rate is negative.

    **Raises:** `ValueError` for rates that are negative or not finite.
    """
    t0, t1, _ = check_window(t0, t1, 1.0, "dt")
    max_spikes = check_positive_int("max_spikes", max_spikes)
    rate = check_rates("rates", rates, 1, 2)
    steps = rate.ndim == 2
    if steps and rate.shape[0] == 0:
        raise ValueError(f"`rates` must have a step at least, got shape {rate.shape}.")
    mean = jnp.mean(rate, 0) if steps else rate
    neurons, words = rate.shape[-1], seeds(key)
    number = jnp.arange(neurons, dtype=jnp.int32)
    times = jax.vmap(lambda n, r: arrivals(words, n, max_spikes + 1, r, t0, t1))(number, mean)
    if steps:
        times = jax.vmap(lambda t, r: _changed(t, r, t0, t1))(times, rate.T)
    overflow = jnp.any(jnp.isfinite(times[:, -1])) | ~jnp.all(rate >= 0)
    flat = times[:, :-1].reshape(-1)
    marks = jnp.where(jnp.isfinite(flat), jnp.repeat(number, max_spikes), -1)
    order = jnp.argsort(jax.lax.stop_gradient(flat))
    return SpikeTrain(
        times=flat[order],
        marks=marks[order],
        count=jnp.sum(marks >= 0, dtype=jnp.int32),
        overflow=overflow,
        t0=t0,
        t1=t1,
        num_neurons=neurons,
    )


def _changed(
    times: Float[Array, " spikes"], rates: Float[Array, " steps"], t0: float, t1: float
) -> Float[Array, " spikes"]:
    """The times of a process with these rates, by those of one with their mean: where the integral
    of the rates is what it was of the mean."""
    length, there = (t1 - t0) / rates.shape[0], jnp.isfinite(times)
    integrals = jnp.cumsum(rates) * length
    wanted = jnp.where(there, times - t0, 0) * jnp.mean(rates)
    # The first step that reaches it, which has a rate; the last of those by rounding.
    last = rates.shape[0] - 1 - jnp.argmax(rates[::-1] > 0).astype(jnp.int32)
    step = jnp.searchsorted(integrals, jax.lax.stop_gradient(wanted)).astype(jnp.int32)
    step = jnp.minimum(step, last)
    rate = rates[step]
    left = (integrals[step] - wanted) / jnp.where(rate > 0, rate, 1)
    end = t0 + (step + 1).astype(times.dtype) * length
    # Within the step, and the window, by rounding.
    found = at_most(at_least(end - left, end - length), jnp.minimum(end, t1))
    return jnp.where(there, found, jnp.inf)
