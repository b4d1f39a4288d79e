"""The state of a network."""

import equinox as eqx
from jaxtyping import Array, Float


class NeuronState(eqx.Module):
    """What evolves in a network of spiking neurons.

    **Arguments:**

    - `v`: membrane potentials, shape `(neurons,)`.
    - `i`: synaptic currents, shape `(neurons,)`, in units of `v`.
    - `s`: integrated hazard minus the threshold log u - alpha drawn for the next spike,
        shape `(neurons,)`, negative; `None` for neurons with a hard threshold.
    """

    v: Float[Array, "*neurons"]
    i: Float[Array, "*neurons"]
    s: Float[Array, "*neurons"] | None
