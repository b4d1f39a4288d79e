"""Parameters that stay within their domain, whatever an optimiser does to them."""

from typing import TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import paramax
from jax.scipy.special import logit
from jaxtyping import Array

from .domain import Bound, Bounded

_Model = TypeVar("_Model", bound=Bounded)


def constrained(model: _Model) -> _Model:
    r"""A model whose rates, time constants and refractoriness stay positive during training.

    Each parameter $x$ that must be positive, or must not be negative, is kept as its logarithm
    ($x = e^r$, by `paramax.Parameterize`), of which any value is right: a step of an optimiser
    changes it by a factor. One that must be in (0, 1] is kept as its logit.
    [`roughsnn.simulate`][] and its kin and the losses of [`roughsnn.fit`][] see the parameters
    themselves. To read them, use `paramax.unwrap(result.model)`. Without constraints a parameter
    that leaves its domain is an error where it is known, and `RESULTS.parameter_outside` in a
    program.

    **Arguments:**

    - `model`: a [`roughsnn.SpikingNetwork`][], or one of its parts. A part of your own says by
        `bounds` which of its leaves are concerned.

    **Returns:** the model; a parameter of 0 starts at 1e-4, one of 1 that is kept as its logit at
        1 - 1e-4.

    **Raises:** `ValueError` for a known parameter that is outside of its domain; `TypeError` for a
        model without `bounds`.
    """
    if isinstance(model, type) or not isinstance(model, Bounded):
        raise TypeError(
            "`model` must be a roughsnn.SpikingNetwork or one of its parts, got a "
            f"{type(model).__name__}."
        )
    for bound in model.bounds():
        bound.check()
    held = [_held(bound) for bound in model.bounds()]
    return eqx.tree_at(lambda m: [b.value for b in m.bounds()], model, held)


def _held(bound: Bound) -> paramax.Parameterize[Array]:
    """A number of which any value is right."""
    if bound.rule == "in (0, 1]":
        return paramax.Parameterize(jax.nn.sigmoid, logit(jnp.minimum(bound.value, 1 - 1e-4)))
    return paramax.Parameterize(jnp.exp, jnp.log(jnp.where(bound.value == 0, 1e-4, bound.value)))
