"""Which neurons could fire at the end of a window, and how far they are from it."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._random import RandomKey, seeds, uniform
from .._train.borders import before
from .._train.boundary import Boundary
from .._train.marks import count_by_mark
from .._train.spike_train import SpikeTrain
from .problem import Problem


def boundary_of(
    problem: Problem, train: SpikeTrain, excess: Float[Array, "times neurons"], key: RandomKey
) -> Boundary | None:
    """The [`roughsnn.Boundary`][] of hidden states `excess` at the edges of the window and t1.

    `None` if the thresholds are not random. `key` is that of the thresholds.
    """
    window, network = problem.window, problem.network
    ts = (*window.edges, window.t1)
    neurons = jnp.arange(train.num_neurons, dtype=jnp.int32)
    words = seeds(key)

    def one(t, s):
        fired = jnp.where(before(train.times, t) | (t == train.t1), train.marks, -1)
        number = problem.counts + problem.told + count_by_mark(fired, train.num_neurons)
        u = uniform(words, neurons, number, s.dtype)
        risk = network.firing.at_risk(s, u)
        # A threshold that was given is not random.
        return None if risk is None else risk & ((number > 0) | ~problem.given)

    there = jax.vmap(one)(jnp.asarray(ts, excess.dtype), excess)
    if there is None:
        return None
    boundary = Boundary(excess, there, ts).where(jnp.isfinite(excess))
    if window.stop_after is None:
        return boundary
    # A simulation that was ended never got there.
    return boundary.where(train.count < window.stop_after)
