"""Spikes from outside: the trains of the sources of a network."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from .._misc import described
from .._model.connectivity import SparseWeights
from .._model.links import Link
from .._model.network import SpikingNetwork, find_value
from .._model.plasticity import Plastic, amplitudes_of
from .._model.population import Source
from .._path.jumps import JumpPath, check_jump_times
from .._solve.step import Grid
from .._train.check import check_trains
from .._train.spike_train import SpikeTrain
from .._types import Scalar
from .._window import Window
from .arrivals import FromSource, Landing
from .coming import Coming, windows_until
from .delivery import deliver_all, moments

# Where each spike is looked at: so many of a train in a cell at least, or so many times the mean.
_FEW, _TIMES = 32, 8


def as_trains(inputs: Any, network: SpikingNetwork, window: Window) -> dict[str, SpikeTrain]:
    """A train for each source, counted from the start of the window; a clear error if one is
    missing or does not fit."""
    sources = {k: p for k, p in network.populations.items() if isinstance(p, Source)}
    if not isinstance(inputs, Mapping):
        raise TypeError(
            "`inputs` must be a dictionary from names of sources to spike trains, got "
            f"{described(inputs)}."
        )
    found = {}
    for name, train in inputs.items():
        source = find_value(name, sources, "source of the network, in `inputs`")
        what = f"inputs[{name!r}]"
        check_trains(what, train)
        train = train.complete()
        if train.num_neurons != source.size:
            raise ValueError(
                f"`{what}` must be a train of {source.size} neurons, got {train.num_neurons}."
            )
        if (train.t0, train.t1) != (window.t0, window.t1):
            raise ValueError(
                f"`{what}` must be on the window of the simulation, [{window.t0}, {window.t1}], "
                f"got [{train.t0}, {train.t1}]. Cut it with SpikeTrain.window."
            )
        times = check_jump_times(train.times, window.t0, window.t1)
        local = dataclasses.replace(train, times=times).local()
        found[name] = dataclasses.replace(local, t1=window.local().t1)
    missing = sorted(set(sources) - set(found))
    if missing:
        raise ValueError(
            f"`inputs` must hold a train for each source of the network, got none for {missing}."
        )
    return found


def in_cells(
    spikes: SpikeTrain, grid: Grid, lengths: Float[Array, " cells"]
) -> tuple[Int[Array, " spikes"], Float[Array, " spikes"]]:
    """The cell of each spike, and how long after its start it is; cell 0 for padding."""
    since = jnp.where(spikes.marks >= 0, spikes.times.astype(lengths.dtype), 0)
    cell = jnp.floor(jax.lax.stop_gradient(since) / grid.dt0).astype(jnp.int32)
    cell = jnp.minimum(cell, lengths.shape[0] - 1)
    return cell, since - cell.astype(since.dtype) * grid.dt0


class Arriving(eqx.Module):
    """The spikes of a source as they arrive by one link: it has no delays left, and `spikes` are
    those that arrive in the window; how strong they are, what plasticity there is at the end of it,
    and what arrives only then; `None` without."""

    link: Link
    spikes: SpikeTrain
    amplitudes: Float[Array, " spikes"] | None
    left: Plastic | None = None
    coming: Coming | None = None

    @classmethod
    def of(
        cls,
        link: Link,
        spikes: SpikeTrain,
        start: Plastic | None = None,
        coming: Coming | None = None,
    ) -> "Arriving":
        """Of spikes as they are sent, counted from where `start` is, and of those that were
        `coming` there."""
        spikes = _by_row(spikes, link.rows_of(spikes.num_neurons))
        amplitudes, left = None, None
        if link.plasticity is not None:
            assert start is not None
            amplitudes, left = amplitudes_of(link.plasticity, start, spikes)
        if link.delay is None:
            return cls(link, spikes, amplitudes, left)
        t1, longest = spikes.t1, link.max_delay
        link, sent = _sent(link, spikes, amplitudes)
        windows = windows_until(coming, t1, sent.times.shape[0], longest)
        sent = sent if coming is None else coming.then(sent)
        now, later = sent.only(sent.times <= t1), sent.after(t1, windows)
        train = dataclasses.replace(spikes, times=now.times, marks=now.marks)
        return cls(link, train, now.amplitudes, left, later)

    def moments(self, grid: Grid, lengths: Float[Array, " cells"]) -> Float[Array, "cells 3 all"]:
        """The moments of what they bring in each cell."""
        cell, offset = in_cells(self.spikes, grid, lengths)
        left = lengths[cell] - offset
        return self._delivered(self.spikes.marks, cell, left, lengths, self.amplitudes)

    def moments_until(
        self, grid: Grid, lengths: Float[Array, " cells"], cell: Int[Array, ""], length: Scalar
    ) -> Float[Array, "3 neurons"]:
        """The same in the first part, of this length, of one cell."""
        spikes, amplitudes = self.spikes, self.amplitudes
        of_spike, offset = in_cells(spikes, grid, lengths)
        there = (spikes.marks >= 0) & (of_spike == cell) & (offset <= length)
        order = jnp.argsort(~there, stable=True)
        marks = jnp.where(there, spikes.marks, -1)[order]
        left, first = (length - offset)[order], jnp.zeros_like(marks)
        amplitudes = None if amplitudes is None else amplitudes[order]
        return self._delivered(marks, first, left, length[None], amplitudes)[0]

    def in_cell(self, dt0: float, cells: int, cell: Int[Array, ""], length: Scalar) -> FromSource:
        """What arrives in a cell, spike by spike."""
        since, there = self.spikes.times.astype(length.dtype), self.spikes.marks >= 0
        number = jnp.floor(jax.lax.stop_gradient(jnp.where(there, since, 0)) / dt0)
        number = jnp.minimum(number.astype(jnp.int32), cells - 1)
        offset = since - cell.astype(since.dtype) * dt0
        here = there & (number == cell) & (offset <= length)
        offset = jnp.where(here, jnp.where(here, offset, 0), jnp.inf)
        marks, total = jnp.where(here, self.spikes.marks, 0), since.shape[0]
        room = min(total, max(_FEW, _TIMES * -(-total // cells)))
        first = jnp.sum(there & (number < cell), dtype=jnp.int32)

        every = Landing(marks, offset, self.amplitudes)
        cut = lambda x: jax.lax.dynamic_slice_in_dim(x, first, room)
        start = jnp.minimum(first, total - room)
        fit = first + jnp.sum(here, dtype=jnp.int32) <= start + room
        weights = jax.tree.map(_as(length.dtype), self.link.weights)
        return FromSource(weights, jax.tree.map(cut, every), every, fit)

    def _delivered(self, marks, cell, left, lengths, amplitudes) -> Array:
        weights = jax.tree.map(_as(lengths.dtype), self.link.weights)
        return deliver_all(weights, marks, cell, left, lengths, moments, amplitudes)

    def jumps(self, t1: float, since: Scalar) -> JumpPath:
        """As a driver of a port on [0, t1], with times that count from `since`."""
        weights, spikes = self.link.weights, self.spikes
        there = spikes.marks >= 0
        rows = jnp.where(there, spikes.marks, 0)
        row = weights.row if isinstance(weights, SparseWeights) else lambda k: weights[k]
        sizes = jnp.where(there[:, None], jax.vmap(row)(rows), 0)
        sizes = sizes if self.amplitudes is None else sizes * self.amplitudes[:, None]
        # The times were checked at the door, and are not again in the program.
        empty = JumpPath(np.full(sizes.shape[0], np.inf), np.zeros(sizes.shape), t0=0.0, t1=t1)
        times = spikes.times + since.astype(spikes.times.dtype)
        return eqx.tree_at(lambda p: (p.jump_times, p.sizes), empty, (times, sizes))


def _by_row(spikes: SpikeTrain, rows: np.ndarray) -> SpikeTrain:
    """A spike for each row of its neuron, in their order, numbered by row; padding at the end."""
    if rows.shape[1] == 1 and np.array_equal(rows[:, 0], np.arange(len(rows))):
        return spikes
    marks = jnp.asarray(rows)[jnp.maximum(spikes.marks, 0)]
    marks = jnp.where((spikes.marks >= 0)[:, None], marks, -1).reshape(-1)
    times = jnp.repeat(spikes.times, rows.shape[1])
    order = jnp.argsort(marks < 0, stable=True)
    return dataclasses.replace(spikes, times=times[order], marks=marks[order])


def left_of(arriving: Sequence[Arriving]) -> dict[str, Plastic]:
    """The plasticity of sources at the end of the window, by the names of their links."""
    return {one.link.name: one.left for one in arriving if one.left is not None}


def coming_of(arriving: Sequence[Arriving]) -> dict[str, Coming]:
    """The spikes of sources that arrive only behind the window, by the names of their links."""
    return {one.link.name: one.coming for one in arriving if one.coming is not None}


def _as(dtype: Any):
    return lambda x: x.astype(dtype) if jnp.issubdtype(x.dtype, jnp.inexact) else x


def _sent(link: Link, spikes: SpikeTrain, amplitudes: Array | None) -> tuple[Link, Coming]:
    """The link without delays, and the spikes when they arrive. Where each synapse has a delay,
    each has a row."""
    weights, marks, delay = link.weights, spikes.marks, link.delay
    assert delay is not None
    times, there = spikes.times, marks >= 0
    row = jnp.maximum(marks, 0)
    if delay.ndim == 2:
        width = delay.shape[1]
        values = weights.values if isinstance(weights, SparseWeights) else weights
        every = jnp.broadcast_to(jnp.arange(width, dtype=jnp.int32), delay.shape)
        targets = weights.targets if isinstance(weights, SparseWeights) else every
        empty = SparseWeights(np.zeros((1, 1), np.int32), np.zeros((1, 1)), weights.shape[1])
        pair = targets.reshape(-1, 1), values.reshape(-1, 1)
        weights = eqx.tree_at(lambda w: (w.targets, w.values), empty, pair)
        each = lambda x: jnp.broadcast_to(x[:, None], (x.shape[0], width)).reshape(-1)
        row = (row[:, None] * width + jnp.arange(width, dtype=jnp.int32)[None]).reshape(-1)
        times, there, delay = each(times), each(there), delay.reshape(-1)
        amplitudes = None if amplitudes is None else each(amplitudes)
    elif delay.ndim == 0:
        delay = delay[None]
    shift = delay[row if delay.shape[0] > 1 else jnp.zeros_like(row)]
    times = times + shift.astype(times.dtype)
    link = dataclasses.replace(link, weights=weights, delay=None)
    return link, Coming(times, jnp.where(there, row, -1), amplitudes).only(there)
