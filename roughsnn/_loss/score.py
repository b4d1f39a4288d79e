"""Scores of a model against single recorded trains, and where two laws differ."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from .._kernel.base import AbstractTrainKernel, check_kernel
from .._kernel.gram import Lifted, cross_gram, finite, symmetric_gram
from .._train.check import check_batches, check_same_kind, check_several, check_trains
from .._train.spike_train import SpikeTrain
from .._types import Scalar
from .guard import refuse_gradient
from .mmd import own_mean


def kernel_score(
    x: SpikeTrain,
    y: SpikeTrain,
    *,
    kernel: AbstractTrainKernel,
    allow_jumps: bool = False,
    megabytes: float = 64.0,
) -> Scalar:
    r"""$E k(X, X') - 2 E k(X, y)$: how well a model's trains predict recorded ones; lower is
    better.

    A proper scoring rule (Gneiting & Raftery, JASA 102 (2007), Section 5): on average over y it is
    the squared MMD of the model and the law of y, less a constant of the data. So one recorded
    train for each stimulus is enough: average the scores of all stimuli, each against the model's
    trains for that stimulus (`jax.vmap`). Estimated without bias.

    **Arguments:**

    - `x`: a batch of at least two trains of the model.
    - `y`: one recorded train, or a batch of trains of the same stimulus.
    - `kernel`: an [`roughsnn.AbstractTrainKernel`][], fitted to *other* trains than `y`, as for a
        [`roughsnn.losses.Reference`][].
    - `allow_jumps`, `megabytes`: as in [`roughsnn.losses.mmd`][].

    **Returns:** a scalar.

    **Raises:** as [`roughsnn.losses.mmd`][].
    """
    if isinstance(y, SpikeTrain) and y.times.ndim == 1:
        y = SpikeTrain.stack([y])
    check_batches(x, y)
    check_several("x", x)
    check_kernel(kernel)
    if not allow_jumps:
        x = refuse_gradient(x, kernel.discontinuities(x.num_neurons), "this kernel score")
    a, b = Lifted.of(kernel, "x", x), Lifted.of(kernel, "y", y)
    own = own_mean(symmetric_gram(kernel, a, megabytes), unbiased=True)
    return finite(own - 2 * jnp.mean(cross_gram(kernel, a, b, megabytes)))


def witness(
    z: SpikeTrain,
    x: SpikeTrain,
    y: SpikeTrain,
    *,
    kernel: AbstractTrainKernel,
    megabytes: float = 64.0,
) -> Float[Array, " samples"]:
    r"""$E k(X, z) - E k(Y, z)$: positive for trains that are more typical of x than of y.

    The function that witnesses the MMD (Gretton et al. 2012, Section 2.3), for pictures of *where*
    two laws differ.

    **Arguments:**

    - `z`: a batch of trains to look at.
    - `x`, `y`: batches of trains.
    - `kernel`: an [`roughsnn.AbstractTrainKernel`][], fitted.

    **Returns:** one number for each train of `z`.
    """
    check_batches(x, y)
    check_trains("z", z, batch=True)
    check_same_kind(x, z, ("x", "z"))
    check_kernel(kernel)
    a, b, c = (Lifted.of(kernel, name, batch) for name, batch in (("x", x), ("y", y), ("z", z)))
    to_x, to_y = (cross_gram(kernel, c, other, megabytes) for other in (a, b))
    return finite(jnp.mean(to_x, 1) - jnp.mean(to_y, 1))
