"""Conditions C1-C5: whether an event SDE has exact pathwise gradients."""

import dataclasses
from typing import Any, Literal

import diffrax as dfx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import PyTree

from .._misc import is_concrete
from .._types import Args, PRNGKey, RealScalar, State
from .affine import is_affine, is_constant
from .event import Event
from .fields import Fields
from .surface import Measured, measure

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
}


@dataclasses.dataclass(frozen=True)
class Condition:
    """What was found about one condition."""

    name: str
    holds: bool
    # "exact": decided by linear algebra; "sampled": at sampled states on the event surface.
    decided: str
    message: str

    def __str__(self) -> str:
        verdict = "holds" if self.holds else "FAILS"
        return f"{self.name} {verdict} ({self.decided}): {self.message}"


@dataclasses.dataclass(frozen=True)
class ConditionReport:
    """What [`roughsnn.check_event`][] found; prints as one line for each condition."""

    conditions: tuple[Condition, ...]

    @property
    def holds(self) -> bool:
        """Whether all conditions hold."""
        return all(c.holds for c in self.conditions)

    def __str__(self) -> str:
        return "\n".join(map(str, self.conditions))

    def raise_if_failed(self) -> None:
        """`ValueError` naming the conditions that fail, and what to change."""
        failed = [c for c in self.conditions if not c.holds]
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
    - C5: $\mathcal T_j\circ\mathcal T_k = \mathcal T_k\circ\mathcal T_j$ there.

    C1 and C3 are decided exactly where event function and transition are affine and the
    noise is additive, C5 where the transitions are affine; both are read off the jaxprs. All
    else is decided at sampled states: `y` with noise added, moved onto the surface.

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
        Neural Networks Driven by Rough Signals*, NeurIPS 2024, arXiv:2405.13587, are C1-C4.
        C5 is needed for the gradient of an expectation, where two events swap order.
    """
    with jax.ensure_compile_time_eval():
        fields = Fields(terms, event, t, y, args)
        if not is_concrete(fields.probe()):
            raise TypeError(
                "`check_event` needs concrete values, got traced ones. Call it outside of "
                "`jit`, `vmap` and `grad`."
            )
        report = _check(fields, key, samples, coordinates)
    if throw:
        report.raise_if_failed()
    return report


def conditions_of(
    terms: PyTree, event: Event, t: RealScalar, y: State, args: Args
) -> Literal["hold", "unchecked"]:
    """Checks a model as far as its values are known: "hold" or "unchecked", or raises.

    Without C2: the drift may be 0 now and not later, and every crossing is watched.
    """
    if not isinstance(terms, dfx.AbstractTerm):
        return "unchecked"
    with jax.ensure_compile_time_eval():
        fields = Fields(terms, event, t, y, args)
        if not is_concrete(fields.probe()):
            return "unchecked"
        report = _check(fields, None, 8, 4)
        kept = tuple(c for c in report.conditions if c.name != "C2")
        ConditionReport(kept).raise_if_failed()
    return "hold"


def _check(fields: Fields, key, samples: int, coordinates: int) -> ConditionReport:
    ks, all_of_them = _choose(fields.num_coordinates, coordinates)
    measured = measure(fields, ks, jr.key(0) if key is None else key, samples)
    affine_event = is_affine(fields.event, fields.y)
    k, u = jnp.asarray(0, jnp.int32), jnp.asarray(0.5, fields.y.dtype)
    affine_jump = is_affine(lambda x: fields.jump(x, k, u), fields.y)
    additive = is_constant(fields.noise, fields.y)
    word = lambda exact: "exact" if exact and all_of_them else "sampled"  # noqa: E731
    tolerance = float(jnp.finfo(fields.y.dtype).eps) ** 0.5 * 10
    return ConditionReport(
        (
            _c1(fields, measured, ks, tolerance, word(affine_event and additive)),
            _c2(measured, ks, tolerance),
            _c3(fields, measured, ks, tolerance, word(affine_jump and additive)),
            _c4(measured, ks, tolerance),
            _c5(fields, measured, ks, tolerance, word(affine_jump)),
        )
    )


def _choose(total: int, most: int) -> tuple[np.ndarray, bool]:
    if total <= most:
        return np.arange(total), True
    return np.sort(np.random.default_rng(0).choice(total, most, replace=False)), False


def _worst(x: np.ndarray) -> tuple[Any, ...]:
    """The index of the largest entry; states outside of the model's domain do not count."""
    return np.unravel_index(np.argmax(np.where(np.isfinite(x), x, -np.inf)), x.shape)


