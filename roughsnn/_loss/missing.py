"""What statistics do with trains that have spikes missing, and with the times they are asked at."""

from typing import Any, Literal, TypeAlias

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._check import as_times, check_choice
from .._misc import is_concrete
from .._train.spike_train import SpikeTrain

# "raise": refuse trains with spikes missing. "nan": what depends on them is nan.
Missing: TypeAlias = Literal["raise", "nan"]


def accepted(train: SpikeTrain, missing: Missing) -> SpikeTrain:
    """A train or batch, which is complete unless missing spikes become nan."""
    check_choice("missing", missing, ("raise", "nan"))
    return train.complete() if missing == "raise" else train


def or_nan(x: Array, train: SpikeTrain) -> Array:
    """What was computed of a train, or of each of a batch; nan where spikes are missing."""
    gone = train.overflow.reshape(train.overflow.shape + (1,) * (x.ndim - train.overflow.ndim))
    return jnp.where(gone, jnp.nan, x)


def check_ts(ts: Any, train: SpikeTrain, *, after_start: bool = False) -> Float[Array, " times"]:
    """Increasing times in the window, as far as they are known; at t0 itself there may be nothing
    to say yet."""
    times = as_times("ts", ts)
    if not is_concrete(times):
        return times
    known = np.asarray(times, float)
    slack = 1e-6 * (train.t1 - train.t0)
    if known[0] < train.t0 - slack or known[-1] > train.t1 + slack:
        raise ValueError(
            f"`ts` must lie in the window [{train.t0}, {train.t1}], got times from {known[0]} to "
            f"{known[-1]}."
        )
    if after_start and known[0] <= train.t0 + slack:
        raise ValueError(
            f"`ts` must begin after the start of the window, {train.t0}: before it no spikes are "
            f"known, and there is no rate yet. Got {known[0]}."
        )
    return times
