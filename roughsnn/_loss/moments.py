"""Matching the means of features, on the scale of their fluctuations."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._check import check_kind
from .._kernel.whitening import Whitening
from .._misc import as_float_array, as_numbers, check_positive_float
from .._types import Scalar
from .distance import Mean, squared_mean_distance


class Moments(eqx.Module):
    r"""The mean of features of data, and the covariance that says which difference from it counts.

    With the mean $\bar\psi$ and the covariance C of the data, after each feature was divided by its
    spread, features are mapped to $(C + \rho\bar c)^{-1/2}\psi$, $\bar c$ the mean variance. With
    $\rho\to 0$ matching their means is the generalised method of moments with the optimal weights:
    the estimate with the smallest variance that these features allow.

    ??? cite "Reference"

        L. P. Hansen, *Large sample properties of generalized method of moments estimators*,
        Econometrica 50 (1982).
    """

    mean: Mean
    whitening: Whitening

    @classmethod
    def of(
        cls, features: Float[Array, "samples features"], *, shrinkage: float = 0.05
    ) -> "Moments":
        r"""From the features of data.

        **Arguments:**

        - `features`: one row for each sample, at least 2.
        - `shrinkage`: $\rho$; more where there are fewer samples than features.

        **Raises:** `TypeError` for what are no numbers; `ValueError` for fewer than two samples,
        and for features that are not finite.
        """
        features = _as_features("features", features)
        if features.shape[0] < 2:
            raise ValueError(f"`features` must hold at least 2 samples, got {features.shape[0]}.")
        features = jax.lax.stop_gradient(features)
        whitening = Whitening.of(features, check_positive_float("shrinkage", shrinkage))
        return cls(Mean.of(whitening(features)), whitening)

    def __call__(self, features: Float[Array, "samples features"]) -> Array:
        """Features on the scale of the fluctuations of the data."""
        x, number = _as_features("features", features), self.whitening.scales.shape[0]
        if x.shape[1] != number:
            raise ValueError(f"`features` must have shape (samples, {number}), got {x.shape}.")
        return self.whitening(x)


def _as_features(name: str, value: Any) -> Float[Array, "samples features"]:
    """A row of finite numbers for each sample; counts may be whole numbers."""
    x = as_numbers(name, value)
    if jnp.issubdtype(x.dtype, jnp.integer):
        x = x.astype(jnp.result_type(float))
    x = as_float_array(name, x)
    if x.ndim != 2 or 0 in x.shape:
        raise ValueError(f"`{name}` must have shape (samples, features), got {x.shape}.")
    return x


def moment_distance(
    x: Float[Array, "samples features"], y: Moments, *, unbiased: bool = True
) -> Scalar:
    r"""The squared distance of the mean features of a model and of data, in units of the data's
    fluctuations.

    Any statistics of spike trains may be features. Its pathwise gradient is right if they are
    continuous in the spike times (or corrected by [`roughsnn.losses.with_boundary`][]).

    **Arguments:**

    - `x`: features of samples of the model.
    - `y`: [`roughsnn.losses.Moments`][] of the same features of the data.
    - `unbiased`: take off what the distance of two finite samples is too large.

    **Returns:** a scalar.

    **Raises:** `TypeError` for what are no numbers or no moments; `ValueError` for another number
    of features, and for one sample if `unbiased`.
    """
    check_kind("y", y, Moments, "roughsnn.losses.Moments.of(features of the data)")
    x, features = _as_features("x", x), y.whitening.scales.shape[0]
    if x.shape[1] != features:
        raise ValueError(f"`x` must have shape (samples, {features}), got {x.shape}.")
    return squared_mean_distance(y.whitening(x), y.mean, unbiased=unbiased)
