"""The conditions, each decided from what was measured on the event surface."""

import dataclasses
from typing import Any

import jax.numpy as jnp
import jax.random as jr
import numpy as np

from .._types import PRNGKey
from .affine import is_affine, is_constant
from .fields import Fields
from .surface import Measured, measure

# What part of its size a drift or a noise may change by at once, for rounding and steep functions.
_LEAP = 0.02


@dataclasses.dataclass(frozen=True)
class Condition:
    """What was found about one condition."""

    name: str
    # `None`: undecided, because no state on the event surface was found.
    holds: bool | None
    # "exact": decided by linear algebra; "sampled": at sampled states on the event surface.
    decided: str
    message: str

    def __str__(self) -> str:
        verdict = {True: "holds", False: "FAILS", None: "UNDECIDED"}[self.holds]
        return f"{self.name} {verdict} ({self.decided}): {self.message}"


def decide(
    fields: Fields, key: PRNGKey | None, samples: int, coordinates: int
) -> tuple[Condition, ...]:
    """C1-C6, in this order."""
    ks, all_of_them = _choose(fields.num_coordinates, coordinates)
    measured = measure(fields, ks, jr.key(0) if key is None else key, samples)
    ks, all_of_them = np.asarray(fields.coordinate(ks)), all_of_them and fields.complete
    k, u = jnp.asarray(0, jnp.int32), jnp.asarray(0.5, fields.y.dtype)
    look = _Look(
        fields,
        measured,
        ks,
        all_of_them,
        tolerance=float(jnp.finfo(fields.y.dtype).eps) ** 0.5 * 10,
        affine_event=is_affine(fields.event, fields.y),
        affine_jump=is_affine(fields.jump, fields.y, fixed=(k, u)),
        additive=is_constant(fields.noise, fields.y),
    )
    return _c1(look), _c2(look), _c3(look), _c4(look), _c5(look), _c6(look)


def _choose(total: int, most: int) -> tuple[np.ndarray, bool]:
    if total <= most:
        return np.arange(total), True
    return np.sort(np.random.default_rng(0).choice(total, most, replace=False)), False


@dataclasses.dataclass(frozen=True)
class _Look:
    """What the conditions are decided from."""

    fields: Fields
    m: Measured
    ks: np.ndarray
    all_of_them: bool
    tolerance: float
    affine_event: bool
    affine_jump: bool
    additive: bool

    def word(self, exact: bool) -> str:
        return "exact" if exact and self.all_of_them else "sampled"

    def worst(self, value, scale, counts) -> tuple[Any, ...] | None:
        """Where `value` is largest relative to `scale`; `None` if that is 0 to rounding.

        Among the samples that count; states outside of the model's domain do not.
        """
        counts = counts.reshape(counts.shape + (1,) * (value.ndim - counts.ndim))
        known = counts & np.isfinite(value) & np.isfinite(scale)
        with np.errstate(invalid="ignore"):
            ratio = np.where(known, value / np.maximum(scale, 1e-300), 0)
        index = np.unravel_index(np.argmax(ratio), ratio.shape)
        return index if ratio[index] > self.tolerance else None

    def unseen(self, name: str) -> Condition | None:
        """Undecided, if a coordinate was never found at its threshold."""
        missing = [int(k) for k in self.ks[~np.any(self.m.reached, axis=1)]]
        if not missing:
            return None
        what = (
            f"no state was found at which coordinates {missing} are at their threshold. Call "
            "`check_event` with a state closer to it."
        )
        return Condition(name, None, "sampled", what)

    def apart(self, name: str) -> Condition | None:
        """Undecided, if a pair was never found at threshold and may yet be."""
        met_once = np.any(self.m.meet, axis=1)
        missing = [p for p, met in zip(self.m.pairs, met_once, strict=True) if not met]
        if self.affine_event or not missing:
            return None
        j, k = missing[0]
        what = (
            f"no state was found at which coordinates {self.ks[j]} and {self.ks[k]} are at "
            f"their thresholds together ({len(missing)} such ordered pairs)."
        )
        return Condition(name, None, "sampled", what)


def _c1(look: _Look) -> Condition:
    m, exact = look.m, look.affine_event and look.additive
    if m.seen.shape[-1] == 0:
        return Condition("C1", True, "exact", "there is no noise.")
    counts = np.ones_like(m.reached) if exact else m.reached
    found = look.worst(m.seen, m.seen_scale, counts)
    if found is None:
        holds = Condition("C1", True, look.word(exact), "the event function sees no noise.")
        return holds if exact else look.unseen("C1") or holds
    k, n, c = found
    what = (
        f"the event function of coordinate {look.ks[k]} sees noise channel "
        f"{look.fields.channel_name(c)}: its derivative along it is {m.seen[k, n, c]:.3g}, not 0."
    )
    return Condition("C1", False, look.word(exact), what)


