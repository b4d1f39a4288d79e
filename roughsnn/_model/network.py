"""A network of spiking neurons as an event SDE."""

from typing import Literal

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
from jaxtyping import Array, Bool, Float

from .._event.event import Event
from .._misc import as_float_array, is_concrete, one_hot
from .._path.base import AbstractCellPath
from .._path.jumps import JumpPath
from .._types import Drive, Numeric
from .connectivity import SparseWeights
from .dale import DaleWeights
from .firing import AbstractFiring
from .membrane import AbstractMembrane
from .state import NeuronState


def evaluate_drive(drive: Drive, t) -> Array:
    """The input at `t` of a drive that is a callable or a path."""
    return drive.evaluate(t) if isinstance(drive, dfx.AbstractPath) else drive(t)


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
        if conditions not in ("check", "waive"):
            raise ValueError(f"`conditions` must be 'check' or 'waive', got {conditions!r}.")
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
        self, drive: Drive, path: AbstractCellPath | None = None, jumps: JumpPath | None = None
    ) -> dfx.AbstractTerm:
        """The network between spikes as diffrax terms; noise only if `path` is given, jumps of
        the currents only if `jumps` are."""

        def drift(t, y, args):
            dv, di = self.membrane.drift(y.v, y.i, evaluate_drive(drive, t))
            return NeuronState(dv, di, self.firing.drift(y.v))

        def currents(t, y, args):
            def act(dx):
                zero = None if y.s is None else jnp.zeros_like(y.s)
                return NeuronState(jnp.zeros_like(y.v), dx, zero)

            return lx.FunctionLinearOperator(act, jax.ShapeDtypeStruct(y.i.shape, y.i.dtype))

        def diffusion(t, y, args):
            def act(dx):
                dv, di = self.membrane.noise(y.v, y.i, dx)
                return NeuronState(dv, di, None if y.s is None else jnp.zeros_like(y.s))

            shape = (y.v.shape[0], self.membrane.channels)
            return lx.FunctionLinearOperator(act, jax.ShapeDtypeStruct(shape, y.v.dtype))

        terms: list[dfx.AbstractTerm] = [dfx.ODETerm(drift)]
        if path is not None:
            terms.append(dfx.ControlTerm(diffusion, path))
        if jumps is not None:
            terms.append(dfx.ControlTerm(currents, jumps))
        return terms[0] if len(terms) == 1 else dfx.MultiTerm(*terms)

    def event(self) -> Event:
        """The spikes of the network as an [`roughsnn.Event`][]."""
        weights = self.effective_weights()

        def fn(t, y, args):
            return self.firing.event(y.v, y.s)

        def transition(t, y, args, k, u):
            fired = one_hot(k, y.v.shape[0])
            v = jnp.where(fired, self.membrane.reset(y.v), y.v)
            level = self.firing.level(u)
            s = None if level is None else jnp.where(fired, level, y.s)
            i = y.i
            if weights is not None:
                i = i + (weights.row(k) if isinstance(weights, SparseWeights) else weights[k])
            return NeuronState(v, i, s)

        return Event(fn, transition)


def _check_mask(mask, weights: Array) -> Array:
    diagonal = np.eye(weights.shape[0], dtype=bool)
    if mask is None:
        mask = jnp.asarray(~diagonal)
    else:
        mask = jnp.asarray(mask)
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
