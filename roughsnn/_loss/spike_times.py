"""Losses on the first spike times."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._misc import check_positive_int
from .._train.check import check_batches
from .._train.spike_train import SpikeTrain
from .._types import Scalar
from .distance import squared_mean_distance
from .missing import Missing, accepted, or_nan


def _first_times(x: SpikeTrain, n: int, missing: Missing) -> Float[Array, "samples features"]:
    """The first n spike times of each neuron, t1 where there is no such spike."""
    x = accepted(x, missing)
    times = jax.vmap(lambda s: s.per_neuron(n))(x)
    known = jnp.isfinite(times)
    return or_nan(jnp.where(known, times, x.t1), x).reshape(times.shape[0], -1)


def first_spike_mae(x: SpikeTrain, y: SpikeTrain, n: int, *, missing: Missing = "raise") -> Scalar:
    r"""Mean absolute difference of the mean first `n` spike times of each neuron.

    $\frac{1}{Kn}\sum_{k,j} |\overline{\tau^k_j}(x) - \overline{\tau^k_j}(y)|$, the mean over
    samples inside (the test error of Holberg & Salvi 2024, Section 5). A spike that does
    not occur counts as t1, so the loss is continuous where a spike leaves the window.

    **Arguments:**

    - `x`, `y`: batches of trains with the same window and neurons.
    - `n`: how many spikes of each neuron.
    - `missing`: what to do about trains with spikes missing: `"raise"`, or return `"nan"`. Where
        the first `n` are what matters, simulate with `stop_after`, or take `.first(n)`.

    **Returns:** a scalar, in the unit of time.

    **Raises:** `ValueError` for trains of different kinds or with spikes missing.
    """
    check_batches(x, y)
    n = check_positive_int("n", n)
    gap = jnp.mean(_first_times(x, n, missing), 0) - jnp.mean(_first_times(y, n, missing), 0)
    return jnp.mean(jnp.abs(gap))


def first_spike_mse(
    x: SpikeTrain,
    y: SpikeTrain,
    n: int,
    *,
    unbiased: bool = True,
    missing: Missing = "raise",
) -> Scalar:
    r"""Mean squared difference of the mean first `n` spike times of each neuron.

    $\frac{1}{Kn}\sum_{k,j} (E\tau^k_j(x) - E\tau^k_j(y))^2$, estimated without bias unless
    `unbiased=False` (the plug-in estimate). Continuous in the spike times.

    **Arguments:**

    - `x`, `y`: batches of trains with the same window and neurons.
    - `n`: how many spikes of each neuron.
    - `unbiased`: take the variance of the two means off; needs 2 samples a side. It may
        then be negative near the minimum.
    - `missing`: as for [`roughsnn.losses.first_spike_mae`][].

    **Returns:** a scalar, in the unit of time squared.

    **Raises:** `ValueError` for trains of different kinds or with spikes missing.
    """
    check_batches(x, y)
    n = check_positive_int("n", n)
    a, b = _first_times(x, n, missing), _first_times(y, n, missing)
    return squared_mean_distance(a, b, unbiased=unbiased) / a.shape[1]
