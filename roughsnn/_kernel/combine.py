"""Sums and products of kernels."""

import dataclasses
import functools
import operator
from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._check import as_tuple
from .._misc import as_float_array, is_concrete, tensordot
from .._train.check import check_trains
from .._train.spike_train import SpikeTrain
from .base import AbstractTrainKernel
from .gaussian import known
from .gram import gram_matrix


def _check(kernels: Sequence[AbstractTrainKernel]) -> tuple[AbstractTrainKernel, ...]:
    kernels = as_tuple("kernels", kernels, "kernels of spike trains")
    if not kernels or not all(isinstance(k, AbstractTrainKernel) for k in kernels):
        raise TypeError("`kernels` must be kernels of spike trains, at least one.")
    return kernels


class SumKernel(AbstractTrainKernel):
    r"""$\sum_i c_i k_i(x, y)$: sees every difference that one of its parts sees.

    **Arguments:**

    - `kernels`: the parts.
    - `weights`: $c_i$, not negative, shape `(kernels,)`. By default `fitted` takes them from the
        data so that under the hypothesis of equal laws all parts fluctuate alike:
        $c_i = 1/\|C_i\|$, the Hilbert-Schmidt norm of the covariance operator, whose square
        is the variance of the null distribution of $n\,\mathrm{MMD}^2$ up to a constant (Gretton
        et al., JMLR 13 (2012)), estimated by the root mean square of the centred Gram matrix.

    **Raises:** `ValueError` for negative weights, or one too few.
    """

    kernels: tuple[AbstractTrainKernel, ...]
    weights: Float[Array, " kernels"] | None

    def __init__(self, kernels: Sequence[AbstractTrainKernel], weights=None):
        self.kernels = _check(kernels)
        self.weights = None if weights is None else as_float_array("weights", weights)
        if self.weights is None:
            return
        if self.weights.shape != (len(self.kernels),):
            raise ValueError(
                f"`weights` must have shape ({len(self.kernels)},), one for each kernel, got "
                f"{self.weights.shape}."
            )
        if is_concrete(self.weights) and np.any(np.asarray(self.weights) < 0):
            raise ValueError(
                f"`weights` must not be negative, got {np.asarray(self.weights)}: the sum would "
                "not be positive definite."
            )

    def fitted(self, data):
        """With fitted parts, and weights that make them fluctuate alike."""
        check_trains("data", data, batch=True)
        kernels = tuple(k.fitted(data) for k in self.kernels)
        weights = self.weights
        if weights is None:
            weights = jnp.stack([1 / _spread(k, data) for k in kernels])
        return dataclasses.replace(self, kernels=kernels, weights=weights)

    def embed(self, x):
        """Those of the parts."""
        return tuple(k.embed(x) for k in self.kernels)

    def _total(self, parts: list[Array]) -> Array:
        weights = known("weights", self.weights).astype(parts[0].dtype)
        return tensordot(weights, jnp.stack(parts), 1)

    def block(self, a, b):
        """See [`roughsnn.AbstractTrainKernel`][]."""
        return self._total([k.block(s, t) for k, s, t in zip(self.kernels, a, b, strict=True)])

    def pairs(self, a, b):
        """See [`roughsnn.AbstractTrainKernel`][]."""
        return self._total([k.pairs(s, t) for k, s, t in zip(self.kernels, a, b, strict=True)])

    def discontinuities(self, num_neurons):
        """Where any of its parts does."""
        return functools.reduce(
            operator.or_, (k.discontinuities(num_neurons) for k in self.kernels)
        )

    def workspace(self, spikes, num_neurons):
        """That of its parts."""
        return sum(k.workspace(spikes, num_neurons) for k in self.kernels)


def _spread(kernel: AbstractTrainKernel, data: SpikeTrain):
    """The root mean square of the centred Gram matrix, off the diagonal."""
    gram = jax.lax.stop_gradient(gram_matrix(kernel, data, data))
    n = gram.shape[0]
    if n < 3:
        raise ValueError(
            f"The weights of a SumKernel are taken from at least 3 trains, got {n}. Give `weights`."
        )
    off = ~np.eye(n, dtype=bool)
    gram = jnp.where(off, gram, 0)
    mean = jnp.sum(gram, 0) / (n - 1)
    centred = jnp.where(off, gram - mean[:, None] - mean[None] + jnp.mean(mean), 0)
    size = jnp.sqrt(jnp.sum(centred**2) / (n * (n - 1)))
    # Data that are all alike say nothing about scales.
    return jnp.where(size > 0, size, 1)


def _product(parts: list[Array]) -> Array:
    return functools.reduce(operator.mul, parts)


class ProductKernel(AbstractTrainKernel):
    r"""$\prod_i k_i(x, y)$: sees joint differences of what its parts see.

    **Arguments:**

    - `kernels`: the factors.
    """

    kernels: tuple[AbstractTrainKernel, ...] = eqx.field(converter=_check)

    def fitted(self, data):
        """With fitted factors."""
        return ProductKernel(tuple(k.fitted(data) for k in self.kernels))

    def embed(self, x):
        """Those of the factors."""
        return tuple(k.embed(x) for k in self.kernels)

    def block(self, a, b):
        """See [`roughsnn.AbstractTrainKernel`][]."""
        return _product([k.block(s, t) for k, s, t in zip(self.kernels, a, b, strict=True)])

    def pairs(self, a, b):
        """See [`roughsnn.AbstractTrainKernel`][]."""
        return _product([k.pairs(s, t) for k, s, t in zip(self.kernels, a, b, strict=True)])

    def discontinuities(self, num_neurons):
        """Where any of its factors does."""
        return functools.reduce(
            operator.or_, (k.discontinuities(num_neurons) for k in self.kernels)
        )

    def workspace(self, spikes, num_neurons):
        """That of its factors."""
        return sum(k.workspace(spikes, num_neurons) for k in self.kernels)
