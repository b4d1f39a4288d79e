"""Summary statistics of free simulations and of recordings, and their distances: what
sample-and-measure fits (Bellec, Wang, Modirshanechi, Brea & Gerstner, NeurIPS 2021)."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._misc import check_positive_float, einsum
from .._train.check import check_batches, check_trains
from .._train.spike_train import SpikeTrain
from .._types import Scalar
from .boundary import counts, filtered
from .distance import squared_mean_distance


def smoothed(
    batch: SpikeTrain, ts: Float[Array, " times"], timescale: float
) -> Float[Array, "trials times neurons"]:
    r"""The rate of each neuron in each trial, by a kernel behind the spikes.

    [`roughsnn.losses.filtered`][] divided by $e\tau$, so that it has the unit of a rate. It is
    continuous in the spike times, so every function of it has the right pathwise gradient: products
    of neurons too, where counts in bins would miss what happens as a spike passes an edge.

    **Arguments:**

    - `batch`: a batch of trains.
    - `ts`: times in the window, increasing.
    - `timescale`: $\tau$ of the kernel $t\,e^{-t/\tau}/\tau^2$, whose mean is $2\tau$.

    **Returns:** shape `(trials, times, neurons)`, in 1/time.

    **Raises:** `ValueError` for a train that is no batch, or has spikes missing.
    """
    tau = check_positive_float("timescale", timescale)
    check_trains("batch", batch, batch=True)
    return jax.vmap(lambda train: filtered(train, ts, tau))(batch) / (np.e * tau)


def psth(
    batch: SpikeTrain, ts: Float[Array, " times"], timescale: float
) -> Float[Array, "times neurons"]:
    """The peri-stimulus time histogram: the mean over trials of [`roughsnn.losses.smoothed`][]
    rates; arguments as there."""
    return jnp.mean(smoothed(batch, ts, timescale), axis=0)


def psth_distance(
    x: SpikeTrain,
    y: SpikeTrain,
    ts: Float[Array, " times"],
    timescale: float,
    *,
    unbiased: bool = True,
) -> Scalar:
    """The squared difference of two PSTHs, averaged over times and neurons.

    **Arguments:**

    - `x`, `y`: batches of trains, of the model and of the data, of one stimulus (`jax.vmap` over
        stimuli).
    - `ts`, `timescale`: as for [`roughsnn.losses.smoothed`][].
    - `unbiased`: take off what finite numbers of trials make it too large, so that the minimum is
        at the truth.

    **Returns:** a scalar, in 1/time squared.

    **Raises:** `ValueError` for trains of different kinds, for a single trial if `unbiased`.
    """
    check_batches(x, y)
    flat = [smoothed(b, ts, timescale) for b in (x, y)]
    size = flat[0][0].size
    flat = [b.reshape(b.shape[0], -1) for b in flat]
    return squared_mean_distance(*flat, unbiased=unbiased) / size


def noise_covariance(
    batch: SpikeTrain,
    ts: Float[Array, " times"],
    timescale: float,
    *,
    lags: Sequence[int] = (0,),
) -> Float[Array, "lags neurons neurons"]:
    r"""$M_{ij}(d) = \text{cov}(z_{t-d,i}, z_{t,j})$ over trials, averaged over times t.

    Of the [`roughsnn.losses.smoothed`][] rates z less their mean over trials: what neurons share
    beyond the stimulus. Estimated without bias.

    **Arguments:**

    - `batch`: a batch of at least two trials of one stimulus.
    - `ts`, `timescale`: as for [`roughsnn.losses.smoothed`][]; `ts` evenly spaced.
    - `lags`: d in steps of `ts`, not negative.

    **Returns:** shape `(lags, neurons, neurons)`, in 1/time squared; [lag, pre, post].

    **Raises:** `ValueError` for a single trial, and for lags that reach beyond `ts`.
    """
    pairs = _residuals(batch, ts, timescale, lags)
    return jnp.stack([einsum("kti,ktj->ij", a, b) / (a.shape[0] * a.shape[1]) for a, b in pairs])


def noise_correlation(
    batch: SpikeTrain,
    ts: Float[Array, " times"],
    timescale: float,
    *,
    lags: Sequence[int] = (0,),
) -> Float[Array, "lags neurons neurons"]:
    """[`roughsnn.losses.noise_covariance`][] divided by the standard deviations of both neurons; 0
    for a neuron that does not vary."""
    covariance = noise_covariance(batch, ts, timescale, lags=(0, *lags))
    variance, covariance = jnp.diagonal(covariance[0]), covariance[1:]
    moves = variance > 0
    scale = jnp.where(moves, 1 / jnp.sqrt(jnp.where(moves, variance, 1)), 0)
    return covariance * (scale[:, None] * scale[None])[None]


def covariance_distance(
    x: SpikeTrain,
    y: SpikeTrain,
    ts: Float[Array, " times"],
    timescale: float,
    *,
    lags: Sequence[int] = (0,),
    unbiased: bool = True,
) -> Scalar:
    """The squared difference of two [`roughsnn.losses.noise_covariance`][], averaged over lags and
    pairs of neurons.

    Arguments as there and for [`roughsnn.losses.psth_distance`][]. `unbiased` takes off what the
    fluctuations of both estimates add, up to a part of order 1/trials of it.
    """
    check_batches(x, y)
    flat = [_products(b, ts, timescale, lags) for b in (x, y)]
    size = flat[0][0].size
    flat = [b.reshape(b.shape[0], -1) for b in flat]
    return squared_mean_distance(*flat, unbiased=unbiased) / size


def rate_penalty(
    x: SpikeTrain, rate: float | Float[Array, " neurons"], *, neurons: Sequence[int] | None = None
) -> Scalar:
    """The squared difference of mean rates from a target, averaged over neurons: keeps hidden
    neurons, of which no data speak, from falling silent or exploding.

    **Arguments:**

    - `x`: a batch of trains from [`roughsnn.simulate`][].
    - `rate`: the target, in 1/time; for all or for each.
    - `neurons`: which ones; by default all.

    **Returns:** a scalar, without bias, with the gradient of its mean (see
    [`roughsnn.losses.counts`][]).

    **Raises:** `ValueError` for fewer than two trials, or trains that were not simulated.
    """
    _check_trials("x", x)
    index = np.arange(x.num_neurons) if neurons is None else np.asarray(neurons)
    rates = jax.vmap(counts)(x)[:, index] / (x.t1 - x.t0)
    target = jnp.asarray(rate, rates.dtype)
    off = jnp.mean(rates, 0) - target
    noise = jnp.var(rates, 0, ddof=1) / rates.shape[0]
    return jnp.mean(off**2 - noise)


def _residuals(batch, ts, timescale, lags) -> list[tuple[Array, Array]]:
    """For each lag the rates less their mean over trials, (trials, times, neurons), early and late;
    scaled so that mean products are unbiased."""
    _check_trials("batch", batch)
    lags, length = [int(d) for d in lags], ts.shape[0]
    if not lags or min(lags) < 0 or max(lags) >= length:
        raise ValueError(f"`lags` must be in 0 ... {length - 1}, steps of `ts`, got {lags}.")
    z = smoothed(batch, ts, timescale)
    trials = z.shape[0]
    z = (z - jnp.mean(z, 0, keepdims=True)) * (trials / (trials - 1)) ** 0.5
    return [(z[:, : length - d], z[:, d:]) for d in lags]


def _products(batch, ts, timescale, lags) -> Float[Array, "trials lags neurons neurons"]:
    """What each trial adds to the covariances."""
    pairs = _residuals(batch, ts, timescale, lags)
    return jnp.stack([einsum("kti,ktj->kij", a, b) / a.shape[1] for a, b in pairs], axis=1)


def _check_trials(name: str, batch: SpikeTrain) -> None:
    check_trains(name, batch, batch=True)
    if batch.times.shape[0] < 2:
        raise ValueError(f"`{name}` must have at least two trials: they are compared.")
