"""Which neurons could fire at the end of a window, and how far they are from it."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._model.network import SpikingNetwork
from .._random import RandomKey, seeds, uniform
from .._train.boundary import Boundary
from .._train.marks import count_by_mark
from .._train.spike_train import SpikeTrain


def boundary_of(
    network: SpikingNetwork,
    train: SpikeTrain,
    excess: Float[Array, "times neurons"],
    ts: tuple[float, ...],
    key: RandomKey,
    given: bool,
) -> Boundary | None:
    """The [`roughsnn.Boundary`][] of hidden states `excess` at the times `ts`.

    `None` if the thresholds are not random.

    `key` is that of the thresholds; `given` says that the first ones were not drawn.
    """
    neurons = jnp.arange(train.num_neurons, dtype=jnp.int32)
    words = seeds(key)

    def one(t, s):
        fired = jnp.where((train.times < t) | (t == train.t1), train.marks, -1)
        number = count_by_mark(fired, train.num_neurons)
        u = jax.vmap(lambda k, n: uniform(words, k, n, s.dtype))(neurons, number)
        risk = network.firing.at_risk(s, u)
        if risk is None or not given:
            return risk
        # A threshold that was given is not random.
        return risk & (number > 0)

    there = jax.vmap(one)(jnp.asarray(ts, excess.dtype), excess)
    return None if there is None else Boundary(excess, there, ts).where(jnp.isfinite(excess))
