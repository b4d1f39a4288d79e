"""What a solve can report about itself."""

from collections.abc import Sequence
from typing import Any, TypeVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from ._misc import is_concrete

_Out = TypeVar("_Out")


class RESULTS(eqx.Enumeration):
    """The outcome of [`roughsnn.simulate`][] or [`roughsnn.eventsolve`][], found in `result`."""

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
    parameter_outside = (
        "A parameter is outside of its domain: a rate, a time constant or `alpha` is negative or "
        "nan, or `initial.s` is not negative. Keep it inside by "
        "roughsnn.constrained; outside of `jit` the error says which one it is."
    )


_FAILURES = (
    RESULTS.max_events_reached,
    RESULTS.event_grazed,
    RESULTS.driver_jumped,
    RESULTS.event_retriggered,
    RESULTS.crowded_cell,
    RESULTS.max_steps_reached,
    RESULTS.nonfinite_state,
    RESULTS.step_failed,
    RESULTS.parameter_outside,
)


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
    result = getattr(outcome, "result", None)
    if not isinstance(result, RESULTS):
        raise TypeError(
            "`check` takes what has a `result`, e.g. a roughsnn.Simulation, got a "
            f"{type(outcome).__name__}."
        )
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
