"""Where a simulation ended, for the next window to go on from there."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from .._misc import is_concrete
from .._model.network import SpikingNetwork
from .._model.population import Source
from .._model.state import NetworkState
from .._model.stdp import Learned
from .._window import Clock
from .coming import Coming
from .recent import Recent


class Past(eqx.Module):
    """What the cells before the window left behind beside the states: the ends of refractory times,
    the spikes that are on their way, and how strong they are by links with plasticity, see
    [`roughsnn.FinalState`][]."""

    holds: tuple[Float[Array, "..."] | None, ...] | None = None
    spikes: Float[Array, "cells neurons"] | None = None
    amplitudes: dict[str, Float[Array, "..."]] = eqx.field(default_factory=dict)

    def hold(self, n: int, counts: Array, long_ago: float, dtype: Any) -> Array:
        """When the neurons of a group may fire, counted from the start."""
        held = None if self.holds is None else self.holds[n]
        return jnp.full(counts.shape, long_ago, dtype) if held is None else held.astype(dtype)

    def ring(self, slots: int, neurons: int, rows: dict[str, int], dtype: Any) -> Recent | None:
        """The spikes of the last cells; by name how many rows the links with plasticity have."""
        if slots == 0:
            return None

        def behind(empty: Array, held: Array | None) -> Array:
            if held is None:
                return empty
            return jnp.concatenate([empty, held.astype(dtype)])[-slots:]

        strong = {
            name: behind(jnp.zeros((slots, n), dtype), self.amplitudes.get(name))
            for name, n in rows.items()
        }
        return Recent(behind(jnp.full((slots, neurons), jnp.inf, dtype), self.spikes), strong)


class FinalState(eqx.Module):
    """The end of a simulation: `initial=sim.final` goes on in the next window.

    Two windows, one after the other, are then the whole: the same noise, thresholds and clock, and
    states that are the same to the last bit (with adaptive steps, which start anew, to their
    tolerance). [`roughsnn.save`][] puts it into a file.

    **Attributes:**

    - `state`: a [`roughsnn.NetworkState`][]; nan where the simulation failed.
    - `counts`: how many spikes each neuron has had since the first window.
    - `told`: how many late spikes of each neuron the engine will find again although the ended
        window holds them already.
    - `given`: whether the first thresholds were given, and not drawn.
    - `past`: in lockstep, spikes on their way and refractory times, if there are any.
    - `clock`: what the time was.
    - `kind`: of what engine and network it is.
    - `coming`: the spikes of sources that are on their way.
    """

    state: NetworkState
    counts: Int[Array, " neurons"]
    told: Int[Array, " neurons"]
    given: Bool[Array, " neurons"]
    past: Past | None
    clock: Clock
    kind: tuple[str, ...] = eqx.field(static=True)
    coming: dict[str, Coming] = eqx.field(default_factory=dict)

    @property
    def weights(self) -> dict[int, Float[Array, "..."]]:
        """The weights at the end, by the number of the projection, of those that learn, in the
        shape in which they were given."""
        return {
            int(name.removeprefix("projections[").removesuffix("]")): one.weights
            for name, one in self.state.plastic.items()
            if isinstance(one, Learned)
        }

    def check(self, kind: tuple[str, ...], dt0: float) -> None:
        """`ValueError` unless the next window may start here."""
        wanted, got = (*kind, f"dt0={dt0}"), (*self.kind, f"dt0={self.clock.dt0}")
        if wanted != got:
            raise ValueError(
                f"`initial` is the end of another simulation: of {', '.join(got)}, where this one "
                f"is of {', '.join(wanted)}. Give parts of its state to start anew from it: "
                '`initial={"v": final.state["v"]}`.'
            )
        leaves = jax.tree.leaves(self.state)
        if is_concrete(leaves) and any(np.any(np.isnan(np.asarray(x))) for x in leaves):
            raise ValueError(
                "`initial` is the end of a simulation that failed: nothing goes on there."
            )


def kind_of(network: SpikingNetwork, engine: Any) -> tuple[str, ...]:
    """What has to be the same for one simulation to go on where another ended."""
    exact = "(exact=True)" if getattr(engine, "exact", False) else ""
    found = [type(engine).__name__ + exact]
    for name, p in network.simulated.items():
        parts = (p.neuron, p.firing, *p.ports.values())
        found.append(f"{name}: {p.size} of {', '.join(type(x).__name__ for x in parts)}")
    for n, p in enumerate(network.projections):
        if p.plasticity is not None:
            found.append(f"projections[{n}]: {type(p.plasticity).__name__}")
        if p.delay is not None and isinstance(network[p.pre], Source):
            found.append(f"projections[{n}]: with delays of shape {p.delay.shape}")
    return tuple(found)
