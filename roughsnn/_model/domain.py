"""The domains of parameters: a known value outside is refused, a traced one ends in a flag."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias, runtime_checkable

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from .._check import check_choice
from .._misc import as_float_array, check_finite, is_concrete
from .._types import Numeric

Rule: TypeAlias = Literal["positive", "not negative", "negative", "in (0, 1]"]
# What they say, and what they allow.
_RULES: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "positive": ("be positive", lambda x: x > 0),
    "not negative": ("not be negative", lambda x: x >= 0),
    "negative": ("be negative", lambda x: x < 0),
    "in (0, 1]": ("be more than 0 and at most 1", lambda x: (x > 0) & (x <= 1)),
}


class Bound(NamedTuple):
    """What each number of a parameter must be: `"positive"`, `"not negative"`, `"negative"` or
    `"in (0, 1]"`.

    Neurons, synapses, firings and intensities of your own return them from `bounds`. Known values
    are checked when a simulation begins; traced ones make its result `RESULTS.parameter_outside`.
    """

    name: str
    value: Float[Array, "..."]
    rule: Rule

    def holds(self) -> Bool[Array, ""]:
        """Whether all are; false where one is nan."""
        _, within = _RULES[self.rule]
        return jnp.all(within(self.value))

    def check(self) -> None:
        """`ValueError` if the numbers are known, and outside."""
        check_choice(f"rule of {self.name}", self.rule, tuple(_RULES))
        if not is_concrete(self.value):
            return
        as_float_array(str(self.name), self.value)
        check_finite(self.name, self.value)
        must, within = _RULES[self.rule]
        value = np.asarray(self.value)
        if not np.all(within(value)):
            raise ValueError(f"`{self.name}` must {must}, got {value}.")


@runtime_checkable
class Bounded(Protocol):
    """A model, or a part of one, whose parameters have bounds."""

    def bounds(self) -> tuple[Bound, ...]:
        """What its parameters must be; each value is a leaf."""
        ...


def as_bounded(name: str, value: Numeric, rule: Rule) -> Array:
    """`value` as a floating array, checked as far as it is known."""
    bound = Bound(name, as_float_array(name, value), rule)
    bound.check()
    return bound.value