def _c2(look: _Look) -> Condition:
    m = look.m
    known = m.reached & np.isfinite(m.speed)
    crosses = known & (np.abs(m.speed) > look.tolerance * m.speed_scale)
    grazing = np.any(known, axis=1) & ~np.any(crosses, axis=1)
    if np.any(grazing):
        k = look.ks[int(np.argmax(grazing))]
        what = f"the drift never carries coordinate {k} through its threshold, only along it."
        return Condition("C2", False, "sampled", what)
    what = "thresholds are crossed at a speed that is not 0."
    return look.unseen("C2") or Condition("C2", True, "sampled", what)


def _c3(look: _Look) -> Condition:
    m, exact = look.m, look.affine_jump and look.additive
    if m.mismatch.shape[-1] == 0:
        return Condition("C3", True, "exact", "there is no noise.")
    counts = np.ones_like(m.reached) if exact else m.reached
    found = look.worst(m.mismatch, m.mismatch_scale, counts)
    if found is None:
        holds = Condition("C3", True, look.word(exact), "jumps commute with the noise.")
        return holds if exact else look.unseen("C3") or holds
    k, n, i, c = found
    what = (
        f"the jump of coordinate {look.ks[k]} does not commute with noise channel "
        f"{look.fields.channel_name(c)}: in state component {look.fields.component_name(i)} the "
        f"noise before and after differ by {m.mismatch[k, n, i, c]:.3g}."
    )
    return Condition("C3", False, look.word(exact), what)


def _c4(look: _Look) -> Condition:
    m, ks = look.m, look.ks
    crossing = m.reached & (m.speed > look.tolerance * m.speed_scale)
    slack = look.tolerance * m.level_scale[:, None]
    bad = (m.after > slack) | ((m.after >= -slack) & (m.speed_after >= 0))
    always = np.all(bad | ~crossing, axis=1) & np.any(crossing, axis=1)
    if np.any(always):
        k = int(np.argmax(always))
        value = np.max(np.where(crossing[k], m.after[k], -np.inf))
        what = (
            f"coordinate {ks[k]} is still above its threshold after its own jump: its event "
            f"function is {value:.3g} there."
        )
        return Condition("C4", False, "sampled", what)
    if m.pairs:
        scale = m.level_scale[np.array([j for j, _ in m.pairs])]
        found = look.worst(m.pushed, np.broadcast_to(scale[:, None], m.pushed.shape), m.meet)
        if found is not None:
            j, k = m.pairs[found[0]]
            what = (
                f"the jump of coordinate {ks[k]} moves the event function of coordinate {ks[j]} "
                f"by {m.pushed[found]:.3g} where both are at threshold, so it may fire at once "
                "or be kept from firing."
            )
            return Condition("C4", False, "sampled", what)
    holds = Condition("C4", True, "sampled", "jumps end below the thresholds.")
    return look.unseen("C4") or look.apart("C4") or holds


def _c5(look: _Look) -> Condition:
    m = look.m
    if not m.pairs:
        return Condition("C5", True, "exact", "there is one coordinate only.")
    found = look.worst(m.commutator, m.commutator_scale, m.meet)
    if found is None:
        # Affine jumps that commute at states in general position commute everywhere.
        anywhere = look.worst(m.commutator, m.commutator_scale, np.ones_like(m.meet))
        exact = look.affine_jump and (look.affine_event or anywhere is None)
        what = "the jumps of two coordinates commute."
        holds = Condition("C5", True, look.word(exact), what)
        return holds if exact else look.apart("C5") or holds
    p, n, i = found
    j, k = m.pairs[p]
    what = (
        f"the jumps of coordinates {look.ks[j]} and {look.ks[k]} do not commute: state component "
        f"{look.fields.component_name(i)} depends on their order by {m.commutator[p, n, i]:.3g}."
    )
    return Condition("C5", False, look.word(look.affine_jump), what)


def _c6(look: _Look) -> Condition:
    for name, leaps in (("noise", look.m.noise_leaps), ("drift", look.m.drift_leaps)):
        way = np.argmax(leaps.share)
        if leaps.share[way] > _LEAP:
            what = (
                f"between events the {name} of state component "
                f"{look.fields.component_name(int(leaps.component[way]))} is not continuous in the "
                f"state: it changes by {leaps.change[way]:.3g} at once."
            )
            return Condition("C6", False, "sampled", what)
    return Condition("C6", True, "sampled", "drift and noise are continuous between events.")
