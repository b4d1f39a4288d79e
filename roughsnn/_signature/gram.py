"""Gram matrices of spike-train kernels, a few rows at a time."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._misc import check_positive_int
from .._path.spike_train import SpikeTrain
from .kernel import AbstractTrainKernel, check_same_kind


def gram_matrix(
    kernel: AbstractTrainKernel, x: SpikeTrain, y: SpikeTrain, *, rows: int = 16
) -> Float[Array, "samples other_samples"]:
    """k(x_i, y_j) of two batches of spike trains.

    **Arguments:**

    - `kernel`: an [`roughsnn.AbstractTrainKernel`][].
    - `x`, `y`: batches of trains of the same window and neurons.
    - `rows`: how many rows are computed at once; bounds the memory.

    **Returns:** shape `(samples of x, samples of y)`.

    **Raises:** `ValueError` for single trains, trains of different kinds, or with spikes
    missing.
    """
    check_positive_int("rows", rows)
    for name, z in (("x", x), ("y", y)):
        if z.times.ndim != 2:
            raise ValueError(
                f"`{name}` must be a batch of trains with times of shape (samples, spikes), got "
                f"{z.times.shape}."
            )
    check_same_kind(x, y)
    return _gram(kernel, x.complete(), y.complete(), min(rows, x.times.shape[0]))


@eqx.filter_jit
def _gram(kernel: AbstractTrainKernel, x: SpikeTrain, y: SpikeTrain, rows: int):
    a, b = (jax.vmap(kernel.lift)(z) for z in (x, y))

    def row(one):
        return jax.vmap(lambda other: kernel.inner(one, other))(b)

    values = jax.lax.map(row, a, batch_size=rows)
    if not kernel.normalized:
        return values
    own_a, own_b = (jnp.sqrt(jax.vmap(kernel.inner)(z, z)) for z in (a, b))
    return values / own_a[:, None] / own_b[None]
