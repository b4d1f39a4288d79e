"""The squared distance between two means, estimated without bias."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from .._types import Scalar


def squared_mean_distance(
    x: Float[Array, "samples features"],
    y: Float[Array, "other_samples features"],
    *,
    unbiased: bool,
) -> Scalar:
    r"""$\|E x - E y\|^2$ estimated from two samples.

    The plug-in estimate $\|\bar x - \bar y\|^2$ is too large by the variance of the two
    means, which depends on the parameters and so moves the minimum. The unbiased one
    takes that off: it is the U-statistic of the linear kernel (Gretton et al., JMLR 2012).
    """
    gap = jnp.sum((jnp.mean(x, 0) - jnp.mean(y, 0)) ** 2)
    if not unbiased:
        return gap
    for sample in (x, y):
        if sample.shape[0] < 2:
            raise ValueError(
                "An unbiased estimate needs at least 2 samples on each side, got "
                f"{x.shape[0]} and {y.shape[0]}. Use unbiased=False."
            )
        gap = gap - jnp.sum(jnp.var(sample, 0, ddof=1)) / sample.shape[0]
    return gap
