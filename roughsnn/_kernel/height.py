"""The height of a spike in a kernel."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from .._misc import as_float_array, is_concrete
from .._train.spike_train import SpikeTrain
from .._types import Numeric, Scalar


def as_height(value: Numeric | None) -> Array | None:
    """Heights that are not negative; `None` if they are left open."""
    if value is None:
        return None
    height = as_float_array("height", value)
    if height.ndim > 1:
        raise ValueError(f"`height` must be a scalar or one number a neuron, got {height.shape}.")
    if is_concrete(height) and np.any(np.asarray(height) < 0):
        raise ValueError(f"`height` must not be negative, got {np.asarray(height)}.")
    return height


def height_for(mean: Scalar) -> Scalar:
    """One over the root of a mean number of spikes (one at least), held constant."""
    return jax.lax.stop_gradient(1 / jnp.sqrt(jnp.maximum(mean, 1)))


def mean_count(data: SpikeTrain) -> Scalar:
    """How many spikes the trains of a batch have on average."""
    return jnp.mean(data.count.astype(data.times.dtype))
