"""What is known of the conditions for exact gradients before a simulation."""

from typing import Any, Literal

import diffrax as dfx
import jax
import jax.numpy as jnp
import numpy as np

from .._conditions.conditions import conditions_of
from .._event.event import Event
from .._misc import is_concrete
from .._model.adaptive import AdaptiveLIF
from .._model.adex import AdEx
from .._model.eif import EIF
from .._model.equation import Diffusion, Drift, Excess, Spike
from .._model.firing import HardThreshold, StochasticFiring
from .._model.glif import GLIF
from .._model.history import HistoryFilter
from .._model.izhikevich import Izhikevich
from .._model.layout import Layout, layout_of
from .._model.lif import LIF
from .._model.links import links_of
from .._model.multiplicative import MultiplicativeLIF
from .._model.network import SpikingNetwork
from .._model.neuron import AbstractNeuron
from .._model.population import ConstantRate, Population, Still
from .._model.qif import QIF
from .._model.reset import Subtract
from .._model.resonator import ResonateAndFire
from .._model.waiting import Agenda
from .._path.grid import GridPath
from .._types import DriveFunction
from .initial import initial_state


def event_of(network: SpikingNetwork, layout: Layout, agenda: Agenda | None = None) -> Event:
    """The spikes of a network as an [`roughsnn.Event`][]; without an agenda as if nothing were
    delayed."""
    links = (*links_of(network, layout, "known"), *links_of(network, layout, "within"))
    if agenda is None:
        links = (*links, *links_of(network, layout, "delayed"))
    inner = tuple(link for link in links if link.source is None)
    # Random thresholds are not reached together.
    hard = any(isinstance(group.firing, HardThreshold) for group in layout.groups)
    ties = "all" if hard else "first"
    spike = Spike(layout, inner, agenda)
    return Event(Excess(layout, agenda), spike, network.conditions, ties=ties)


def _commutes(neuron: AbstractNeuron) -> bool:
    """Whether it is known that the jump at a spike commutes with the noise on the neuron."""
    if isinstance(neuron, MultiplicativeLIF | Still | HistoryFilter):
        return True
    if isinstance(neuron, LIF | AdaptiveLIF | ResonateAndFire):
        return isinstance(neuron.reset, Subtract) or not neuron.channels_drawn()
    if isinstance(neuron, QIF | EIF | AdEx | Izhikevich):
        # They are reset to a constant.
        return not neuron.channels_drawn()
    if isinstance(neuron, GLIF):
        keeps = is_concrete(neuron.keep) and bool(np.all(np.asarray(neuron.keep) == 1))
        return keeps or not neuron.channels_drawn()
    return False


def _holds(population: Population) -> bool:
    """Whether the conditions hold by construction."""
    firing = (StochasticFiring, HardThreshold, ConstantRate, type(None))
    return type(population.firing) in firing and _commutes(population.neuron)


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
