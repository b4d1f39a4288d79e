"""Features on the scale of their fluctuations."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._misc import matmul
from .._types import Scalar


class Whitening(eqx.Module):
    """A linear map after which features of the data have nearly unit covariance."""

    scales: Float[Array, " features"]
    directions: Float[Array, "features rank"]
    # What the map does along the directions, more than across them.
    gains: Float[Array, " rank"]
    across: Scalar

    @classmethod
    def of(cls, features: Float[Array, "samples features"], shrinkage: float) -> "Whitening":
        """From the features of data, of which there may be fewer than features."""
        n, dim = features.shape
        variance = jnp.var(features, 0)
        # Rare features are divided by not much less than the others.
        scales = jnp.sqrt(variance + 0.1 * jnp.mean(variance))
        scales = jnp.where(scales > 0, scales, 1)
        centred = (features - jnp.mean(features, 0)[None]) / scales[None]
        _, size, directions = jnp.linalg.svd(centred, full_matrices=False)
        along = size**2 / n
        floor = shrinkage * jnp.sum(along) / dim
        floor = jnp.where(floor > 0, floor, 1)
        across = 1 / jnp.sqrt(floor)
        return cls(scales, directions.T, 1 / jnp.sqrt(along + floor) - across, across)

    def __call__(self, features: Float[Array, "samples features"]) -> Array:
        """The features, whitened."""
        scaled = features / self.scales.astype(features.dtype)[None]
        directions = self.directions.astype(features.dtype)
        along = matmul(scaled, directions) * self.gains.astype(features.dtype)[None]
        return matmul(along, directions.T) + self.across.astype(features.dtype) * scaled
