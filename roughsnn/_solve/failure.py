"""What went wrong in a solve, in `result` or as an exception."""

import dataclasses
from typing import TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array

from .._misc import any_in_batch, stop_gradients
from .._results import RESULTS
from .step import GRAZED, JUMPED, OK, OVERFLOW, RETRIGGERED, STEP_FAILED, Carry, Stepper

_Result = TypeVar("_Result")

# How often `max_events` is doubled at most to find the number that an error names.
_DOUBLINGS = 10


def result_of(final: Carry) -> RESULTS:
    """The outcome of a solve that ended with this carry."""
    finite = [jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(final.y)]
    result = RESULTS.where(jnp.all(jnp.stack(finite)), RESULTS.successful, RESULTS.nonfinite_state)
    for code, member in (
        (OVERFLOW, RESULTS.max_events_reached),
        (GRAZED, RESULTS.event_grazed),
        (RETRIGGERED, RESULTS.event_retriggered),
        (JUMPED, RESULTS.driver_jumped),
        (STEP_FAILED, RESULTS.step_failed),
    ):
        result = RESULTS.where(final.fault == code, member, result)
    if final.control is not None:
        short = (final.cell == 0) & ~final.finished & (final.fault == OK)
        result = RESULTS.where(short, RESULTS.max_steps_reached, result)
    return result


def raise_if_failed(solution: _Result, result: RESULTS, stepper: Stepper, final: Carry) -> _Result:
    """Raises with the message of the result; on overflow with a number that is enough."""
    others = (
        RESULTS.event_grazed,
        RESULTS.event_retriggered,
        RESULTS.nonfinite_state,
        RESULTS.step_failed,
        RESULTS.driver_jumped,
        RESULTS.max_steps_reached,
    )
    limits = [stepper.max_events * 2**j for j in range(1, _DOUBLINGS + 1)]
    messages = [RESULTS[member] for member in others]
    messages += [
        f"{RESULTS[RESULTS.max_events_reached]} Got {stepper.max_events}; {limit} is enough here."
        for limit in limits
    ]
    messages.append(
        f"{RESULTS[RESULTS.max_events_reached]} Got {stepper.max_events}; not even "
        f"{limits[-1]} is enough: does the activity explode?"
    )
    overflow = jax.lax.stop_gradient(final.fault) == OVERFLOW
    needed = _count_events(stepper, final, limits[-1], overflow)
    index = jnp.searchsorted(jnp.asarray(limits, jnp.int32), needed) + len(others)
    for i, member in enumerate(others):
        index = jnp.where(result == member, i, index)
    # Under vmap the largest index of the batch is taken: those that succeeded must not count.
    index = jnp.where(result == RESULTS.successful, 0, index)
    return eqx.branched_error_if(solution, result != RESULTS.successful, index, messages)


def _count_events(stepper: Stepper, final: Carry, limit: int, overflow) -> Array:
    """How many events there would be, up to `limit` + 1, where the solve overflowed."""
    counter = dataclasses.replace(stepper, max_events=limit + 1)
    start = eqx.tree_at(
        lambda c: (c.fault, c.finished), final, (jnp.asarray(OK, jnp.int32), ~overflow)
    )

    def go_on(carry):
        return jax.lax.while_loop(
            lambda c: counter.live(c) & (c.num_events <= limit), lambda c: counter(c)[0], carry
        ).num_events

    go_on, start = stop_gradients((eqx.filter_closure_convert(go_on, start), start))
    return jax.lax.cond(any_in_batch(overflow), lambda c: go_on(c), lambda c: c.num_events, start)
