"""What is known of the conditions for exact gradients before a simulation."""

from typing import Any, Literal

import diffrax as dfx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array

from .._conditions.conditions import conditions_of
from .._conditions.part import Part
from .._event.event import Event
from .._misc import is_concrete, is_of_package
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
from .._model.state import NetworkState
from .._model.synapse import AbstractConductance
from .._model.waiting import Agenda
from .._path.grid import GridPath
from .._types import DriveFunction
from .initial import initial_state

# Up to so many neurons all are looked at; of more, spikes of so many at least and, if there are as
# many groups, at most, with so many of their targets.
_SMALL, _LEAST, _MOST, _TARGETS = 32, 4, 8, 4


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
    firing, ports = population.firing, list(population.ports.values())
    known = (StochasticFiring, HardThreshold, ConstantRate, type(None))
    parts = [firing.intensity] if isinstance(firing, StochasticFiring) else []
    parts += [*ports, *(port.kernel for port in ports if isinstance(port, AbstractConductance))]
    known_parts = all(map(is_of_package, parts))
    return type(firing) in known and known_parts and _commutes(population.neuron)


def check_conditions(
    network: SpikingNetwork,
    drive: DriveFunction,
    channels: tuple[tuple[int, ...], ...],
    t0: float,
    dtype: Any,
) -> Literal["hold", "unchecked", "waived"]:
    """What is known of C1-C6; the package's own parts meet them by construction. Raises where one
    fails."""
    if network.conditions == "waive":
        return "waived"
    if all(_holds(p) for p in network.simulated.values()):
        return "hold"
    with jax.ensure_compile_time_eval():
        layout, t = layout_of(network, channels), jnp.asarray(t0, dtype)
        terms: list[Any] = [dfx.ODETerm(Drift(layout, drive))]
        diffusion = Diffusion(layout)
        if diffusion.size:
            # Where the noise acts, whatever it is.
            still = GridPath(jnp.zeros((1, diffusion.size), dtype), t0=0.0, t1=1.0, dt=1.0)
            terms.append(dfx.ControlTerm(diffusion, still))
        all_terms = terms[0] if len(terms) == 1 else dfx.MultiTerm(*terms)
        y, event = initial_state(layout, {}, dtype, jax.random.key(0)), event_of(network, layout)
    choose = lambda: None if layout.size <= _SMALL else _part(layout, event, t, y)
    return conditions_of(all_terms, event, t, y, None, choose)


def _part(layout: Layout, event: Event, t: Array, y: NetworkState) -> Part:
    """Some neurons whose spikes are looked at, with all that their states read and change: at least
    one of each group, and those that most of them have for a target."""
    starts, rng = np.cumsum([0, *(group.size for group in layout.groups)]), np.random.default_rng(0)
    groups = rng.permutation(len(layout.groups))[:_MOST]
    chosen = [starts[g] + rng.integers(layout.groups[g].size) for g in groups]
    others = np.setdiff1d(rng.choice(layout.size, _LEAST, replace=False), chosen)
    chosen = np.array([*chosen, *others[: max(0, _LEAST - len(chosen))]])

    def numbers(start: int, x: Array) -> np.ndarray:
        return np.repeat(np.arange(x.shape[0]) + start, x.size // x.shape[0])

    pairs = zip(starts, y.groups, strict=False)
    of_component = [numbers(start, x) for start, own in pairs for x in jax.tree.leaves(own)]
    of_component = np.concatenate(of_component)
    drawn = np.concatenate([np.full(group.size, len(group.drawn)) for group in layout.groups])
    of_channel = np.repeat(np.arange(layout.size), drawn)
    before, reached = ravel_pytree(y)[0], np.zeros(layout.size, int)
    for k in chosen:
        after = event.transition(t, y, None, jnp.asarray(k, jnp.int32), jnp.asarray(0.5, t.dtype))
        changed = np.asarray(ravel_pytree(after)[0] != before)
        reached += np.bincount(of_component[changed], minlength=layout.size) > 0
    reached[chosen] = 0
    neurons = np.concatenate([chosen, np.argsort(-reached, kind="stable")[:_TARGETS]])
    where = lambda numbers: jnp.asarray(np.flatnonzero(np.isin(numbers, neurons)))
    return Part(where(of_component), where(of_channel), jnp.asarray(chosen, jnp.int32))
