"""What a solve can report about itself."""

import equinox as eqx


class RESULTS(eqx.Enumeration):
    """The outcome of [`roughsnn.eventsolve`][], found in `Solution.result`."""

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
        "cell, fell behind by several cells. Reduce `dt0`, or use method='event'."
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
