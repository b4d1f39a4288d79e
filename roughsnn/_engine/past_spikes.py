"""Spikes of observed neurons before the window of a clamped network."""

import dataclasses

import jax.numpy as jnp
from jaxtyping import Array, Int

from .._check import check_kind
from .._misc import is_concrete
from .._model.network import SpikingNetwork
from .._train.check import check_trains
from .._train.spike_train import SpikeTrain
from .._window import Window


def check_history(history: SpikeTrain, train: SpikeTrain, network: SpikingNetwork) -> SpikeTrain:
    """The history of a train, if it is one and ends where the train begins."""
    check_trains("history", check_kind("history", history, SpikeTrain, "a roughsnn.SpikeTrain"))
    if history.num_neurons != train.num_neurons:
        raise ValueError(
            "`history` must be of the neurons of the train: it has "
            f"{history.num_neurons}, the train {train.num_neurons}."
        )
    # Traced trains are on one clock.
    known = is_concrete(history.bits, train.bits)
    zeros = [float(x.origin) if known else 0.0 for x in (history, train)]
    begin, end = zeros[0] + history.t0, zeros[0] + history.t1
    start, length = zeros[1] + train.t0, history.t1 - history.t0
    if abs(end - start) > 1e-9 * max(length, abs(end)):
        how = "overlaps the window" if end > start else "ends before it"
        raise ValueError(
            f"`history` must end where the window begins, at {start}: it is on [{begin}, {end}], "
            f"and {how}. Cut it with SpikeTrain.window."
        )
    longest = max((p.max_delay for p in network.projections), default=0.0)
    if longest > length * (1 + 1e-6):
        raise ValueError(
            f"`history` must be as long as spikes travel: it has a length of {length:.6g}, a delay "
            f"is up to {longest:.6g}. What was sent before it would be missing."
        )
    return history.complete()


def with_history(window: Window, history: SpikeTrain) -> tuple[Window, int]:
    """The window from the start of the history on, and how many of its cells that has."""
    length = history.t1 - history.t0
    cells = round(length / window.dt0)
    if cells < 1 or abs(cells * window.dt0 - length) > 1e-6 * window.dt0:
        raise ValueError(
            f"`history` must be a whole number of cells long: it has a length of {length:.6g}, and "
            f"dt0={window.dt0:.6g}."
        )
    return dataclasses.replace(window, t0=window.t0 - cells * window.dt0), cells


def joined_trains(history: SpikeTrain, train: SpikeTrain) -> tuple[SpikeTrain, Int[Array, " n"]]:
    """The spikes of both, local trains, in one, counted from the start of the history, and the
    places of those of the second."""
    length, dtype = history.t1, train.times.dtype
    times = jnp.concatenate([history.times.astype(dtype), train.times + length])
    order = jnp.argsort(times, stable=True)
    marks = jnp.concatenate([history.marks, train.marks])[order]
    whole = dataclasses.replace(
        train,
        times=times[order],
        marks=marks,
        count=history.count + train.count,
        t1=length + train.t1,
    )
    places = jnp.argsort(order)[history.times.shape[-1] :]
    return whole, places.astype(jnp.int32)
