"""The density of given spikes, from the hazards that a clamped network had.

All hazards in here are integrals since the last spike of a neuron, less its refractory part.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from .._misc import at_least
from .._train.marks import sum_by_mark
from .._train.spike_train import SpikeTrain


def survived_by(
    hazards: Float[Array, " observed"],
    train: SpikeTrain,
    cell: Int[Array, " spikes"],
    count: Int[Array, ""],
    cells: int,
) -> Float[Array, " observed"]:
    """What each neuron has survived at the end of a history of so many cells, with the first
    `count` spikes of the train, given the hazards there; spikes get a cell each."""
    # One that is late gets a cell behind it: its neuron has just fired.
    early = jnp.arange(cell.shape[0], dtype=count.dtype) < count
    late = early & (cell >= cells) & (train.marks >= 0)
    late = sum_by_mark(late.astype(jnp.int32), train.marks, train.num_neurons) > 0
    return jnp.where(late, 0, at_least(hazards, 0))


def log_likelihood_of(
    train: SpikeTrain,
    excess: Float[Array, " spikes"],
    log_intensities: Float[Array, " spikes"],
    last: Float[Array, " observed"],
    survived: Float[Array, " observed"] | None,
) -> Float[Array, " observed"]:
    """Of each neuron, by the hazards at its spikes and at the end, given what it has `survived`."""
    there = train.marks >= 0
    refractory = there & (excess < 0)
    each = jnp.where(there & ~refractory, log_intensities - excess, 0)
    total = sum_by_mark(each, train.marks, train.num_neurons) - at_least(last, 0)
    total = total if survived is None else total + survived
    impossible = sum_by_mark(refractory.astype(jnp.int32), train.marks, train.num_neurons) > 0
    return jnp.where(impossible, -jnp.inf, total)


def quantiles_of(
    train: SpikeTrain,
    excess: Float[Array, " spikes"],
    survived: Float[Array, " observed"] | None,
) -> Float[Array, " spikes"]:
    """Of each spike: how likely one was that comes sooner; nan for padding."""
    excess, there = at_least(excess, 0), train.marks >= 0
    if survived is not None:
        number = jnp.arange(train.marks.shape[0], dtype=jnp.int32)
        first = jnp.full(train.num_neurons, number.shape[0], jnp.int32)
        first = first.at[train.marks].min(number, mode="drop", wrap_negative_indices=False)
        own = jnp.maximum(train.marks, 0)
        excess = excess - jnp.where(first[own] == number, survived[own], 0)
    return jnp.where(there, -jnp.expm1(-at_least(excess, 0)), jnp.nan)
