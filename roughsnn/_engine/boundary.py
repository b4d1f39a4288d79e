"""Which neurons could fire at the end of a window, and how far they are from it."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._model.firing import at_risk
from .._random import RandomKey, uniform
from .._train.borders import before
from .._train.boundary import Boundary
from .._train.marks import count_by_mark
from .._train.spike_train import SpikeTrain
from .labels import flat_labels, labels_of
from .problem import Problem


def boundary_of(
    problem: Problem, train: SpikeTrain, excess: Float[Array, "times neurons"], key: RandomKey
) -> Boundary | None:
    """The [`roughsnn.Boundary`][] of hidden states `excess` at the edges of the window and t1, by
    the numbers of the neurons.

    `None` if no thresholds are random. `key` is that of the thresholds.
    """
    window, layout = problem.window, problem.layout
    random = [group.hazard is not None for group in layout.groups]
    if not any(random):
        return None
    ts = (*window.edges, window.t1)
    labels = flat_labels(labels_of(layout, key))
    earlier = layout.numbered(problem.counts + problem.told)
    drawn = layout.numbered(~problem.given)
    words = layout.numbered(labels.words) if labels.words.ndim > 1 else labels.words
    assert labels.entries is not None
    entries = layout.numbered(labels.entries)
    sizes = [group.size for group in layout.groups]
    fires = layout.numbered(jnp.asarray(np.repeat(random, sizes)))

    def one(t, s):
        fired = jnp.where(before(train.times, t) | (t == train.t1), train.marks, -1)
        number = earlier + count_by_mark(fired, train.num_neurons)
        u = uniform(words, entries, number, s.dtype)
        # A threshold that was given is not random.
        return at_risk(s, u) & fires & ((number > 0) | drawn)

    there = jax.vmap(one)(jnp.asarray(ts, excess.dtype), excess)
    boundary = Boundary(excess, there, ts).where(jnp.isfinite(excess))
    if window.stop_after is None:
        return boundary
    # A simulation that was ended never got there.
    return boundary.where(train.count < window.stop_after)
