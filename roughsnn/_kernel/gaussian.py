"""The Gaussian kernel of features of spike trains."""

from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._misc import as_positive_scalar, matmul
from .._types import Scalar

T = TypeVar("T")


def as_bandwidth(value: Any) -> Array | None:
    """A positive scalar; `None` if it is left open."""
    return None if value is None else as_positive_scalar("bandwidth", value)


def mean_square_distance(features: Float[Array, "samples features"]) -> Scalar:
    """Of two different samples, on average; 1 if they are all alike."""
    n = features.shape[0]
    mean = 2 * jnp.sum(jnp.var(features, 0)) * (n / max(n - 1, 1))
    return jax.lax.stop_gradient(jnp.where(mean > 0, mean, 1))


def lifted(features: Float[Array, "samples features"]) -> tuple[Array, Array]:
    """Features and half their square norms."""
    return features, jnp.sum(features**2, -1) / 2


def gaussian_block(a, b, bandwidth: Scalar) -> Array:
    r"""$\exp(-\|a - b\|^2 / 2g)$ of all pairs: a matrix product."""
    (f, p), (g, q) = a, b
    return jnp.exp((matmul(f, g.T) - p[:, None] - q[None]) / bandwidth.astype(f.dtype))


def gaussian_pairs(a, b, bandwidth: Scalar) -> Array:
    """The same of each sample with its partner."""
    gap = a[0] - b[0]
    return jnp.exp(-jnp.sum(gap**2, -1) / 2 / bandwidth.astype(gap.dtype))


def known(name: str, value: T | None) -> T:
    """A scale, once it is there."""
    if value is None:
        raise ValueError(
            f"`{name}` is not known: give it, or call `kernel.fitted(data)` to take it from data."
        )
    return value
