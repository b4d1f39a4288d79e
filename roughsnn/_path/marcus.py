"""The Marcus lift of a spike train: a continuous path through its jumps."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from .spike_train import SpikeTrain


def marcus_lift(spikes: SpikeTrain, *, taper: float = 0.0) -> Float[Array, "corners coordinates"]:
    r"""The corners of the time-augmented path that runs straight through every jump.

    The counting path $N_t$ with time becomes the axis-parallel path
    $(t_0, 0) \to \dots \to (\tau_n, N_{n-1}) \to (\tau_n, N_n) \to \dots \to (t_1, N_{t_1})$
    (Holberg & Salvi 2024, Appendix A and C). Padding is the repeated last corner: segments
    of length zero, which change no signature. Several neurons at once: the path, hence a
    signature of it, is **discontinuous** where spikes of two neurons swap order.

    **Arguments:**

    - `spikes`: one [`roughsnn.SpikeTrain`][]; `jax.vmap` for a batch.
    - `taper`: the part of the window, from its end, over which the height of a jump falls
        linearly from 1 to 0. With `taper=0` the path is discontinuous where a spike leaves
        the window, and the pathwise gradient misses that.

    **Returns:** corners of shape `(2 * spikes + 2, 1 + neurons)`; column 0 is time.

    **Raises:** `ValueError` if `taper` is not in [0, 1].
    """
    if not 0 <= taper <= 1:
        raise ValueError(f"`taper` must be in [0, 1], a part of the window, got {taper}.")
    dtype = spikes.times.dtype
    there = spikes.marks >= 0
    times = jnp.where(there, spikes.times, spikes.t1)
    height = there.astype(dtype)
    if taper > 0:
        width = taper * (spikes.t1 - spikes.t0)
        height = height * jnp.clip((spikes.t1 - times) / width, 0, 1)
    neurons = jnp.arange(spikes.num_neurons, dtype=jnp.int32)
    jumps = jnp.where(spikes.marks[:, None] == neurons[None], height[:, None], 0)
    after = jnp.cumsum(jumps, axis=0)
    before = after - jumps
    left = jnp.concatenate([times[:, None], before], axis=1)
    right = jnp.concatenate([times[:, None], after], axis=1)
    inner = jnp.stack([left, right], axis=1).reshape(-1, 1 + spikes.num_neurons)
    start = jnp.zeros((1, 1 + spikes.num_neurons), dtype).at[0, 0].set(spikes.t0)
    end = jnp.concatenate([jnp.full((1, 1), spikes.t1, dtype), after[-1:]], axis=1)
    return jnp.concatenate([start, inner, end])
