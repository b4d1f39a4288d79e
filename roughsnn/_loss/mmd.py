"""The maximum mean discrepancy of two batches of spike trains."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from .._check import check_flag
from .._kernel.base import AbstractTrainKernel, check_kernel, pooled
from .._kernel.combine import SumKernel
from .._kernel.gram import Lifted, cross_gram, finite, symmetric_gram
from .._kernel.lag import LagKernel
from .._kernel.point import PointKernel
from .._misc import as_float_array, check_positive_int
from .._signature.kernel import SignatureKernel
from .._signature.per_neuron import PerNeuronKernel
from .._train.check import check_batches, check_same_kind, check_trains
from .._train.spike_train import SpikeTrain
from .._types import Scalar
from .guard import refuse_gradient


def default_kernel() -> SumKernel:
    """The kernel that [`roughsnn.losses.mmd`][] takes by default: a [`roughsnn.PointKernel`][] for
    what is locked to the clock and a [`roughsnn.LagKernel`][] for what is not, weighted by their
    fluctuations.

    Continuous everywhere, and the one with the largest mean power of those that were tried
    (`examples/kernels.py`).
    """
    return SumKernel((PointKernel(), LagKernel()))


def mmd_of(
    xx: Float[Array, "samples samples"],
    xy: Float[Array, "samples other_samples"],
    yy: Float[Array, "other_samples other_samples"],
    *,
    unbiased: bool = True,
) -> Scalar:
    r"""$\text{MMD}^2$ from Gram matrices (Gretton et al., JMLR 13 (2012)).

    Unbiased, a U-statistic,
    $\frac{1}{m(m-1)}\sum_{i\ne j} k(x_i, x_j) - \frac{2}{mn}\sum_{i,j} k(x_i, y_j)
    + \frac{1}{n(n-1)}\sum_{i\ne j} k(y_i, y_j)$; otherwise the V-statistic, with all pairs.

    **Raises:** `ValueError` for matrices that do not fit or are not finite, and for fewer than two
        samples on a side if `unbiased`.
    """
    xx, xy, yy = (as_float_array(n, z) for n, z in (("xx", xx), ("xy", xy), ("yy", yy)))
    sizes = {"xx": (xx, (xx.shape[:1] * 2)), "yy": (yy, (yy.shape[:1] * 2))}
    sizes["xy"] = (xy, xx.shape[:1] + yy.shape[:1])
    for name, (gram, shape) in sizes.items():
        if gram.ndim != 2 or gram.shape != shape or 0 in shape:
            raise ValueError(
                "`xx`, `xy` and `yy` must be Gram matrices of shapes (m, m), (m, n) and (n, n), "
                f"got {gram.shape} for `{name}`."
            )
    return _combined(xx, xy, yy, unbiased)


def _combined(xx: Array, xy: Array, yy: Array, unbiased: bool) -> Scalar:
    return own_mean(xx, unbiased) + own_mean(yy, unbiased) - 2 * jnp.mean(xy)


def own_mean(gram: Float[Array, "samples samples"], unbiased: bool) -> Scalar:
    """The mean of k(x, x') over two samples of one law."""
    n = gram.shape[0]
    if not unbiased:
        return jnp.mean(gram)
    if n < 2:
        raise ValueError(
            f"An unbiased estimate needs at least 2 samples on each side, got {n}. Use "
            "unbiased=False."
        )
    return (jnp.sum(gram) - jnp.trace(gram)) / (n * (n - 1))


class Reference(eqx.Module):
    """Data to compare with, prepared once: lifted, and what they have in common with one another.

    A training loop that passes it in place of the data does neither again in each step.

    **Arguments:**

    - `data`: a batch of trains.
    - `kernel`: an [`roughsnn.AbstractTrainKernel`][], fitted to *other* trains, e.g. a part of the
        recording that is set aside. Fitted to `data` it would find them more typical than any new
        ones: for the default kernel and 40 trains the loss of the true model is then 2.4 of its
        standard deviations on average, and 2.0 for 128, not 0.
    - `megabytes`: see [`roughsnn.gram_matrix`][].

    **Raises:** `ValueError` for a kernel that is not fitted.
    """

    kernel: AbstractTrainKernel
    lifted: Lifted
    gram: Float[Array, "samples samples"]
    t0: float = eqx.field(static=True)
    t1: float = eqx.field(static=True)
    num_neurons: int = eqx.field(static=True)

    def __init__(self, data: SpikeTrain, kernel: AbstractTrainKernel, *, megabytes: float = 64.0):
        self.kernel = kernel
        self.lifted = Lifted.of(self.kernel, "data", data)
        self.gram = finite(symmetric_gram(self.kernel, self.lifted, megabytes))
        self.t0, self.t1, self.num_neurons = data.t0, data.t1, data.num_neurons


def mmd(
    x: SpikeTrain,
    y: SpikeTrain | Reference,
    *,
    kernel: AbstractTrainKernel | None = None,
    unbiased: bool = True,
    block_size: int | None = None,
    allow_jumps: bool = False,
    megabytes: float = 64.0,
) -> Scalar:
    r"""The squared maximum mean discrepancy of two batches of trains.

    $\text{MMD}^2 = E k(X, X') - 2 E k(X, Y) + E k(Y, Y')$, zero where the laws are equal as far as
    the kernel sees them.

    **Arguments:**

    - `x`: a batch of trains, from a model.
    - `y`: a batch of trains of the same window and neurons, the data; or a
        [`roughsnn.losses.Reference`][].
    - `kernel`: by default [`roughsnn.losses.default_kernel`][]. What it leaves open
        ([`roughsnn.AbstractTrainKernel`][]`.fitted`) is taken from both batches together and held
        constant: where the laws are equal, loss and gradient are then zero on average, whatever the
        number of samples.
    - `unbiased`: the U-statistic, which may be negative; `False` gives the V-statistic, which
        prefers models of small variance.
    - `block_size`: only compare samples within blocks of this size, and average: unbiased, linear
        in the number of samples, with a larger variance (2 is the linear-time statistic of Gretton
        et al. 2012, Section 6; more: Zaremba, Gretton & Blaschko, NeurIPS 2013).
    - `allow_jumps`: differentiate a kernel that jumps all the same.
    - `megabytes`: see [`roughsnn.gram_matrix`][].

    **Returns:** a scalar.

    **Raises:** `ValueError` for trains of different kinds or with spikes missing, for fewer
    than two samples a side if `unbiased`, and when it is differentiated with a kernel whose
    pathwise gradient is not that of the mean.
    """
    check_flag("unbiased", unbiased)
    check_flag("allow_jumps", allow_jumps)
    if not isinstance(y, Reference):
        check_batches(x, y)
        kernel = default_kernel() if kernel is None else kernel
        check_kernel(kernel)
        y = Reference(y, kernel.fitted(pooled(x, y)), megabytes=megabytes)
    elif kernel is not None:
        raise ValueError("`kernel` is that of the Reference already; do not give another one.")
    check_trains("x", x, batch=True)
    check_same_kind(x, y)
    if not allow_jumps:
        x = refuse_gradient(x, y.kernel.discontinuities(x.num_neurons), "this MMD")
    a = Lifted.of(y.kernel, "x", x)
    if block_size is not None:
        return _in_blocks(y, a, check_positive_int("block_size", block_size), unbiased)
    xx = symmetric_gram(y.kernel, a, megabytes)
    xy = cross_gram(y.kernel, a, y.lifted, megabytes)
    return finite(_combined(xx, xy, y.gram, unbiased))


def _in_blocks(y: Reference, a: Lifted, size: int, unbiased: bool) -> Scalar:
    count = min(a.samples, y.lifted.samples) // size
    if count == 0:
        raise ValueError(
            f"`block_size` must be at most the number of samples, got {size} for {a.samples} and "
            f"{y.lifted.samples}."
        )
    index = jnp.arange(count * size, dtype=jnp.int32).reshape(count, size)
    return finite(_mean_of_blocks(y, a, index, unbiased))


@eqx.filter_jit
def _mean_of_blocks(y: Reference, a: Lifted, index: Int[Array, "blocks size"], unbiased: bool):
    def one(i):
        s, t = a.take(i), y.lifted.take(i)
        block = y.kernel.block
        return _combined(block(s, s), block(s, t), y.gram[i][:, i], unbiased)

    return jnp.mean(jax.lax.map(one, index))


def signature_mmd(
    x: SpikeTrain,
    y: SpikeTrain | Reference,
    *,
    kernel: AbstractTrainKernel | None = None,
    unbiased: bool = True,
    allow_jumps: bool = False,
) -> Scalar:
    """[`roughsnn.losses.mmd`][] with a signature kernel (Holberg & Salvi 2024, Section 5).

    By default a [`roughsnn.SignatureKernel`][], for several neurons inside of a
    [`roughsnn.PerNeuronKernel`][], so that the pathwise gradient is right.
    """
    if kernel is None and isinstance(y, SpikeTrain):
        kernel = SignatureKernel()
        kernel = kernel if y.num_neurons == 1 else PerNeuronKernel(kernel)
    return mmd(x, y, kernel=kernel, unbiased=unbiased, allow_jumps=allow_jumps)
