"""Spike times at the borders of windows, and in the dtype of a train."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from .._misc import as_plain


def before(times: Array, border: float | Array) -> Array:
    """Whether times are before a border, and not on it but for a rounding of their dtype."""
    border = jnp.asarray(border, times.dtype)
    return times < border - float(jnp.finfo(times.dtype).eps) * jnp.abs(border)


def rounded(times: np.ndarray, neuron: int, t1: float, dtype) -> np.ndarray:
    """Times in the dtype of the train, of which none has met another, or the end."""
    short, end = times.astype(dtype), np.asarray(t1, dtype)
    short = np.where((times < t1) & (short >= end), np.nextafter(end, -np.inf, dtype=dtype), short)
    merged = (np.diff(short) <= 0) & (np.diff(times) > 0)
    if np.any(merged):
        n = int(np.argmax(merged))
        raise ValueError(
            f"The spikes of neuron {neuron} at {times[n]} and {times[n + 1]} are one in "
            f"{np.dtype(dtype)}: cut the recording into windows that have an `origin` of their own "
            "(roughsnn.io.Session.aligned), or use jax.config.update('jax_enable_x64', True)."
        )
    return short


def check_times(times, neuron: int, t0: float, t1: float) -> np.ndarray:
    name = f"times[{neuron}]"
    array = as_plain(name, times)
    if array.ndim != 1:
        raise ValueError(f"`{name}` must be a list of spike times, got shape {array.shape}.")
    if not np.all(np.isfinite(array)):
        raise ValueError(f"`{name}` must be finite.")
    if np.any(np.diff(array) < 0):
        bad = int(np.argmax(np.diff(array) < 0))
        raise ValueError(
            f"`{name}` must be in increasing order: spike {bad} is at {array[bad]}, the next "
            f"at {array[bad + 1]}. Sort them first."
        )
    if len(array) and (array[0] < t0 or array[-1] > t1):
        raise ValueError(
            f"`{name}` must lie in [t0, t1] = [{t0}, {t1}], got spikes from {array[0]} to "
            f"{array[-1]}. Widen the window, or cut the list."
        )
    return array
