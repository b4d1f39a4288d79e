"""What went wrong in a solve, in `result` or as an exception."""

import jax
import jax.numpy as jnp

from .._results import RESULTS, Failure
from .step import (
    GRAZED,
    JUMPED,
    NONFINITE,
    OK,
    OUTSIDE,
    OVERFLOW,
    RETRIGGERED,
    STEP_FAILED,
    Carry,
    Stepper,
)

# How often `max_events` is doubled at most to get to the number that an error names.
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
        (NONFINITE, RESULTS.nonfinite_state),
        (OUTSIDE, RESULTS.parameter_outside),
    ):
        result = RESULTS.where(final.fault == code, member, result)
    if final.control is not None:
        short = (final.cell == 0) & ~final.finished & (final.fault == OK)
        result = RESULTS.where(short, RESULTS.max_steps_reached, result)
    return result


def failure_of(result: RESULTS, stepper: Stepper, final: Carry) -> Failure:
    """The message of the result; on overflow with the number that the rate so far would make it."""
    limits = [stepper.max_events * 2**j for j in range(1, _DOUBLINGS + 1)]
    grid = stepper.grid
    since = grid.start(final.cell, final.offset.dtype) + final.offset
    share = jax.lax.stop_gradient(since) / grid.t1
    needed = stepper.max_events / jnp.where(share > 0, share, 1)
    full = f"{RESULTS[RESULTS.max_events_reached]} Got {stepper.max_events}; at the rate so far"
    changed = [(needed <= limit, f"{full} {limit} would be enough.") for limit in reversed(limits)]
    explodes = f"{full} not even {limits[-1]} would be: does the activity explode?"
    changed.insert(0, (jnp.array(True), explodes))
    return Failure.of(result, [(RESULTS.max_events_reached, *change) for change in changed])
