"""A network of spiking neurons as an event SDE."""

from collections.abc import Sequence
from typing import Literal

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from .._check import check_choice
from .._event.event import Event
from .._misc import as_float_array, as_numbers, is_concrete
from .._path.base import AbstractCellPath
from .._path.jumps import JumpPath
from .._types import DriveFunction, Numeric
from .connectivity import SparseWeights
from .dale import DaleWeights
from .domain import Bound
from .equation import Currents, Diffusion, Drift, Excess, Spike
from .firing import AbstractFiring
from .membrane import AbstractMembrane


class SpikingNetwork(eqx.Module):
    r"""Neurons with a membrane and a firing rule, coupled by weights.

    When neuron $k$ fires, its potential is reset, its next threshold drawn, and
    $i_j \mathrel{+}= w_{kj}$ for all $j$ (Holberg & Salvi 2024, eq. 1-3).

    **Arguments:**

    - `membrane`: e.g. [`roughsnn.LIF`][].
    - `firing`: [`roughsnn.StochasticFiring`][] or [`roughsnn.ThresholdFiring`][].
    - `weights`: `weights[pre, post]`, shape `(neurons, neurons)`, zero on the diagonal; or
        [`roughsnn.SparseWeights`][], for large networks; or [`roughsnn.DaleWeights`][], which keep
        their sign; `None` for uncoupled neurons, as many as the drive has entries.
    - `mask`: boolean, shape `(neurons, neurons)`; only weights where it is true exist, and
        only they get a gradient. Must be false on the diagonal. By default everything
        off the diagonal.
    - `conditions`: `"check"` refuses models without exact gradients (see
        [`roughsnn.check_event`][]); `"waive"` does not, and marks their solutions.

    **Raises:** `ValueError` for wrong shapes, weights on the diagonal, values that are not
    finite, and for models without exact gradients.
    """

    membrane: AbstractMembrane
    firing: AbstractFiring
    weights: Float[Array, "neurons neurons"] | SparseWeights | DaleWeights | None
    mask: Bool[Array, "neurons neurons"] | None
    conditions: Literal["check", "waive"] = eqx.field(static=True)

    def __init__(
        self,
        membrane: AbstractMembrane,
        firing: AbstractFiring,
        weights: Numeric | SparseWeights | DaleWeights | None = None,
        mask: Numeric | None = None,
        *,
        conditions: Literal["check", "waive"] = "check",
    ):
        if not isinstance(membrane, AbstractMembrane):
            raise TypeError(
                f"`membrane` must be a roughsnn.AbstractMembrane, got {type(membrane).__name__}."
            )
        if not isinstance(firing, AbstractFiring):
            raise TypeError(
                f"`firing` must be a roughsnn.AbstractFiring, got {type(firing).__name__}."
            )
        check_choice("conditions", conditions, ("check", "waive"))
        self.conditions = conditions
        self.membrane = membrane if conditions == "waive" else firing.check(membrane)
        self.firing = firing
        self.weights, self.mask = None, None
        if weights is None:
            if mask is not None:
                raise ValueError("`mask` was given without `weights`.")
            return
        if isinstance(weights, SparseWeights | DaleWeights):
            self.weights = weights
            held = weights.raw if isinstance(weights, DaleWeights) else weights
            if isinstance(held, SparseWeights):
                if mask is not None:
                    raise ValueError("`mask` goes with a matrix; SparseWeights hold what exists.")
                return
            # A magnitude is never 0: those on the diagonal are masked.
            matrix = jnp.zeros(held.shape)
        else:
            self.weights = matrix = as_float_array("weights", weights)
        if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
            raise ValueError(f"`weights` must have shape (neurons, neurons), got {matrix.shape}.")
        self.mask = _check_mask(mask, matrix)

    @property
    def num_neurons(self) -> int | None:
        """The number of neurons, if the weights fix it."""
        return None if self.weights is None else self.weights.shape[0]

    def bounds(self) -> tuple[Bound, ...]:
        """What the parameters must be."""
        return (*self.membrane.bounds(), *self.firing.bounds())

    def effective_weights(self) -> Float[Array, "neurons neurons"] | SparseWeights | None:
        """The weights where the mask is true, or where there is a target, zero elsewhere."""
        if self.weights is None:
            return None
        weights = self.weights.weights() if isinstance(self.weights, DaleWeights) else self.weights
        if isinstance(weights, SparseWeights):
            return weights.filled()
        assert self.mask is not None
        return jnp.where(self.mask, weights, 0)

    def terms(
        self,
        drive: DriveFunction,
        path: AbstractCellPath | None = None,
        jumps: Sequence[JumpPath] = (),
    ) -> dfx.AbstractTerm:
        """The network between spikes as diffrax terms; noise only if `path` is given, jumps of
        the currents for each of `jumps`."""

        terms: list[dfx.AbstractTerm] = [dfx.ODETerm(Drift(self.membrane, self.firing, drive))]
        if path is not None:
            terms.append(dfx.ControlTerm(Diffusion(self.membrane), path))
        terms += [dfx.ControlTerm(Currents(), jump) for jump in jumps]
        return terms[0] if len(terms) == 1 else dfx.MultiTerm(*terms)

    def event(self) -> Event:
        """The spikes of the network as an [`roughsnn.Event`][]."""
        spike = Spike(self.membrane, self.firing, self.effective_weights())
        # Random thresholds are not reached together.
        hard = jax.eval_shape(self.firing.draw_threshold, 0.5) is None
        ties = "all" if hard else "first"
        return Event(Excess(self.firing), spike, self.conditions, ties=ties)


def _check_mask(mask, weights: Array) -> Array:
    diagonal = np.eye(weights.shape[0], dtype=bool)
    if mask is None:
        mask = jnp.asarray(~diagonal)
    else:
        mask = as_numbers("mask", mask)
        if mask.dtype != bool or mask.shape != weights.shape:
            raise ValueError(
                f"`mask` must be boolean with the shape of `weights`, {weights.shape}; got "
                f"{mask.dtype} of shape {mask.shape}."
            )
        if is_concrete(mask) and np.any(np.asarray(mask) & diagonal):
            raise ValueError(
                "`mask` must be false on the diagonal: a neuron has no synapse onto itself, "
                "its own spike acts by the reset."
            )
    if is_concrete(weights) and np.any(np.diag(np.asarray(weights)) != 0):
        raise ValueError(
            "`weights` must be zero on the diagonal: a neuron has no synapse onto itself, "
            "its own spike acts by the reset."
        )
    return mask
