"""The event of an event SDE: where it fires and what it does to the state."""

from collections.abc import Callable
from typing import Literal

import equinox as eqx
from jaxtyping import Array, Float

from .._check import check_choice, check_function
from .._types import Args, IntScalar, RealScalar, Scalar, State


class Event(eqx.Module):
    r"""A vector of event functions and the jump that each of them causes.

    Coordinate $k$ fires when $E_k(t, y)$ rises through 0; then
    $Y_\tau = \mathcal T_k(\tau, Y_{\tau-}, u)$ with $u \sim U(0, 1)$ keyed by $k$ and by
    how often $k$ has fired, so that a path is continuous in its parameters also where two
    events swap their order (Holberg & Salvi 2024, Definition 3.1).

    **Arguments:**

    - `fn`: `fn(t, y, args) -> (events,)`.
    - `transition`: `transition(t, y, args, k, u) -> y`, the state just after coordinate
        `k` fired; `k` is an integer array, `u` a uniform random number.
    - `ties`: what coordinates do that reach 0 at the same time, to within rounding. `"first"`: the
        one of the smallest number jumps, and the others if they are above 0 behind that. `"all"`:
        each of them jumps, in the order of their numbers, whatever the jumps before did to it.
        There the solution is not differentiable.
    - `conditions`: `"check"` has [`roughsnn.check_event`][] called before a solve, if the values of
        the model are known (not while they are traced); `"waive"` solves whatever the answer would
        be. `conditions` of what is returned says what was done.

    **Raises:** `ValueError` for `conditions` or `ties` that are neither; `TypeError` for functions
        that do not take these arguments.

    !!! warning

        Exact pathwise gradients need more than differentiability: no noise in `fn`, a
        crossing at positive speed, and a transition that commutes with the noise
        (Assumptions 3.1-3.5 of the paper; see *Theory*).
    """

    fn: Callable[[RealScalar, State, Args], Float[Array, " events"]]
    transition: Callable[[RealScalar, State, Args, IntScalar, Scalar], State]
    conditions: Literal["check", "waive"] = eqx.field(static=True, default="check")
    ties: Literal["first", "all"] = eqx.field(static=True, default="first")

    def __check_init__(self):
        check_function("fn", self.fn, "fn(t, y, args)")
        check_function("transition", self.transition, "transition(t, y, args, k, u)")
        check_choice("conditions", self.conditions, ("check", "waive"))
        check_choice("ties", self.ties, ("first", "all"))
