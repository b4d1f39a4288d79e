"""Are two batches of trains of one law? A test by permutation."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float

from .._kernel.base import AbstractTrainKernel, check_kernel, pooled
from .._kernel.gram import gram_matrix
from .._misc import check_positive_int, matmul
from .._random import check_key, original
from .._train.check import check_batches, check_several
from .._train.spike_train import SpikeTrain
from .._types import PRNGKey, Scalar
from .mmd import default_kernel


class TwoSampleTest(eqx.Module):
    """What [`roughsnn.losses.two_sample_test`][] found.

    **Arguments:**

    - `statistic`: the unbiased squared MMD.
    - `p_value`: the part of the permutations, the given one among them, with a statistic as large.
    - `null`: the statistics of the random permutations.
    """

    statistic: Scalar
    p_value: Scalar
    null: Float[Array, " permutations"]


def two_sample_test(
    x: SpikeTrain,
    y: SpikeTrain,
    *,
    kernel: AbstractTrainKernel | None = None,
    permutations: int = 999,
    key: PRNGKey,
    megabytes: float = 64.0,
) -> TwoSampleTest:
    """Tests whether two batches of trains are of one law.

    The level is exact for any kernel and any number of samples, as labels are exchangeable under
    the hypothesis; the kernel takes its scales from both batches together.

    **Arguments:**

    - `x`, `y`: batches of at least two trains with the same window and neurons.
    - `kernel`: by default [`roughsnn.losses.default_kernel`][].
    - `permutations`: how many random ones.
    - `key`: a `jax.random.key`.
    - `megabytes`: see [`roughsnn.gram_matrix`][].

    **Returns:** a [`roughsnn.losses.TwoSampleTest`][].

    **Raises:** as [`roughsnn.losses.mmd`][].
    """
    check_batches(x, y)
    check_several("x", x)
    check_several("y", y)
    permutations = check_positive_int("permutations", permutations)
    kernel = default_kernel() if kernel is None else kernel
    check_kernel(kernel)
    key = original(check_key(key))
    both = pooled(x, y)
    gram = gram_matrix(kernel.fitted(both), both, both, megabytes=megabytes)
    return permutation_test(gram, x.times.shape[0], permutations, key)


@eqx.filter_jit
def permutation_test(
    gram: Float[Array, "samples samples"], first: int, permutations: int, key: PRNGKey
) -> TwoSampleTest:
    """The test from the Gram matrix of all samples, the `first` ones of which are x."""
    n = gram.shape[0]
    m, rest = first, n - first
    gram = gram - jnp.diag(jnp.diag(gram))
    sums, all_pairs = jnp.sum(gram, 0), jnp.sum(gram)
    given = jnp.arange(n, dtype=jnp.int32)
    shuffled = jax.vmap(lambda k: jr.permutation(k, given))(jr.split(key, permutations))
    label = (jnp.concatenate([given[None], shuffled]) < m).astype(gram.dtype)
    xx = jnp.sum(matmul(label, gram) * label, 1)
    xy = matmul(label, sums) - xx
    yy = all_pairs - xx - 2 * xy
    statistic = xx / (m * (m - 1)) + yy / (rest * (rest - 1)) - 2 * xy / (m * rest)
    # Permutations that only exchange like with like may differ by rounding.
    slack = 1e-5 * jnp.max(jnp.abs(statistic)) if gram.dtype == jnp.float32 else 1e-12
    at_least = jnp.sum(statistic[1:] >= statistic[0] - slack, dtype=jnp.int32)
    p = (1 + at_least).astype(gram.dtype) / (1 + permutations)
    return TwoSampleTest(statistic[0], p, statistic[1:])
