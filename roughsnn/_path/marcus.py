"""The Marcus lift of a spike train: a continuous path through its jumps."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from .spike_train import SpikeTrain
from .taper import check_taper, tapered


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
    parts, height = tapered(spikes, check_taper(taper))
    dtype = parts.dtype
    times = jnp.where(spikes.marks >= 0, spikes.times, spikes.t1)
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


def cadlag_corners(
    ts: Float[Array, " points"],
    ys: Float[Array, "points *coordinates"],
    *,
    time_scale: float = 1.0,
) -> Float[Array, "points coordinates"]:
    """The corners of the Marcus lift of a càdlàg path with time.

    For what `SaveAt(steps=True)` saves: the left and the right limit at each step, so that a jump
    is a segment at one time (Chevyrev & Friz 2019), e.g. the membrane potential with its resets.

    **Arguments:**

    - `ts`: times, not decreasing, padded with inf.
    - `ys`: values, shape `(points, ...)`, e.g. `sol.ys.v`.
    - `time_scale`: what times are multiplied by.

    **Returns:** shape `(points, 1 + coordinates)`; padding repeats the last corner.

    **Raises:** `ValueError` for shapes that do not fit.
    """
    if ts.ndim != 1 or ys.shape[:1] != ts.shape:
        raise ValueError(
            f"`ts` and `ys` must have shapes (points,) and (points, ...), got {ts.shape} and "
            f"{ys.shape}."
        )
    there = jnp.isfinite(ts)
    last = jnp.maximum(jnp.sum(there, dtype=jnp.int32) - 1, 0)
    flat = ys.reshape(ts.shape[0], -1)
    corners = jnp.concatenate([(jnp.where(there, ts, 0) * time_scale)[:, None], flat], 1)
    return jnp.where(there[:, None], corners, corners[last][None])