def _c1(fields: Fields, m: Measured, ks, tolerance, decided) -> Condition:
    if m.seen.shape[-1] == 0:
        return Condition("C1", True, "exact", "there is no noise.")
    k, n, c = _worst(m.seen)
    if not m.seen[k, n, c] > tolerance * m.noise_scale:
        return Condition("C1", True, decided, "the event function does not see the noise.")
    what = (
        f"the event function of coordinate {ks[k]} sees noise channel "
        f"{fields.channel_name(c)}: its derivative along it is {m.seen[k, n, c]:.3g}, not 0."
    )
    return Condition("C1", False, decided, what)


def _c2(m: Measured, ks, tolerance) -> Condition:
    speed = np.where(m.on_surface & np.isfinite(m.speed), np.abs(m.speed), -1)
    top = np.max(speed, axis=1)
    grazing = (top >= 0) & (top <= tolerance)
    if np.any(grazing):
        k = ks[int(np.argmax(grazing))]
        what = f"the drift never carries coordinate {k} through its threshold, only along it."
        return Condition("C2", False, "sampled", what)
    unseen = [int(k) for k, t in zip(ks, top, strict=True) if t < 0]
    what = "thresholds are crossed at a speed that is not 0."
    if unseen:
        what = f"no state was found at which coordinates {unseen} are at their threshold."
    return Condition("C2", True, "sampled", what)


def _c3(fields: Fields, m: Measured, ks, tolerance, decided) -> Condition:
    if m.mismatch.shape[-1] == 0:
        return Condition("C3", True, "exact", "there is no noise.")
    k, n, i, c = _worst(m.mismatch)
    if not m.mismatch[k, n, i, c] > tolerance * m.noise_scale:
        return Condition("C3", True, decided, "jumps commute with the noise.")
    what = (
        f"the jump of coordinate {ks[k]} does not commute with noise channel "
        f"{fields.channel_name(c)}: in state component {fields.component_name(i)} the noise "
        f"before and after differ by {m.mismatch[k, n, i, c]:.3g}."
    )
    return Condition("C3", False, decided, what)


def _c4(m: Measured, ks, tolerance) -> Condition:
    crossing = m.on_surface & (m.speed > tolerance)
    bad = (m.after > tolerance) | ((m.after >= -tolerance) & (m.speed_after >= 0))
    always = np.all(bad | ~crossing, axis=1) & np.any(crossing, axis=1)
    if np.any(always):
        k = int(np.argmax(always))
        value = np.max(np.where(crossing[k], m.after[k], -np.inf))
        what = (
            f"coordinate {ks[k]} is still above its threshold after its own jump: its event "
            f"function is {value:.3g} there."
        )
        return Condition("C4", False, "sampled", what)
    if m.pushed.size and np.max(m.pushed) > tolerance:
        p, n = _worst(m.pushed)
        j, k = m.pairs[p]
        what = (
            f"the jump of coordinate {ks[k]} moves the event function of coordinate {ks[j]} by "
            f"{m.pushed[p, n]:.3g} where both are at threshold, so it may fire at once or be "
            "kept from firing."
        )
        return Condition("C4", False, "sampled", what)
    return Condition("C4", True, "sampled", "jumps end below the thresholds.")


def _c5(fields: Fields, m: Measured, ks, tolerance, decided) -> Condition:
    if m.commutator.size == 0:
        return Condition("C5", True, "exact", "there is one coordinate only.")
    p, n, i = _worst(m.commutator)
    if not m.commutator[p, n, i] > tolerance * m.state_scale:
        return Condition("C5", True, decided, "the jumps of two coordinates commute.")
    j, k = m.pairs[p]
    what = (
        f"the jumps of coordinates {ks[j]} and {ks[k]} do not commute: state component "
        f"{fields.component_name(i)} depends on their order by {m.commutator[p, n, i]:.3g}."
    )
    return Condition("C5", False, decided, what)
