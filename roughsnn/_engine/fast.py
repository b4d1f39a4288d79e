"""Time constants that the cells are too long for."""

import jax
import jax.numpy as jnp
import numpy as np

from .._misc import is_concrete, warn
from .._model.network import SpikingNetwork
from .._refine import StepWarning, refinement, seen_rates


def check_cell(network: SpikingNetwork, dt0: float) -> None:
    """Warns of a decay within less than a cell: at once where the time constants are known, and
    else, while the length of the cells is checked, when the program runs."""
    taus = [bound.value for bound in network.bounds() if bound.name.startswith("tau")]
    if not taus:
        return
    active = refinement()
    if is_concrete(taus):
        shortest = min(float(np.min(np.asarray(tau))) for tau in taus)
        if dt0 > shortest and active is None:
            warn(too_fast(1 / shortest, dt0), StepWarning)
    elif active is not None and active.factor == 1:
        shortest = jnp.min(jnp.stack([jnp.min(jax.lax.stop_gradient(tau)) for tau in taus]))
        jax.debug.callback(lambda tau: seen_rates.append((1 / float(np.min(tau)), dt0)), shortest)


def too_fast(rate: float, dt0: float) -> str:
    """The warning for a rate."""
    return (
        f"The shortest time constant of the network is {1 / rate:.3g}, less than a cell of "
        f"dt0={dt0:.3g}: what happens within it is not seen. Choose a smaller `dt0`."
    )
