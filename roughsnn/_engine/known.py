"""What is known of the conditions for exact gradients before a simulation."""

from typing import Any, Literal

import diffrax as dfx
import jax
import jax.numpy as jnp

from .._conditions.conditions import conditions_of
from .._event.event import Event
from .._model.equation import Diffusion, Drift, Excess, Spike
from .._model.firing import HardThreshold, StochasticFiring
from .._model.layout import Layout, layout_of
from .._model.lif import LIF
from .._model.links import links_of
from .._model.multiplicative import MultiplicativeLIF
from .._model.network import SpikingNetwork
from .._model.population import ConstantRate, Population
from .._model.reset import Subtract
from .._path.grid import GridPath
from .._types import DriveFunction
from .initial import initial_state


def event_of(network: SpikingNetwork, layout: Layout) -> Event:
    """The spikes of a network as an [`roughsnn.Event`][]."""
    links = (*links_of(network, layout, known=True), *links_of(network, layout, known=False))
    inner = tuple(link for link in links if link.source is None)
    # Random thresholds are not reached together.
    hard = any(isinstance(group.firing, HardThreshold) for group in layout.groups)
    ties = "all" if hard else "first"
    return Event(Excess(layout), Spike(layout, inner), network.conditions, ties=ties)


def _holds(population: Population) -> bool:
    """Whether the conditions hold by construction."""
    firing = (StochasticFiring, HardThreshold, ConstantRate, type(None))
    if type(population.firing) not in firing:
        return False
    neuron = population.neuron
    if type(neuron) is LIF:
        return type(neuron.reset) is Subtract or not neuron.channels_drawn()
    return type(neuron) is MultiplicativeLIF or type(population.firing) is ConstantRate


def check_conditions(
    network: SpikingNetwork,
    drive: DriveFunction,
    channels: tuple[tuple[int, ...], ...],
    t0: float,
    dtype: Any,
) -> Literal["hold", "unchecked", "waived"]:
    """What is known of C1-C5; the package's own parts meet them by construction. Raises where one
    fails."""
    if network.conditions == "waive":
        return "waived"
    if all(_holds(p) for p in network.simulated.values()):
        return "hold"
    layout = layout_of(network, channels)
    terms: list[Any] = [dfx.ODETerm(Drift(layout, drive))]
    diffusion = Diffusion(layout)
    if diffusion.size:
        # Where the noise acts, whatever it is.
        still = jnp.zeros((1, diffusion.size), dtype)
        terms.append(dfx.ControlTerm(diffusion, GridPath(still, t0=0.0, t1=1.0, dt=1.0)))
    with jax.ensure_compile_time_eval():
        y = initial_state(layout, {}, dtype, jax.random.key(0))
        t = jnp.asarray(t0, dtype)
    all_terms = terms[0] if len(terms) == 1 else dfx.MultiTerm(*terms)
    return conditions_of(all_terms, event_of(network, layout), t, y, None)
