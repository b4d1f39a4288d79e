"""The likelihood of recorded trains."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float

from .._check import check_flag
from .._engine.clamp import Clamped, clamp
from .._misc import check_positive_int, is_concrete, warn
from .._model.network import SpikingNetwork
from .._random import RandomKey, antithetic, original
from .._refine import StepWarning, refined
from .._results import RESULTS
from .._step.ladder import climb
from .._train.spike_train import SpikeTrain
from .._types import Drive, Scalar
from .._window import Window, as_window

# What a log-likelihood may be off by for each spike, and how often cells are halved to see it.
_FOR_A_SPIKE, _LEVELS = 0.01, 6


class LogLikelihood(eqx.Module):
    r"""What [`roughsnn.log_likelihood`][] returns.

    **Attributes:**

    - `samples`: shape `(samples,)`: $\ell_m = \log p(\text{train} \mid x_m)$ for independent
        samples $x_m$ of the noise and the hidden spikes.
    """

    samples: Float[Array, " samples"]

    @property
    def value(self) -> Scalar:
        r"""$\log\frac1M\sum_m e^{\ell_m}$: the log-likelihood, or a lower bound of it."""
        return jax.nn.logsumexp(self.samples) - jnp.log(float(self.samples.shape[0]))

    @property
    def effective_samples(self) -> Scalar:
        r"""$(\sum_m e^{\ell_m})^2 / \sum_m e^{2\ell_m}$, from 1 to the number of samples: how many
        of them count."""
        return jnp.exp(2 * jax.nn.logsumexp(self.samples) - jax.nn.logsumexp(2 * self.samples))

    @property
    def bias(self) -> Scalar:
        r"""By how much the value is too low on average, estimated: half of the squared coefficient
        of variation of the mean of $e^{\ell_m}$, its expansion for many samples. With few effective
        samples (below about 10) it is too small. NaN for one sample."""
        number = self.samples.shape[0]
        if number < 2:
            return jnp.full((), jnp.nan, self.samples.dtype)
        weights = jnp.exp(self.samples - self.value)
        return jnp.var(weights, ddof=1) / (2 * number)


def log_likelihood(
    network: SpikingNetwork,
    drive: Drive,
    train: SpikeTrain,
    window: Window,
    *,
    samples: int | None = None,
    key: RandomKey | None = None,
    check_step: bool = True,
    **clamped: Any,
) -> LogLikelihood:
    r"""The log-likelihood of a recorded train, and its gradient.

    Exact (up to the error of the cells) for a network without noise whose neurons are all observed.
    With noise or hidden neurons, x, it is a Monte-Carlo bound,

    $$\log\frac1M\sum_{m=1}^M p(\text{train} \mid x_m), \qquad E[\cdot] \le \log p(\text{train}),$$

    which grows with the number of samples towards the log-likelihood, like 1/M for many (Burda,
    Grosse & Salakhutdinov, *Importance weighted autoencoders*, ICLR 2016). Noise and hidden
    neurons are drawn as they are given the *past* of the observed ones, so the density of the
    observed spikes is all the weight that a sample has. It varies more the longer the train and the
    stronger the noise are: look at `effective_samples`, and cut long trains into trials.

    The density is continuous in the hidden spike times, also where a hidden spike passes an
    observed one or leaves the window, so the pathwise gradient is that of the bound.

    **Arguments:**

    - `network`, `drive`, `train`, `window`: as for [`roughsnn.clamp`][]. One train; `jax.vmap` over
        trials.
    - `samples`: M, for networks with noise or hidden neurons; by default 1.
    - `key`: of the samples.
    - `check_step`: outside of transformations, compute it in cells of half the length too, and warn
        if it differs by more than 0.01 for each spike. That takes twice as long as the likelihood
        itself. ([`roughsnn.fit`][] looks at its losses by itself.)
    - `clamped`: further arguments of [`roughsnn.clamp`][]: `observed`, `max_spikes`,
        `initial`, `inputs`, ...; `noise` given means that it is known.

    **Returns:** a [`roughsnn.LogLikelihood`][]; its `value` is the number, nan where samples failed
        with `throw=False`.

    **Warns:** with a [`roughsnn.StepWarning`][] if the value depends on `dt0`.

    **Raises:** as [`roughsnn.clamp`][]; `ValueError` for `samples` without `key`.
    """
    check_step = check_flag("check_step", check_step)
    if key is None and samples is not None:
        raise ValueError("`samples` are drawn: give a `key`.")
    number = check_positive_int("samples", 1 if samples is None else samples)
    mirrored = key is not None and original(key) is not key

    def one(key):
        key = antithetic(key) if mirrored else key
        return _total(clamp(network, drive, train, window, key=key, **clamped))

    def drawn() -> Float[Array, " samples"]:
        return one(None)[None] if key is None else jax.vmap(one)(jr.split(original(key), number))

    found = drawn()
    if check_step and is_concrete(found):
        _check_step(drawn, found, train, as_window(window).dt0)
    return LogLikelihood(found)


def _check_step(
    drawn: Callable[[], Float[Array, " samples"]],
    found: Float[Array, " samples"],
    train: SpikeTrain,
    dt0: float,
) -> None:
    """Warns if the value is another one in shorter cells, of the same noise."""
    first = np.asarray(found, np.float64)
    if not np.all(np.isfinite(first)):
        return
    value, weights = LogLikelihood(found).value, np.asarray(jax.nn.softmax(found), np.float64)

    def evaluate(level: int) -> np.ndarray:
        if level == 0:
            change = np.zeros_like(first)
        else:
            with refined(2**level, traced=False):
                change = np.asarray(drawn(), np.float64) - first
        # To first order, and as a mean over the samples.
        return (float(value) + len(first) * weights * change)[:, None]

    spikes = max(int(train.count), 1)
    allowed = np.full(1, _FOR_A_SPIKE * spikes)
    ladder = climb(evaluate, _LEVELS, lambda ladder: allowed)
    if np.any(ladder.exceeds(allowed)):
        warn(
            f"The log-likelihood depends on the length of the cells: it is {float(value):.5g} with "
            f"dt0={dt0:.3g}, and {ladder.limit[0]:.5g} as dt0 -> 0, {ladder.error[0] / spikes:.2g} "
            "off for each spike. Choose a smaller `dt0` (`window.refined(2)`), or keep the time "
            "constants longer than a cell.",
            StepWarning,
        )


def _total(clamped: Clamped) -> Scalar:
    """Of all neurons; nan if it failed."""
    total = jnp.sum(clamped.log_likelihood)
    return jnp.where(clamped.result == RESULTS.successful, total, jnp.nan)
