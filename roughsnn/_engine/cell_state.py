"""What goes into a cell of the lockstep engine, through it, and out of it."""

import equinox as eqx
from jaxtyping import Array, Float, Int

from .._model.state import NeuronState


class CellInput(eqx.Module):
    """What drives a cell, at its start and its end; for the loop, of all cells."""

    begin: Float[Array, "*cells"]
    length: Float[Array, "*cells"]
    # How long before the cell's start a spike of it may have been.
    late: Float[Array, "*cells"]
    # The drive just after the start and just before the end.
    drive: tuple[Float[Array, "*cells neurons"], Float[Array, "*cells neurons"]]
    # What the noise adds to dv/dt and di/dt; one entry if it is constant in a cell.
    noise: tuple[tuple[Float[Array, "*cells neurons"], Float[Array, "*cells neurons"]], ...]
    # What spikes from outside deliver, and what a change of the weights does.
    outside: Float[Array, "*cells 3 neurons"] | None = None
    extra: Float[Array, "*cells 3 neurons"] | None = None
    # When the observed neurons spike, after the cell's start; inf where they do not.
    given: Float[Array, "*cells neurons"] | None = None


class LockstepCarry(eqx.Module):
    """The state of the loop over cells, at the start of `cell`."""

    cell: Int[Array, ""]
    y: NeuronState
    # How many spikes each neuron has had, and the random numbers of the thresholds after the next.
    counts: Int[Array, " neurons"]
    u: Float[Array, " neurons"]
    fault: Int[Array, ""]
    # What is reduced over the borders of the cells so far, and over how many.
    reduced: dict[tuple[str, str], Float[Array, " neurons"]]
    borders: Int[Array, ""]


class LockstepEmitted(eqx.Module):
    """When spikes happen after the start of a cell, inf where there are none; the hidden state
    at its end; of given spikes the hazard since the last one and the log intensity; records."""

    offsets: Float[Array, " neurons"]
    s: Float[Array, " neurons"] | None
    density: tuple[Float[Array, " neurons"], Float[Array, " neurons"]] | None
    # Parts of the state at the start of the cell, and the carry there, if they are wanted.
    kept: dict[str, Float[Array, " neurons"]]
    origin: LockstepCarry | None
