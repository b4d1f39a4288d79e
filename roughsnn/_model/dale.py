"""Weights whose sign is fixed by their neuron."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from .._misc import as_float_array, as_numbers, is_concrete
from .._types import Numeric
from .connectivity import SparseWeights


class DaleWeights(eqx.Module):
    r"""Weights that keep the sign of their neuron: $w_{kj} = \pm_k \log(1 + e^{r_{kj}})$.

    What is trained is r, of which any value is right: no optimiser can make an excitatory neuron
    inhibitory (Dale's principle), or stop in a corner as with clipped weights.

    **Arguments:**

    - `weights`: where to start: a matrix `weights[pre, post]` or [`roughsnn.SparseWeights`][].
        Those of an excitatory neuron must not be negative, those of an inhibitory one not positive.
        (A weight of 0 starts at 1e-4: r would be infinite.)
    - `excitatory`: which neurons are; booleans of shape `(neurons,)`.

    **Raises:** `ValueError` for wrong shapes and signs.
    """

    raw: Float[Array, "neurons targets"] | SparseWeights
    excitatory: Bool[Array, " neurons"]

    def __init__(self, weights: Numeric | SparseWeights, excitatory: Numeric):
        dense = not isinstance(weights, SparseWeights)
        values = as_float_array("weights", weights) if dense else weights.values
        self.excitatory = as_numbers("excitatory", excitatory)
        if values.ndim != 2 or self.excitatory.shape != values.shape[:1]:
            raise ValueError(
                "`excitatory` must have an entry for each row of `weights`, got shapes "
                f"{self.excitatory.shape} and {values.shape}."
            )
        if self.excitatory.dtype != bool:
            raise ValueError(f"`excitatory` must be boolean, got {self.excitatory.dtype}.")
        signed = values * self._signs(values)
        if is_concrete(signed) and np.any(np.asarray(signed) < 0):
            pre = np.flatnonzero(np.any(np.asarray(signed) < 0, axis=1))[0]
            raise ValueError(f"Neuron {pre} has weights of the wrong sign for `excitatory`.")
        size = jnp.maximum(jnp.abs(values), 1e-4)
        raw = size + jnp.log(-jnp.expm1(-size))
        self.raw = raw if dense else eqx.tree_at(lambda w: w.values, weights, raw)

    def _signs(self, values: Array) -> Array:
        return jnp.where(self.excitatory, 1, -1).astype(values.dtype)[:, None]

    @property
    def shape(self) -> tuple[int, int]:
        """(neurons, targets)."""
        return self.raw.shape[0], self.raw.shape[1]

    def weights(self) -> Float[Array, "neurons targets"] | SparseWeights:
        """The weights themselves."""
        if isinstance(self.raw, SparseWeights):
            values = self._signs(self.raw.values) * jax.nn.softplus(self.raw.values)
            return eqx.tree_at(lambda w: w.values, self.raw, values)
        return self._signs(self.raw) * jax.nn.softplus(self.raw)
