"""Losses that jump refuse to be differentiated."""

import functools as ft

import equinox as eqx
import jax
from jaxtyping import Array

from .._train.spike_train import SpikeTrain

_WHERE = {
    "swap": "the spikes of two neurons swap order",
    "exit": "a spike leaves the window",
}
_HOW = {
    "swap": "a PointKernel, LagKernel, PerNeuronKernel or RampLift",
    "exit": "a taper > 0, or roughsnn.losses.with_boundary and `allow_jumps=True`",
}


@ft.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _held(message: str, times: Array) -> Array:
    del message
    return times


def _refuse(message, primals, tangents):
    (times,), (moved,) = primals, tangents
    if isinstance(moved, jax.custom_derivatives.SymbolicZero):
        return times, moved
    raise ValueError(message)


_held.defjvp(_refuse, symbolic_zeros=True)


def refuse_gradient(x: SpikeTrain, jumps: frozenset[str], loss: str) -> SpikeTrain:
    """`x`, whose spike times raise when a derivative of `loss` is taken in them, if it has
    jumps."""
    if not jumps:
        return x
    kinds = sorted(jumps)
    message = (
        f"The pathwise gradient of {loss} is not the gradient of its mean: it jumps where "
        f"{' and where '.join(_WHERE[k] for k in kinds)}, and misses that part. Train with "
        f"{'; and with '.join(_HOW[k] for k in kinds)}. For evaluation it may be used as it is; "
        "pass `allow_jumps=True` to differentiate it all the same."
    )
    return eqx.tree_at(lambda z: z.times, x, _held(message, x.times))
