"""What went wrong in a solve, in `result` or as an exception."""

from typing import Any

import jax
import jax.numpy as jnp

from .._results import RESULTS, Failure, capacity_messages, is_busy
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


def failure_of(result: RESULTS, stepper: Stepper, final: Carry, earlier: Any = 0) -> Failure:
    """The message of the result, on overflow with its likelier cause; `earlier` are the events of
    each coordinate before the window."""
    grid = stepper.grid
    since = grid.start(final.cell, final.offset.dtype) + final.offset
    share = jax.lax.stop_gradient(since) / grid.t1
    share = jnp.where(share > 0, share, 1)
    busy = is_busy(jnp.max(final.counts - earlier), share * grid.cells)
    return Failure.of(
        result, capacity_messages(stepper.max_events, stepper.max_events / share, busy)
    )
