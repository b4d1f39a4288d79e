"""Summary statistics of free simulations and of recordings, and their distances: what
sample-and-measure fits (Bellec, Wang, Modirshanechi, Brea & Gerstner, NeurIPS 2021)."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._check import as_integers
from .._misc import as_numbers, check_finite, check_positive_float, einsum, is_concrete
from .._train.check import check_batches, check_several, check_trains
from .._train.spike_train import SpikeTrain
from .._types import Scalar
from .boundary import counted, filtered
from .distance import squared_mean_distance
from .missing import Missing, accepted, check_ts


def smoothed(
    batch: SpikeTrain,
    ts: Float[Array, " times"],
    timescale: float,
    *,
    missing: Missing = "raise",
) -> Float[Array, "trials times neurons"]:
    r"""The rate of each neuron in each trial, by a kernel behind the spikes.

    $$r(t) = \frac{1}{P(2, (t - t_0)/\tau)} \sum_{\tau_n < t} \kappa(t - \tau_n), \qquad
      \kappa(s) = \frac{s}{\tau^2} e^{-s/\tau}, \qquad P(2, x) = 1 - e^{-x}(1 + x).$$

    P is the part of the kernel that lies in the window, so that a constant rate reads constant from
    its start on; it is noisy there, as little has been seen. Continuous in the spike times, so
    every function of it has the right pathwise gradient: products of neurons too, where counts in
    bins would miss what happens as a spike passes an edge.

    **Arguments:**

    - `batch`: a batch of trains.
    - `ts`: times in the window, behind its start, increasing.
    - `timescale`: $\tau$ of the kernel, whose mean is $2\tau$.
    - `missing`: what to do about a train with spikes missing: `"raise"`, or return `"nan"` for it.

    **Returns:** shape `(trials, times, neurons)`, in 1/time.

    **Raises:** `ValueError` for a train that is no batch, or has spikes missing, and for times that
        are not in order or outside of the window.
    """
    tau = check_positive_float("timescale", timescale)
    check_trains("batch", batch, batch=True)
    ts = check_ts(ts, batch, after_start=True)
    inside = jax.scipy.special.gammainc(2.0, (ts - batch.t0) / tau)
    return _seen(batch, ts, tau, missing) / inside[None, :, None]


def _seen(batch: SpikeTrain, ts, tau: float, missing: Missing) -> Array:
    """The rates by the part of the kernel that lies in the window; less where little is seen."""
    # Checked outside of `vmap`, in which nothing is known, so nothing can be refused at once.
    batch = accepted(batch, missing)
    each = jax.vmap(lambda train: filtered(train, ts, tau, missing="nan"))(batch)
    return each / (np.e * tau)


def psth(
    batch: SpikeTrain,
    ts: Float[Array, " times"],
    timescale: float,
    *,
    missing: Missing = "raise",
) -> Float[Array, "times neurons"]:
    """The peri-stimulus time histogram: the mean over trials of [`roughsnn.losses.smoothed`][]
    rates; arguments as there. With `missing="nan"` it is nan if spikes are missing in any trial."""
    return jnp.mean(smoothed(batch, ts, timescale, missing=missing), axis=0)


def psth_distance(
    x: SpikeTrain,
    y: SpikeTrain,
    ts: Float[Array, " times"],
    timescale: float,
    *,
    unbiased: bool = True,
    missing: Missing = "raise",
) -> Scalar:
    """The squared difference of two PSTHs, averaged over times and neurons.

    Each time counts by the square of the part of the kernel that lies in the window, as little is
    known just behind its start.

    **Arguments:**

    - `x`, `y`: batches of trains, of the model and of the data, of one stimulus (`jax.vmap` over
        stimuli).
    - `ts`, `timescale`: as for [`roughsnn.losses.smoothed`][].
    - `unbiased`: take off what finite numbers of trials make it too large, so that the minimum is
        at the truth.
    - `missing`: as for [`roughsnn.losses.smoothed`][].

    **Returns:** a scalar, in 1/time squared.

    **Raises:** `ValueError` for trains of different kinds, for a single trial if `unbiased`.
    """
    check_batches(x, y)
    tau, ts = check_positive_float("timescale", timescale), check_ts(ts, x, after_start=True)
    flat = [_seen(b, ts, tau, missing) for b in (x, y)]
    size = flat[0][0].size
    flat = [b.reshape(b.shape[0], -1) for b in flat]
    return squared_mean_distance(*flat, unbiased=unbiased) / size


def noise_covariance(
    batch: SpikeTrain,
    ts: Float[Array, " times"],
    timescale: float,
    *,
    lags: Sequence[int] = (0,),
    missing: Missing = "raise",
) -> Float[Array, "lags neurons neurons"]:
    r"""$M_{ij}(d) = \text{cov}(z_{t-d,i}, z_{t,j})$ over trials, averaged over times t.

    Of the [`roughsnn.losses.smoothed`][] rates z, times the part of the kernel that lies in the
    window, less their mean over trials: what neurons share beyond the stimulus. Estimated without
    bias.

    **Arguments:**

    - `batch`: a batch of at least two trials of one stimulus.
    - `ts`, `timescale`: as for [`roughsnn.losses.smoothed`][]; `ts` evenly spaced.
    - `lags`: d in steps of `ts`, not negative.
    - `missing`: as for [`roughsnn.losses.smoothed`][].

    **Returns:** shape `(lags, neurons, neurons)`, in 1/time squared; [lag, pre, post].

    **Raises:** `ValueError` for a single trial, and for lags that reach beyond `ts`.
    """
    pairs = _residuals("batch", batch, ts, timescale, lags, missing)
    return jnp.stack([einsum("kti,ktj->ij", a, b) / (a.shape[0] * a.shape[1]) for a, b in pairs])


def noise_correlation(
    batch: SpikeTrain,
    ts: Float[Array, " times"],
    timescale: float,
    *,
    lags: Sequence[int] = (0,),
    missing: Missing = "raise",
) -> Float[Array, "lags neurons neurons"]:
    """[`roughsnn.losses.noise_covariance`][] divided by the standard deviations of both neurons; 0
    for a neuron that does not vary."""
    covariance = noise_covariance(
        batch, ts, timescale, lags=(0, *_check_lags(lags)), missing=missing
    )
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
    missing: Missing = "raise",
) -> Scalar:
    """The squared difference of two [`roughsnn.losses.noise_covariance`][], averaged over lags and
    pairs of neurons.

    Arguments as there and for [`roughsnn.losses.psth_distance`][]. `unbiased` takes off what the
    fluctuations of both estimates add, up to a part of order 1/trials of it.
    """
    check_batches(x, y)
    flat = [_products(n, b, ts, timescale, lags, missing) for n, b in (("x", x), ("y", y))]
    size = flat[0][0].size
    flat = [b.reshape(b.shape[0], -1) for b in flat]
    return squared_mean_distance(*flat, unbiased=unbiased) / size


def rate_penalty(
    x: SpikeTrain,
    rate: float | Float[Array, " neurons"],
    *,
    neurons: Sequence[int] | None = None,
    missing: Missing = "raise",
) -> Scalar:
    """The squared difference of mean rates from a target, averaged over neurons: keeps hidden
    neurons, of which no data speak, from falling silent or exploding.

    **Arguments:**

    - `x`: a batch of trains from [`roughsnn.simulate`][].
    - `rate`: the target, in 1/time; for all or for each.
    - `neurons`: which ones; by default all.
    - `missing`: as for [`roughsnn.losses.smoothed`][].

    **Returns:** a scalar, without bias, with the gradient of its mean (see
    [`roughsnn.losses.counts`][]).

    **Raises:** `ValueError` for fewer than two trials, or trains that were not simulated.
    """
    check_several("x", x)
    wanted = f"different numbers in 0 ... {x.num_neurons - 1}"
    chosen = range(x.num_neurons) if neurons is None else neurons
    index = as_integers("neurons", chosen, wanted)
    if len(set(index.tolist()) & set(range(x.num_neurons))) < max(len(index), 1):
        raise ValueError(f"`neurons` must be {wanted}, got {index.tolist()}.")
    x = accepted(x, missing)
    rates = jax.vmap(lambda train: counted("x", train))(x)[:, index] / (x.t1 - x.t0)
    target = as_numbers("rate", rate, rates.dtype)
    if target.shape not in ((), (len(index),)):
        raise ValueError(
            f"`rate` must be a number, or one for each of the {len(index)} neurons, got shape "
            f"{target.shape}."
        )
    check_finite("rate", target)
    if is_concrete(target) and np.any(np.asarray(target) < 0):
        raise ValueError(f"`rate` must not be negative, got {np.asarray(target)}.")
    off = jnp.mean(rates, 0) - target
    noise = jnp.var(rates, 0, ddof=1) / rates.shape[0]
    return jnp.mean(off**2 - noise)


def _check_lags(lags: Sequence[int]) -> list[int]:
    one = isinstance(lags, int | np.integer)
    found = as_integers("lags", (lags,) if one else lags, "a list of whole steps of `ts`")
    if not len(found):
        raise ValueError("`lags` must be at least one whole step of `ts`, got none.")
    return found.tolist()


def _residuals(name, batch, ts, timescale, lags, missing) -> list[tuple[Array, Array]]:
    """For each lag the rates less their mean over trials, (trials, times, neurons), early and late;
    scaled so that mean products are unbiased."""
    check_several(name, batch)
    tau, ts = check_positive_float("timescale", timescale), check_ts(ts, batch, after_start=True)
    lags, length = _check_lags(lags), ts.shape[0]
    if min(lags) < 0 or max(lags) >= length:
        raise ValueError(f"`lags` must be in 0 ... {length - 1}, steps of `ts`, got {lags}.")
    z = _seen(batch, ts, tau, missing)
    trials = z.shape[0]
    z = (z - jnp.mean(z, 0, keepdims=True)) * (trials / (trials - 1)) ** 0.5
    return [(z[:, : length - d], z[:, d:]) for d in lags]


def _products(
    name, batch, ts, timescale, lags, missing
) -> Float[Array, "trials lags neurons neurons"]:
    """What each trial adds to the covariances."""
    pairs = _residuals(name, batch, ts, timescale, lags, missing)
    return jnp.stack([einsum("kti,ktj->kij", a, b) / a.shape[1] for a, b in pairs], axis=1)
