"""What goes into a cell of the lockstep engine, through it, and out of it."""

from typing import NamedTuple

import equinox as eqx
from jaxtyping import Array, Float, Int

from .._model.plasticity import Plastic
from .._model.state import PopulationState
from .._model.stdp import Learned
from .._solve.adjoint import Scratch
from .approach import Approach
from .phis import Vector
from .recent import Recent


class Slopes(eqx.Module):
    """What the noise adds to the slopes of the components of a group; of neurons that are not
    linear the slopes of the noise itself, for each channel."""

    neuron: Vector
    ports: dict[str, Vector]


class GroupInput(NamedTuple):
    """What drives a group in a cell, see `CellInput`."""

    drive: tuple[Array, Array]
    noise: Slopes | None
    change: Slopes | None


class CellInput(eqx.Module):
    """What drives a cell; for the loop, of all cells. Tuples have an entry for each group."""

    begin: Float[Array, "*cells"]
    # Its row in the ring of spikes.
    slot: Int[Array, "*cells"]
    length: Float[Array, "*cells"]
    # What the clock shows at the start.
    clock: Float[Array, "*cells"]
    # How long before the cell's start a spike of it may have been.
    late: Float[Array, "*cells"]
    # The drive just after the start and just before the end.
    drive: tuple[tuple[Array, Array], ...]
    # The noise at the start, and how it changes along the cell; `None` without noise.
    noise: tuple[Slopes | None, ...]
    change: tuple[Slopes | None, ...]
    # The moments of the spikes of sources, by port.
    arrivals: tuple[dict[str, Float[Array, "*cells 3 neurons"]], ...]
    # What a change of the weights of each link does to its sums.
    extra: tuple[Float[Array, "*cells kinds neurons"] | None, ...]
    # When the observed neurons spike, after the cell's start; inf where they do not.
    given: tuple[Float[Array, "*cells neurons"] | None, ...]
    # Where neurons were found to spike by an exact search, inf where they do not.
    known: tuple[Float[Array, "*cells neurons"] | None, ...]

    def of_group(self, n: int) -> GroupInput:
        """What drives a group."""
        return GroupInput(self.drive[n], self.noise[n], self.change[n])


class GroupCarry(eqx.Module):
    """A group at the start of a cell."""

    y: PopulationState
    # How many spikes each neuron has had, and the random numbers of the thresholds after the next.
    counts: Int[Array, " neurons"]
    u: Float[Array, " neurons"] | None
    # When each neuron may fire again, counted from here; `None` without refractoriness.
    hold: Float[Array, " neurons"] | None
    # What is reduced over the borders of the cells so far.
    reduced: dict[tuple[str, str], Float[Array, " neurons"]]


class Launched(eqx.Module):
    """What is on its way by one link, and what arrives in the cell that begins."""

    ring: Scratch
    now: Scratch


class LockstepCarry(eqx.Module):
    """The state of the loop over cells, at the start of `cell`."""

    cell: Int[Array, ""]
    groups: tuple[GroupCarry, ...]
    fault: Int[Array, ""]
    # Over how many borders there was a reduction.
    borders: Int[Array, ""]
    # The spikes of the last cells, a `Recent` in rows that come round, if any have delays; see
    # `travel`.
    ring: Scratch
    # What is on its way by each link with delays; see `launch`. Empty, or `None`, where that is
    # found from the spikes.
    launched: tuple[Launched | None, ...] = ()
    # Of the links with plasticity, and of those that learn, by name.
    plastic: dict[str, Plastic | Learned] = eqx.field(default_factory=dict)


class LockstepEmitted(eqx.Module):
    """When spikes happen after the start of a cell, inf where there are none, group after group;
    how strong they are by each link with plasticity; the hidden state at its end; how each group
    came to given spikes; records."""

    offsets: Float[Array, " neurons"]
    s: Float[Array, " neurons"] | None
    approach: tuple[Approach | None, ...]
    # Parts of the states at the start of the cell, and the carry there, if they are wanted.
    kept: tuple[dict[str, Float[Array, "neurons ..."]], ...]
    origin: LockstepCarry | None
    amplitudes: dict[str, Float[Array, "..."]] = eqx.field(default_factory=dict)

    @property
    def spikes(self) -> Recent:
        """The spikes."""
        return Recent(self.offsets, self.amplitudes)
