"""What a solve can report about itself."""

from collections.abc import Sequence
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int

from ._misc import is_concrete, warn

_Out = TypeVar("_Out")


class RESULTS(eqx.Enumeration):
    """The outcome of [`roughsnn.simulate`][] or [`roughsnn.eventsolve`][], found in `result`.

    Out of capacity is `max_events_reached`; that an engine could not follow is `crowded_cell`,
    `step_failed` or `max_steps_reached`; `nonfinite_state` is a state that ran away.
    [`roughsnn.scores.explosions`][] counts them in a batch.
    """

    successful = ""
    max_events_reached = (
        "More events occurred than `max_events` (or `max_spikes`) leaves room for. "
        "Raise it, or end the solve on purpose with `stop_after`."
    )
    event_grazed = (
        "An event function touched zero without crossing it at a positive slope, so the "
        "event time is not differentiable (condition C2: dE/dt > 0 at the event). Raise "
        "the input, or fire stochastically."
    )
    driver_jumped = (
        "A jump of a driver carried an event function over zero, so that the event is at the time "
        "of the jump and has no derivative of its own. Let the driver act on a variable that the "
        "event function does not read, e.g. on the current."
    )
    event_retriggered = (
        "The coordinate that fired was still at or above its threshold after its own "
        "transition (condition C4). Make the reset larger."
    )
    crowded_cell = (
        "A neuron spiked so often that the lockstep engine, with one spike of a neuron in a "
        "cell, fell behind by several cells. Reduce `dt0`, or use engine=EventByEvent()."
    )
    max_steps_reached = (
        "The end was not reached within `max_steps` steps. Raise it, or give the step size "
        "controller looser tolerances."
    )
    nonfinite_state = (
        "The state became inf or nan. Reduce `dt0`, cap the intensity, or check the parameters."
    )
    step_failed = (
        "The solver failed to make a step. For an implicit solver, give its root finder "
        "looser tolerances or take a smaller `dt0`."
    )
    too_many_pending = (
        "More spikes were on their way than there are places for: raise `max_pending` of "
        "EventByEvent, or use engine=Lockstep()."
    )
    parameter_outside = (
        "A parameter is outside of its domain: a rate, a time constant or `alpha` is negative or "
        "nan, a delay is longer than its `max_delay` or, in lockstep, shorter than `dt0`, or "
        '`initial["s"]` is not negative. Keep it inside by '
        "roughsnn.constrained; outside of `jit` the error says which one it is."
    )


# How often a capacity is doubled at most to get to the number that an error names.
_DOUBLINGS = 10
# Fewer events say nothing of a rate.
_MANY = 10
_NAMES = (
    "max_events_reached",
    "event_grazed",
    "driver_jumped",
    "event_retriggered",
    "crowded_cell",
    "max_steps_reached",
    "nonfinite_state",
    "step_failed",
    "too_many_pending",
    "parameter_outside",
)
_FAILURES = tuple(getattr(RESULTS, name) for name in _NAMES)


def is_busy(events: Array, cells: Any) -> Array:
    """Whether a coordinate has fired more often than every other cell, and not just a few times."""
    cells = jnp.asarray(cells)
    return (2 * events.astype(cells.dtype) > cells) & (events >= _MANY)


def capacity_messages(
    capacity: int, needed: Array, busy: Array
) -> list[tuple[RESULTS, Array, str]]:
    """What to do about `max_events_reached`, for a [`roughsnn._results.Failure`][].

    `needed` events would have had to fit in; `busy` is whether a coordinate fires more often than
    every other cell.
    """
    limits = [capacity * 2**j for j in range(1, _DOUBLINGS + 1)]
    full = f"{RESULTS[RESULTS.max_events_reached]} Got {capacity}"
    explodes = f"{full}; not even {limits[-1]} would be enough: does the activity explode?"
    changed = [(jnp.array(True), explodes)]
    for limit in reversed(limits):
        changed.append((needed <= limit, f"{full}; at the rate so far {limit} would be enough."))
    cause = (
        f"{full}. A neuron (or coordinate) fires more often than every other cell: the activity "
        "runs away, or `dt0` is too long for it. Halve `dt0` before you raise the capacity."
    )
    changed.append((busy, cause))
    return [(RESULTS.max_events_reached, *change) for change in changed]


