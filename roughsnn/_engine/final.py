"""Where a simulation ended, for the next window to go on from there."""

from typing import Any

import equinox as eqx
from jaxtyping import Array, Bool, Int

from .._model.network import SpikingNetwork
from .._model.state import NeuronState
from .._window import Clock


class FinalState(eqx.Module):
    """The end of a simulation: `initial=sim.final` goes on in the next window.

    Two windows, one after the other, are then the whole: the same noise, thresholds and clock, and
    states that are the same to the last bit (with adaptive steps, which start anew, to their
    tolerance). [`roughsnn.save`][] puts it into a file.

    **Attributes:**

    - `state`: a [`roughsnn.NeuronState`][]; nan where the simulation failed.
    - `counts`: how many spikes each neuron has had since the first window.
    - `told`: how many late spikes of each neuron the engine will find again although the ended
        window holds them already.
    - `given`: whether the first thresholds were given, and not drawn.
    - `clock`: what the time was.
    - `kind`: of what engine and network it is.
    """

    state: NeuronState
    counts: Int[Array, " neurons"]
    told: Int[Array, " neurons"]
    given: Bool[Array, ""]
    clock: Clock
    kind: tuple[str, ...] = eqx.field(static=True)

    def check(self, kind: tuple[str, ...], neurons: int, dt0: float) -> None:
        """`ValueError` unless the next window may start here."""
        wanted = (*kind, f"{neurons} neurons", f"dt0={dt0}")
        got = (*self.kind, f"{self.counts.shape[0]} neurons", f"dt0={self.clock.dt0}")
        if wanted != got:
            raise ValueError(
                f"`initial` is the end of another simulation: of {', '.join(got)}, where this one "
                f"is of {', '.join(wanted)}. Give a roughsnn.NeuronState to start anew from it."
            )


def kind_of(network: SpikingNetwork, engine: Any) -> tuple[str, ...]:
    """What has to be the same for one simulation to go on where another ended."""
    return tuple(type(x).__name__ for x in (engine, network.membrane, network.firing))
