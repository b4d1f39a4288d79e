"""Time constants that the cells are too long for.

On the exact motion a cell may hold several: in lockstep 4 (see `flow.py`), event by event 32 (see
`joint.py`).
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .._misc import is_concrete, warn
from .._model.firing import HardThreshold
from .._model.network import SpikingNetwork
from .._refine import StepWarning, refinement, too_long
from .base import Lockstep
from .linear import is_linear


def check_cell(network: SpikingNetwork, dt0: float, engine: Any, noisy: bool) -> None:
    """Warns of a decay within less than a cell, or within less than the part of one that exact maps
    hold for: at once where the time constants are known, and else, while the length of the cells is
    checked, when the program runs."""
    taus = [bound.value for bound in network.bounds() if bound.name.startswith("tau")]
    if not taus:
        return
    active, most = refinement(), _most(network, engine, noisy)
    if is_concrete(taus):
        shortest = min(float(np.min(np.asarray(tau))) for tau in taus)
        if dt0 > most * shortest and active is None:
            warn(_too_fast(shortest, dt0, most), StepWarning)
    elif active is not None and active.factor == 1:
        shortest = jnp.min(jnp.stack([jnp.min(jax.lax.stop_gradient(tau)) for tau in taus]))

        def see(tau):
            tau = float(np.min(tau))
            if dt0 > most * tau:
                too_long.append((dt0 / (most * tau), _too_fast(tau, dt0, most)))

        jax.debug.callback(see, shortest)


def _too_fast(tau: float, dt0: float, most: int) -> str:
    """The warning of a time constant, where a cell may hold so many."""
    part = "a cell" if most == 1 else f"1/{most} of a cell"
    return (
        f"The shortest time constant of the network is {tau:.3g}, less than {part} of "
        f"dt0={dt0:.3g}: what happens within it is lost. Choose a smaller `dt0`."
    )


def _most(network: SpikingNetwork, engine: Any, noisy: bool) -> int:
    """How many time constants a cell may hold."""
    if isinstance(engine, Lockstep):
        return 4 if engine.exact else 1
    if noisy or engine.adaptive or engine.solver is not None or engine.root_finder is not None:
        return 1
    # A hazard is integrated by nodes in the step.
    exact = lambda one: is_linear(one) and isinstance(one.firing, HardThreshold | None)
    return 32 if all(map(exact, network.simulated.values())) else 1
