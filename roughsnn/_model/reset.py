"""What a spike does to the potential of its own neuron."""

import abc

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._check import check_kind
from .._misc import as_float_array
from .._types import Numeric, Scalar


class AbstractReset(eqx.Module):
    """The potential of a neuron just after its own spike."""

    @abc.abstractmethod
    def __call__(self, v: Scalar) -> Scalar:
        """The potential just after a spike at `v`."""


class Subtract(AbstractReset):
    r"""$v \to v - a$: commutes with noise on the potential (condition C3).

    **Arguments:**

    - `by`: what a spike takes from v; scalar or shape `(neurons,)`.
    """

    by: Float[Array, "*neurons"]

    def __init__(self, by: Numeric = 1.0):
        self.by = _as_parameter("by", by)

    def __call__(self, v):
        """See [`roughsnn.AbstractReset`][]."""
        return v - self.by


class ResetTo(AbstractReset):
    r"""$v \to v_0$: for potentials without noise just after a spike (condition C3).

    **Arguments:**

    - `value`: the potential after a spike; scalar or shape `(neurons,)`.
    """

    value: Float[Array, "*neurons"]

    def __init__(self, value: Numeric = 0.0):
        self.value = _as_parameter("value", value)

    def __call__(self, v):
        """See [`roughsnn.AbstractReset`][]."""
        return jnp.broadcast_to(self.value, jnp.shape(v)).astype(v.dtype)


def as_reset(reset: AbstractReset | None) -> AbstractReset:
    """The reset, by default by subtraction of 1."""
    reset = Subtract() if reset is None else reset
    return check_kind("reset", reset, AbstractReset, "a roughsnn.Subtract or a roughsnn.ResetTo")


def _as_parameter(name: str, value: Numeric) -> Array:
    array = as_float_array(name, value)
    if array.ndim > 1:
        raise ValueError(f"`{name}` must be a number or have shape (neurons,), got {array.shape}.")
    return array
