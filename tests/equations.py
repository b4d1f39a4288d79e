"""The equation of a network of one population, for solvers that take any equation."""

from typing import Any

import diffrax as dfx

import roughsnn as rs
from roughsnn._engine.known import event_of
from roughsnn._model.equation import Diffusion, Drift
from roughsnn._model.layout import layout_of
from roughsnn._model.state import NetworkState


def equation_of(
    network: rs.SpikingNetwork, drive: Any, path: Any = None, **parts: Any
) -> tuple[Any, rs.Event, NetworkState]:
    """Its terms, its spikes, and the state at rest but for some parts.

    The values of the path are those of neurons and channels, in a row.
    """
    (population,) = network.simulated.values()
    layout = layout_of(network, [population.channels_drawn()])
    terms: Any = dfx.ODETerm(Drift(layout, drive))
    if path is not None:
        terms = dfx.MultiTerm(terms, dfx.ControlTerm(Diffusion(layout), path))
    y0 = NetworkState((population.rest().replaced(parts),), layout.members)
    return terms, event_of(network, layout), y0
