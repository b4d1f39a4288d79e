"""The Marcus lift of a càdlàg path: a continuous path through its jumps."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from .._path.cadlag import CadlagPath
from .check import check_trains
from .spike_train import SpikeTrain
from .taper import check_taper, tapered


def marcus_lift(
    path: SpikeTrain | CadlagPath, *, taper: float = 0.0
) -> Float[Array, "corners coordinates"]:
    r"""The corners of the time-augmented path that runs straight through every jump.

    Of a [`roughsnn.CadlagPath`][], e.g. a membrane potential with its resets, these are its points:
    a jump is a segment at one time (Chevyrev & Friz 2019).

    For a spike train the counting path $N_t$ with time becomes the axis-parallel path
    $(t_0, 0) \to \dots \to (\tau_n, N_{n-1}) \to (\tau_n, N_n) \to \dots \to (t_1, N_{t_1})$
    (Holberg & Salvi 2024, Appendix A and C). Padding is the repeated last corner: segments
    of length zero, which change no signature. Several neurons at once: the path, hence a
    signature of it, is **discontinuous** where spikes of two neurons swap order.

    **Arguments:**

    - `path`: one [`roughsnn.SpikeTrain`][] or [`roughsnn.CadlagPath`][]; `jax.vmap` for a batch.
    - `taper`: for a spike train, the part of the window, from its end, over which the height of
        a jump falls linearly from 1 to 0. With `taper=0` it is discontinuous where a spike leaves
        the window, and the pathwise gradient misses that.

    **Returns:** corners of shape `(2 * spikes + 2, 1 + neurons)` or `(points, 1 + coordinates)`;
        column 0 is time.

    **Raises:** `ValueError` if `taper` is not in [0, 1]; `TypeError` for another path.
    """
    if isinstance(path, CadlagPath):
        return path.corners()
    if not isinstance(path, SpikeTrain):
        raise TypeError(
            "`path` must be a roughsnn.SpikeTrain or a roughsnn.CadlagPath, got a "
            f"{type(path).__name__}."
        )
    check_trains("path", path)
    spikes = path
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
