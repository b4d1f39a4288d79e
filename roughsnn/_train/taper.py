"""Heights of spikes that fall to zero at the end of the window."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from .._misc import at_least, at_most, static_float
from .spike_train import SpikeTrain


def check_taper(taper: float) -> float:
    """`taper` as a part of the window, in [0, 1]."""
    taper = static_float("taper", taper)
    if not 0 <= taper <= 1:
        raise ValueError(f"`taper` must be in [0, 1], a part of the window, got {taper}.")
    return taper


def tapered(
    spikes: SpikeTrain, taper: float
) -> tuple[Float[Array, " spikes"], Float[Array, " spikes"]]:
    """Spike times as parts of the window, and heights: 1, falling linearly to 0 over the part
    `taper` of the window at its end. Padding is a spike of height 0 at the end.
    """
    there = spikes.marks >= 0
    times = jnp.where(there, (spikes.times - spikes.t0) / (spikes.t1 - spikes.t0), 1)
    height = there.astype(times.dtype)
    if taper > 0:
        height = height * at_most(at_least((1 - times) / taper, 0), 1)
    return times, height
