"""Which part of a large event SDE is looked at."""

import equinox as eqx
from jaxtyping import Array, Int


class Part(eqx.Module):
    """Components of the state as one vector, channels of its only noise, and coordinates of its
    events; all others stay where they are.

    For systems whose coordinates touch few components: arrays grow with the part alone.
    """

    components: Int[Array, " n"]
    channels: Int[Array, " channels"]
    coordinates: Int[Array, " events"]
