"""Gram matrices of spike-train kernels, in blocks that fit into a given memory."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from .._misc import check_positive_float, is_concrete
from .._train.check import check_same_kind, check_trains
from .._train.spike_train import SpikeTrain
from .base import AbstractTrainKernel, check_kernel

# Kernels of features need no more numbers for a pair than this; all pairs are a matrix product,
# which is faster than half of them one by one.
_PRODUCT = 16
# A CPU sweeps over about so many pairs at a time fastest: what belongs to a cell is in its caches.
_PAIRS = 4096


class Lifted(eqx.Module):
    """A batch of trains as a kernel sees it."""

    values: PyTree[Array]
    samples: int = eqx.field(static=True)
    # How many numbers a pair takes.
    workspace: int = eqx.field(static=True)

    @classmethod
    def of(cls, kernel: AbstractTrainKernel, name: str, x: SpikeTrain) -> "Lifted":
        """Checks and lifts a batch."""
        check_kernel(kernel)
        check_trains(name, x, batch=True)
        values = _lift(kernel, x.complete())
        return cls(values, x.times.shape[0], kernel.workspace(x.times.shape[1], x.num_neurons))

    def take(self, index: Array | np.ndarray) -> PyTree[Array]:
        """What belongs to some samples."""
        return jax.tree.map(lambda z: z[index], self.values)

    def rows(self, columns: int, megabytes: float) -> int:
        """How many rows of so many pairs fit."""
        size = max(z.dtype.itemsize for z in jax.tree.leaves(self.values))
        pairs = megabytes * 2**20 / size / self.workspace
        if jax.default_backend() == "cpu" and self.workspace > _PRODUCT:
            pairs = min(pairs, _PAIRS)
        return max(1, min(self.samples, int(pairs / columns)))


@eqx.filter_jit
def _lift(kernel, x):
    return kernel.embed(x)


def gram_matrix(
    kernel: AbstractTrainKernel, x: SpikeTrain, y: SpikeTrain, *, megabytes: float = 64.0
) -> Float[Array, "samples other_samples"]:
    """k(x_i, y_j) of two batches of spike trains.

    With `y is x` half of the pairs are computed, and the matrix is exactly symmetric.

    **Arguments:**

    - `kernel`: an [`roughsnn.AbstractTrainKernel`][].
    - `x`, `y`: batches of trains of the same window and neurons.
    - `megabytes`: roughly what the block of pairs may take that is worked on at a time, with its
        derivative. (A CPU takes smaller blocks where they are faster.)

    **Returns:** shape `(samples of x, samples of y)`.

    **Raises:** `ValueError` for single trains, trains of different kinds, out of order, out of the
    window or with spikes missing, and for values that are not finite (an unnormalised kernel of
    long trains overflows).
    """
    a = Lifted.of(kernel, "x", x)
    if y is x:
        return finite(symmetric_gram(kernel, a, megabytes))
    b = Lifted.of(kernel, "y", y)
    check_same_kind(x, y)
    return finite(cross_gram(kernel, a, b, megabytes))


def finite(values: Array) -> Array:
    """`values`, once they are known to be finite."""
    message = (
        "A kernel of spike trains is not finite. It grows exponentially with the number of spikes "
        "unless it is normalised: use scaling='normalized' or 'robust', a smaller `height` or "
        "`time_scale`, or float64."
    )
    if is_concrete(values):
        if not np.all(np.isfinite(np.asarray(values))):
            raise ValueError(message)
        return values
    return eqx.error_if(values, ~jnp.all(jnp.isfinite(values)), message)


def cross_gram(kernel: AbstractTrainKernel, a: Lifted, b: Lifted, megabytes: float) -> Array:
    """k of all pairs of two embedded batches."""
    return _cross_gram(kernel, a, b, check_positive_float("megabytes", megabytes))


def symmetric_gram(kernel: AbstractTrainKernel, a: Lifted, megabytes: float) -> Array:
    """k of all pairs of one embedded batch, each once."""
    return _symmetric_gram(kernel, a, check_positive_float("megabytes", megabytes))


@eqx.filter_jit
def _cross_gram(kernel: AbstractTrainKernel, a: Lifted, b: Lifted, megabytes: float) -> Array:
    n, size = a.samples, a.rows(b.samples, megabytes)
    # The last block is filled up with first samples.
    index = np.arange(-(-n // size) * size, dtype=np.int32).reshape(-1, size) % n
    block = lambda i: kernel.block(a.take(i), b.values)
    return jax.lax.map(block, jnp.asarray(index)).reshape(-1, b.samples)[:n]


@eqx.filter_jit
def _symmetric_gram(kernel: AbstractTrainKernel, a: Lifted, megabytes: float) -> Array:
    """Sample i with i + d for half of the d's."""
    n = a.samples
    if a.workspace <= _PRODUCT:
        return _cross_gram(kernel, a, a, megabytes)
    each = np.arange(n, dtype=np.int32)

    size = min(a.rows(n, megabytes), n // 2 + 1)
    shifts = np.arange(-(-(n // 2 + 1) // size) * size, dtype=np.int32).reshape(-1, size)

    def shifted(d):
        return kernel.pairs(a.take(each[None]), a.take((each[None] + d[:, None]) % n))

    band = jax.lax.map(shifted, jnp.asarray(shifts)).reshape(-1, n)
    ahead = (each[None] - each[:, None]) % n
    near = ahead <= n // 2
    first = np.where(near, each[:, None], each[None])
    distance = np.where(near, ahead, (n - ahead) % n)
    if n % 2 == 0:
        # Opposite samples are met twice; the smaller index decides.
        opposite = ahead == n // 2
        first = np.where(opposite, np.minimum(each[:, None], each[None]), first)
    return band[distance, first]