class Failure(eqx.Module):
    """Whether something failed, and which of several messages says why; -1 if it did not."""

    index: Int[Array, ""]
    messages: tuple[str, ...] = eqx.field(static=True)

    @classmethod
    def of(cls, result: RESULTS, changed: Sequence[tuple[Any, Array, str]] = ()) -> "Failure":
        """That of a result; with another message for a member where a condition holds."""
        index, messages = jnp.full((), -1, jnp.int32), []
        for member in _FAILURES:
            index = jnp.where(result == member, len(messages), index)
            messages.append(RESULTS[member])
        for member, where, message in changed:
            index = jnp.where((result == member) & where, len(messages), index)
            messages.append(message)
        return cls(index, tuple(messages))

    def raised(self, out: _Out) -> _Out:
        """`out`, once it is known that nothing failed.

        A `RuntimeError` at once where that is known; where it is not, as under `jit` and `vmap`, a
        check in the program.
        """
        if is_concrete(self.index):
            if int(self.index) >= 0:
                raise RuntimeError(self.messages[int(self.index)])
            return out
        # Under vmap the largest index of the batch is taken: those that succeeded do not count.
        index = jnp.maximum(self.index, 0)
        return eqx.branched_error_if(out, self.index >= 0, index, self.messages)


class SelectionWarning(UserWarning):
    """Samples that failed were left out, so that those that are kept are no fair sample."""


def drop_failed(batch: _Out) -> _Out:
    r"""The samples of a batch that did not fail.

    Whether a sample fails depends on what it does, so those that are kept are no sample of the
    model, but of the model given that nothing failed. With the fraction p of failures the
    probability of any event is off by at most p, and the mean of a statistic by at most p times its
    range: that is the total variation distance of the two distributions.

    **Arguments:**

    - `batch`: of [`roughsnn.Simulation`][], [`roughsnn.Solution`][] or of what
        [`roughsnn.clamp`][] returns, made with `throw=False`; one leading axis.

    **Returns:** the same, with fewer samples.

    **Warns:** with a [`roughsnn.SelectionWarning`][] that says how many failed and why, if any.

    **Raises:** `TypeError` for what has no `result`, and under `jit`, where shapes are fixed;
        `ValueError` for what is no batch, and if all samples failed.
    """
    result = _result_of("drop_failed", batch)
    if not is_concrete(batch):
        raise TypeError("`drop_failed` changes the number of samples: call it outside of `jit`.")
    failed = np.asarray(result != RESULTS.successful)
    if failed.ndim != 1 or failed.size == 0:
        raise ValueError(f"`batch` must have one axis of samples, got shape {failed.shape}.")
    if not np.any(failed):
        return batch
    number, total = int(failed.sum()), failed.size
    reasons = ", ".join(f"{name}: {count}" for name, count in _reasons(result).items())
    if number == total:
        raise ValueError(f"All {total} samples failed ({reasons}): none is left.")
    warn(
        f"{number} of {total} samples failed ({reasons}) and are left out. Those that are kept are "
        f"no fair sample: a probability may be off by {number / total:.2g}, a mean by that part of "
        "its range.",
        SelectionWarning,
    )
    keep = np.flatnonzero(~failed)
    return jax.tree.map(lambda x: x[keep] if eqx.is_array(x) else x, batch)


def _reasons(result: RESULTS) -> dict[str, int]:
    """How often each failure occurred, by name."""
    found = {
        name: int(jnp.sum(result == member)) for name, member in zip(_NAMES, _FAILURES, strict=True)
    }
    return {name: count for name, count in found.items() if count}


def _result_of(function: str, outcome: Any) -> RESULTS:
    result = getattr(outcome, "result", None)
    if not isinstance(result, RESULTS):
        raise TypeError(
            f"`{function}` takes what has a `result`, e.g. a roughsnn.Simulation, got a "
            f"{type(outcome).__name__}."
        )
    return result


def check(outcome: _Out) -> _Out:
    """What was returned with `throw=False`, once it is known that it did not fail.

    Programs with `throw=False` hold no check, so they can be exported and kept on disk (by
    `jax_compilation_cache_dir`); this is the check, later.

    **Arguments:**

    - `outcome`: anything with a `result`: a [`roughsnn.Simulation`][], a [`roughsnn.Solution`][],
        what [`roughsnn.clamp`][] returns, or a batch of one.

    **Returns:** `outcome`.

    **Raises:** a `RuntimeError` that says in one sentence why it failed, for a batch with the
        number of samples that did; `TypeError` for what has no `result`. Under `jit` it becomes a
        check in the program.
    """
    result = _result_of("check", outcome)
    failed: Bool[Array, "..."] = result != RESULTS.successful
    failure = Failure.of(result)
    if not is_concrete(failure.index):
        return failure.raised(outcome)
    number = int(jnp.sum(failed))
    if number:
        message = failure.messages[int(jnp.max(failure.index))]
        share = f" ({number} of {failed.size} samples failed.)" if failed.ndim else ""
        raise RuntimeError(message + share)
    return outcome
