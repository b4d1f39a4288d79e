"""Poisson spike trains."""

import jax
import jax.numpy as jnp

from .._misc import check_positive_int, check_window
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
    - `rates`: spikes per unit of time, shape `(neurons,)`, not negative.
    - `max_spikes`: the room for the spikes of one neuron; the train has room for all of them.
    - `key`: a `jax.random.key`.

    **Returns:** a [`roughsnn.SpikeTrain`][]; `overflow` where a neuron had no room,
        or a traced rate is negative.

    **Raises:** `ValueError` for rates that are negative or not finite.
    """
    t0, t1, _ = check_window(t0, t1, 1.0, "dt")
    max_spikes = check_positive_int("max_spikes", max_spikes)
    rate = check_rates("rates", rates, 1)
    neurons, words = rate.shape[0], seeds(key)
    number = jnp.arange(neurons, dtype=jnp.int32)
    times = jax.vmap(lambda n, r: arrivals(words, n, max_spikes + 1, r, t0, t1))(number, rate)
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
