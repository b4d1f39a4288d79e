"""The squared distance between two means, estimated without bias."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._check import check_flag
from .._types import Scalar


class Mean(eqx.Module):
    """What is known of a mean: from how many samples, it, and the sum of the features'
    variances."""

    size: Float[Array, ""]
    mean: Float[Array, " features"]
    variance: Scalar

    @classmethod
    def of(cls, features: Float[Array, "samples features"]) -> "Mean":
        """From a sample."""
        count = features.shape[0]
        spread = (
            jnp.sum(jnp.var(features, 0, ddof=1)) if count > 1 else jnp.zeros((), features.dtype)
        )
        return cls(jnp.asarray(count, features.dtype), jnp.mean(features, 0), spread)

    def merge(self, other: "Mean") -> "Mean":
        """From both samples (Chan, Golub & LeVeque, Amer. Statist. 37 (1983))."""
        count = self.size + other.size
        gap = other.mean - self.mean
        squares = self.variance * (self.size - 1) + other.variance * (other.size - 1)
        squares = squares + jnp.sum(gap**2) * self.size * other.size / count
        return Mean(count, self.mean + gap * (other.size / count), squares / (count - 1))


def squared_mean_distance(
    x: Float[Array, "samples features"] | Mean,
    y: Float[Array, "other_samples features"] | Mean,
    *,
    unbiased: bool,
) -> Scalar:
    r"""$\|E x - E y\|^2$ estimated from two samples.

    The plug-in estimate $\|\bar x - \bar y\|^2$ is too large by the variance of the two
    means, which depends on the parameters and so moves the minimum. The unbiased one
    takes that off: it is the U-statistic of the linear kernel (Gretton et al., JMLR 2012).
    """
    if check_flag("unbiased", unbiased):
        for name, sample in (("x", x), ("y", y)):
            if not isinstance(sample, Mean) and sample.shape[0] < 2:
                raise ValueError(
                    f"`{name}` must hold at least 2 samples for an unbiased estimate, got "
                    f"{sample.shape[0]}. Use unbiased=False."
                )
    a, b = (z if isinstance(z, Mean) else Mean.of(z) for z in (x, y))
    gap = jnp.sum((a.mean - b.mean) ** 2)
    return gap - a.variance / a.size - b.variance / b.size if unbiased else gap
