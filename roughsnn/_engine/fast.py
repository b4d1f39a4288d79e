"""Time constants that the cells are too long for."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from .._misc import is_concrete, warn
from .._model.membrane import AbstractLinearMembrane, AbstractMembrane
from .._refine import StepWarning, refinement, seen_rates


def check_cell(membrane: AbstractMembrane, dt0: float) -> None:
    """Warns of a decay within less than a cell: at once where the rates are known, and else, while
    the length of the cells is checked, when the program runs."""
    if not isinstance(membrane, AbstractLinearMembrane):
        return
    active = refinement()
    if is_concrete(membrane):
        # In NumPy, as each operation of JAX would be a program.
        known = jax.tree.map(lambda x: np.asarray(x) if eqx.is_array(x) else x, membrane)
        with jax.ensure_compile_time_eval():
            rates = jax.device_get(known.rates)
        fastest = max(float(np.max(np.asarray(rate), initial=0.0)) for rate in rates)
        if fastest * dt0 > 1 and active is None:
            warn(too_fast(fastest, dt0), StepWarning)
    elif active is not None and active.factor == 1:
        rates = jax.lax.stop_gradient(membrane.rates)
        fastest = jnp.max(jnp.stack([jnp.max(rate) for rate in rates]))
        jax.debug.callback(lambda rate: seen_rates.append((float(np.max(rate)), dt0)), fastest)


def too_fast(rate: float, dt0: float) -> str:
    """The warning for a rate."""
    return (
        f"The shortest time constant of the membrane is {1 / rate:.3g}, less than a cell of "
        f"dt0={dt0:.3g}: what happens within it is not seen. Choose a smaller `dt0`."
    )
