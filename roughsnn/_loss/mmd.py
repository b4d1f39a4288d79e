"""The maximum mean discrepancy of two batches of spike trains."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from .._path.spike_train import SpikeTrain
from .._signature.gram import gram_matrix
from .._signature.kernel import AbstractTrainKernel, PerNeuronKernel, SignatureKernel
from .._types import Scalar
from .spike_times import check_batches


def mmd_of(
    xx: Float[Array, "samples samples"],
    xy: Float[Array, "samples other_samples"],
    yy: Float[Array, "other_samples other_samples"],
    *,
    unbiased: bool = True,
) -> Scalar:
    r"""$\text{MMD}^2$ from Gram matrices (Gretton et al., JMLR 2012).

    Unbiased, a U-statistic,
    $\frac{1}{m(m-1)}\sum_{i\ne j} k(x_i, x_j) - \frac{2}{mn}\sum_{i,j} k(x_i, y_j)
    + \frac{1}{n(n-1)}\sum_{i\ne j} k(y_i, y_j)$; otherwise the V-statistic, with all pairs.

    **Raises:** `ValueError` for fewer than two samples on a side if `unbiased`.
    """

    def own(k):
        n = k.shape[0]
        if not unbiased:
            return jnp.mean(k)
        if n < 2:
            raise ValueError(
                "An unbiased estimate needs at least 2 samples on each side, got "
                f"{xx.shape[0]} and {yy.shape[0]}. Use unbiased=False."
            )
        return (jnp.sum(k) - jnp.trace(k)) / (n * (n - 1))

    return own(xx) + own(yy) - 2 * jnp.mean(xy)


def signature_mmd(
    x: SpikeTrain,
    y: SpikeTrain,
    *,
    kernel: AbstractTrainKernel | None = None,
    unbiased: bool = True,
    rows: int = 16,
) -> Scalar:
    r"""Squared maximum mean discrepancy of two batches of trains in a signature kernel.

    **Arguments:**

    - `x`, `y`: batches of trains with the same window and neurons; `y` the data, from which a
        kernel takes its scale ([`roughsnn.AbstractTrainKernel`][]`.fitted`).
    - `kernel`: by default a [`roughsnn.SignatureKernel`][], for several neurons inside of a
        [`roughsnn.PerNeuronKernel`][], so that the pathwise gradient is right.
    - `unbiased`: the U-statistic, which may be negative; `False` gives the V-statistic.
    - `rows`: see [`roughsnn.gram_matrix`][].

    **Returns:** a scalar.

    **Raises:** `ValueError` for trains of different kinds or with spikes missing, and for fewer
    than two samples a side if `unbiased`.
    """
    check_batches(x, y)
    if kernel is None:
        kernel = SignatureKernel()
        kernel = kernel if x.num_neurons == 1 else PerNeuronKernel(kernel)
    kernel = kernel.fitted(y)
    xx, xy, yy = (gram_matrix(kernel, a, b, rows=rows) for a, b in ((x, x), (x, y), (y, y)))
    return mmd_of(xx, xy, yy, unbiased=unbiased)
