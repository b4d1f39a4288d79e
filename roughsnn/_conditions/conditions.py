"""Conditions C1-C6: whether an event SDE has exact pathwise gradients."""

import dataclasses
from collections.abc import Callable
from typing import Literal

import diffrax as dfx
import jax
from jaxtyping import PyTree

from .._check import check_kind
from .._event.event import Event
from .._misc import as_float_array, check_positive_int, is_concrete
from .._random import original
from .._types import Args, PRNGKey, RealScalar, State
from .decide import Condition, decide
from .fields import Fields
from .part import Part

_REMEDIES = {
    "C1": "An event time of a crossing that sees the noise has no pathwise derivative. Put the "
    "noise on a variable that the event function does not read (e.g. on the current), or fire "
    "stochastically (an integrated hazard as event function).",
    "C2": "A grazing event has no derivative. Make the drift carry the state through the "
    "surface, e.g. by more input.",
    "C3": "The jump must commute with the noise. Reset by subtraction instead of to a constant; "
    "if the noise is multiplicative, let it vanish at the reset, or make it additive.",
    "C4": "A coordinate must be below its threshold after a jump, and no other one may be moved "
    "over or away from it. Make the reset larger, or let spikes act on a current.",
    "C5": "The path jumps where the two events swap their order. Use current synapses, or reset "
    "by subtraction.",
    "C6": "The time at which it changes moves with the parameters, and no event carries its "
    "derivative. Make the change an event of its own, make it gradual, or leave a pause after a "
    "spike to `refractory=...` of the population, during which the potential goes on.",
}


@dataclasses.dataclass(frozen=True)
class ConditionReport:
    """What [`roughsnn.check_event`][] found; prints as one line for each condition."""

    conditions: tuple[Condition, ...]

    @property
    def holds(self) -> bool:
        """Whether all conditions were found to hold."""
        return all(c.holds is True for c in self.conditions)

    def __str__(self) -> str:
        return "\n".join(map(str, self.conditions))

    def raise_if_failed(self) -> None:
        """`ValueError` naming the conditions that fail, and what to change."""
        failed = [c for c in self.conditions if c.holds is False]
        if failed:
            lines = [f"{c} {_REMEDIES[c.name]}" for c in failed]
            raise ValueError("This model has no exact pathwise gradient.\n" + "\n".join(lines))


def check_event(
    terms: PyTree,
    event: Event,
    t: RealScalar,
    y: State,
    args: Args = None,
    *,
    key: PRNGKey | None = None,
    samples: int = 16,
    coordinates: int = 6,
    throw: bool = True,
) -> ConditionReport:
    r"""Checks the conditions under which pathwise gradients through events are exact.

    On the surface $E_k = 0$, with drift $\mu$ and noise $\sigma$ of `terms`:

    - C1: $\nabla E_k\,\sigma = 0$;
    - C2: $\partial_t E_k + \nabla E_k\,\mu \ne 0$ (its sign is watched during a solve);
    - C3: $\nabla\mathcal T_k\,\sigma = \sigma\circ\mathcal T_k$;
    - C4: $E_k\circ\mathcal T_k < 0$ (or $= 0$ and falling), and $E_j\circ\mathcal T_k = E_j$
      where two coordinates are at threshold;
    - C5: $\mathcal T_j\circ\mathcal T_k = \mathcal T_k\circ\mathcal T_j$ there;
    - C6: between events $\mu$ and $\sigma$ are continuous in the state. A surface at which they
        switch is an event whose jump is the identity: without it the derivative of the time at
        which it is crossed is lost, and with a noise that switches C3 fails there. So it is with a
        potential that is held for a while after a spike.

    C1 and C3 are decided exactly where event function and transition are affine and the
    noise is additive, C5 where the transitions are affine; both are read off the jaxprs. All
    else is decided at sampled states: `y` with noise added, moved onto the surface, for C6 on the
    ways between them. Where no such state is found, the condition is undecided (`holds=None`).

    **Arguments:**

    - `terms`: a diffrax term or `MultiTerm`. Control terms over a
        [`roughsnn.BrownianPath`][] (or any cell path or diffrax Brownian path) are noise,
        all others drift.
    - `event`: an [`roughsnn.Event`][].
    - `t`, `y`, `args`: a time, a typical state and the arguments; concrete values.
    - `key`: for the sampled states.
    - `samples`: how many states.
    - `coordinates`: how many coordinates (and pairs of them) at most; if there are more, a
        random choice, and the report says "sampled".
    - `throw`: raise if a condition fails.

    **Returns:** a [`roughsnn.ConditionReport`][].

    **Raises:** `ValueError` naming the condition, the coordinate and noise channel, and what
    to change; `TypeError` for values that are traced.

    ??? cite "References"

        Assumptions 3.1-3.5 of C. Holberg, C. Salvi, *Exact Gradients for Stochastic Spiking
        Neural Networks Driven by Rough Signals*, NeurIPS 2024, arXiv:2405.13587, are C1-C4, and
        ask for smooth vector fields.
        C5 is needed for the gradient of an expectation, where two events swap order.
    """
    check_kind("terms", terms, dfx.AbstractTerm, "a diffrax term or a diffrax.MultiTerm")
    check_kind("event", event, Event, "a roughsnn.Event")
    samples = check_positive_int("samples", samples)
    coordinates = check_positive_int("coordinates", coordinates)
    key = None if key is None else original(key)
    if is_concrete(t, y):
        t = as_float_array("t", t)
        if t.shape != ():
            raise ValueError(f"`t` must be one time, got shape {t.shape}.")
        leaves = [as_float_array("y", leaf) for leaf in jax.tree.leaves(y)]
        if not leaves or not all(leaf.size for leaf in leaves):
            raise ValueError("`y` must hold at least one number in each array.")
    with jax.ensure_compile_time_eval():
        fields = Fields(terms, event, t, y, args)
        if not fields.known():
            raise TypeError(
                "`check_event` needs concrete values, got traced ones. Call it outside of "
                "`jit`, `vmap` and `grad`."
            )
        report = ConditionReport(decide(fields, key, samples, coordinates))
    if throw:
        report.raise_if_failed()
    return report


def conditions_of(
    terms: PyTree,
    event: Event,
    t: RealScalar,
    y: State,
    args: Args,
    choose: Callable[[], Part | None] = lambda: None,
) -> Literal["hold", "unchecked"]:
    """Checks a model as far as its values are known: "hold" or "unchecked", or raises. `choose`
    says which part of a model, whose values are known, is to be looked at.

    Without C2: the drift may be 0 now and not later, and every crossing is watched.
    """
    if not isinstance(terms, dfx.AbstractTerm):
        return "unchecked"
    with jax.ensure_compile_time_eval():
        fields = Fields(terms, event, t, y, args)
        if not fields.known():
            return "unchecked"
        part = choose()
        if part is None:
            found = decide(fields, None, 8, 4)
        else:
            fields = Fields(terms, event, t, y, args, part)
            found = decide(fields, None, 8, fields.num_coordinates)
        kept = ConditionReport(tuple(c for c in found if c.name != "C2"))
        kept.raise_if_failed()
    return "hold" if kept.holds else "unchecked"
