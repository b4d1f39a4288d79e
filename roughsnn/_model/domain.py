"""The domains of parameters: a known value outside is refused, a traced one ends in a flag."""

from typing import Literal, NamedTuple, Protocol, runtime_checkable

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from .._misc import as_float_array, check_finite, is_concrete
from .._types import Numeric


class Bound(NamedTuple):
    """What each number of a parameter must be: `"positive"`, `"not negative"` or `"negative"`.

    Membranes, firings and intensities of your own return them from `bounds`. Known values are
    checked when a simulation begins; traced ones make its result `RESULTS.parameter_outside`.
    """

    name: str
    value: Float[Array, "..."]
    rule: Literal["positive", "not negative", "negative"]

    def holds(self) -> Bool[Array, ""]:
        """Whether all are; false where one is nan."""
        within = {
            "positive": self.value > 0,
            "not negative": self.value >= 0,
            "negative": self.value < 0,
        }
        return jnp.all(within[self.rule])

    def check(self) -> None:
        """`ValueError` if the numbers are known, and outside."""
        if not is_concrete(self.value):
            return
        check_finite(self.name, self.value)
        value = np.asarray(self.value)
        wrong = {"positive": value <= 0, "not negative": value < 0, "negative": value >= 0}
        if np.any(wrong[self.rule]):
            must = self.rule if self.rule != "not negative" else "not be negative"
            must = must if must.startswith("not") else f"be {must}"
            raise ValueError(f"`{self.name}` must {must}, got {value}.")


@runtime_checkable
class Bounded(Protocol):
    """A model, or a part of one, whose parameters have bounds."""

    def bounds(self) -> tuple[Bound, ...]:
        """What its parameters must be; each value is a leaf."""
        ...


def as_bounded(name: str, value: Numeric, rule: Literal["positive", "not negative"]) -> Array:
    """`value` as a floating array, checked as far as it is known."""
    bound = Bound(name, as_float_array(name, value), rule)
    bound.check()
    return bound.value
