"""A network whose recorded neurons spike when they did."""

import dataclasses
from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, Int

from .._misc import at_least, at_most, check_positive_int, check_window, num_cells
from .._model.connectivity import SparseWeights
from .._model.firing import StochasticFiring
from .._model.inputs import SpikeInput
from .._model.network import SpikingNetwork
from .._model.state import NeuronState
from .._path.base import AbstractGridPath
from .._random import RandomKey, seeds
from .._solve.adjoint import AbstractAdjoint, CheckpointAdjoint
from .._solve.step import Grid
from .._train.check import check_trains
from .._train.marks import sum_by_mark
from .._train.spike_train import SpikeTrain
from .._types import Drive, RealScalar
from .cells import run_cells
from .delivery import deliver_all
from .inputs import delivered_inputs, in_cells
from .lockstep import LATE, Lockstep
from .lockstep_solve import cell_inputs, check_lockstep, marked, raise_result, result_of, train_of
from .prepare import check_model, prepare


class Clamped(eqx.Module):
    r"""What [`roughsnn.clamp`][] returns.

    Let $\Lambda$ be the hazard of a neuron integrated since its last spike (at the start: since
    t0), and $\alpha$ its refractoriness.

    **Attributes:**

    - `log_likelihood`: shape `(observed,)`: for each observed neuron the logarithm of the density
        of its spikes, given its own past and that of all others, the noise and the hidden spikes.
        In units of one over time for each spike.
    - `hazards`: shape `(spikes,)`: $\Lambda$ just before each observed spike, in the order of the
        train; 0 for padding.
    - `quantiles`: shape `(spikes,)`: $1 - e^{\alpha - \Lambda}$, uniform if the model is right
        (time rescaling; [`roughsnn.scores.rescaled_quantiles`][] for trials); NaN for padding.
    - `log_intensities`: shape `(spikes,)`: $\log\lambda$ just before each observed spike.
    - `last_hazards`: shape `(observed,)`: $\Lambda$ at t1.
    - `spikes`: the train of all neurons of the network, the hidden ones as simulated.
    """

    log_likelihood: Float[Array, " observed"]
    hazards: Float[Array, " spikes"]
    quantiles: Float[Array, " spikes"]
    log_intensities: Float[Array, " spikes"]
    last_hazards: Float[Array, " observed"]
    spikes: SpikeTrain


def clamp(
    network: SpikingNetwork,
    drive: Drive,
    train: SpikeTrain,
    *,
    dt0: RealScalar,
    observed: Sequence[int] | None = None,
    key: RandomKey | None = None,
    max_spikes: int | None = None,
    initial: NeuronState | None = None,
    noise: AbstractGridPath | None = None,
    spike_input: SpikeInput | None = None,
    adjoint: AbstractAdjoint | None = None,
    throw: bool = True,
) -> Clamped:
    r"""Runs a network whose observed neurons spike when they did, and the density of that.

    An observed neuron does not fire by itself: at each of its spikes it is reset and acts on
    its targets. Given the past its next spike has the density $\lambda\,e^{-(\Lambda - \alpha)}$
    where $\Lambda > \alpha$, and none below, so its log-likelihood is
    (Daley & Vere-Jones, *An introduction to the theory of point processes*, Prop. 7.2.III)

    $$\sum_n \bigl[\log\lambda(v_{\tau_n-}) - (\Lambda_n - \alpha)\bigr] - (\Lambda_T - \alpha)_+,$$

    $-\infty$ if a spike is in a refractory part. With $\alpha = 0$ that is
    $\sum_n\log\lambda(v_{\tau_n-}) - \int_0^T\lambda\,dt$. Hidden neurons and noise are simulated,
    by the lockstep engine ([`roughsnn.simulate`][]). All of it is differentiable, in the
    spike times too; the error is of second order in `dt0`.

    **Arguments:**

    - `network`: fires by [`roughsnn.StochasticFiring`][]; its membrane decays linearly.
    - `drive`: as for [`roughsnn.simulate`][].
    - `train`: one train, of the observed neurons, on the window of the simulation; for a batch
        `jax.vmap` over it.
    - `dt0`: cell length. Cells should be shorter than the intervals between spikes of a neuron: a
        second spike in a cell is exact only to first order.
    - `observed`: which neurons of the network those of the train are, in its order; by default all.
    - `key`: of the noise and of the hidden spikes, where there are any.
    - `max_spikes`: the room for spikes of all neurons together, needed if some are hidden.
    - `initial`: v and i at the start, by default 0; its `s` is for hidden neurons.
    - `noise`, `spike_input`, `adjoint`, `throw`: as for [`roughsnn.simulate`][].

    **Returns:** a [`roughsnn.Clamped`][].

    **Raises:** `TypeError` for hard thresholds; `ValueError` for a train that does not fit the
    network, a missing `key` or `max_spikes`, and as [`roughsnn.simulate`][] with
    `method="lockstep"`; a runtime error for bursts of more spikes than there are cells.
    """
    if not isinstance(network.firing, StochasticFiring):
        raise TypeError(
            "Spikes have a density only with random thresholds: `network.firing` must be a "
            f"roughsnn.StochasticFiring, got {type(network.firing).__name__}."
        )
    check_trains("train", train)
    train = train.complete()
    t0, t1, dt0 = check_window(train.t0, train.t1, dt0, "dt0")
    model = check_model(
        network, drive, t0, t1, dt0, initial=initial, noise=noise, spike_input=spike_input
    )
    index = _check_observed(train, observed, model.num_neurons)
    free = len(index) < model.num_neurons
    random = noise is None and len(model.channels) > 0
    if key is None and (random or free):
        what = "noise" if random else "hidden neurons"
        raise ValueError(f"The network has {what}, which must be drawn: give a `key`.")
    if free and max_spikes is None:
        raise ValueError(
            f"Only {len(index)} of {model.num_neurons} neurons are observed: give `max_spikes`, "
            "the room for the spikes of all of them."
        )
    room = train.times.shape[-1] if max_spikes is None else max_spikes
    check_lockstep(network, drive, model, t0, dt0, (), noise)
    return _clamp(
        network,
        drive,
        train,
        jr.key(0) if key is None else key,
        initial,
        noise,
        spike_input,
        CheckpointAdjoint() if adjoint is None else adjoint,
        model=model,
        dt0=dt0,
        index=tuple(index.tolist()),
        room=check_positive_int("max_spikes", room),
        throw=throw,
    )


@eqx.filter_jit
def _clamp(
    network,
    drive,
    train,
    key,
    initial,
    noise,
    spike_input,
    adjoint,
    *,
    model,
    dt0,
    index,
    room,
    throw,
) -> Clamped:
    """What [`roughsnn.clamp`][] returns, compiled once for functions and shapes."""
    t0, t1, index, neurons = train.t0, train.t1, np.array(index), model.num_neurons
    p = prepare(network, drive, model, t0, t1, dt0, key, initial=initial, noise=noise)
    dtype, cells = p.y0.v.dtype, num_cells(t0, t1, dt0)
    grid = Grid(t0, t1, dt0, cells, None)
    free, known = len(index) < neurons, np.isin(np.arange(neurons), index)
    weights = network.effective_weights()
    engine = Lockstep(
        membrane=network.membrane,
        firing=network.firing,
        weights=_hidden_rows(weights, known) if free else None,
        seeds=seeds(p.event_key),
        cells=cells,
        stop_after=None,
        emit_s=False,
        observed=jnp.asarray(known),
        free=free,
    )
    assert p.y0.s is not None
    carry = engine.start(NeuronState(p.y0.v, p.y0.i, jnp.where(known, 0, p.y0.s)))
    inputs = cell_inputs(network.membrane, drive, p.path, grid, dtype)

    marks = jnp.where(train.marks >= 0, jnp.asarray(index, jnp.int32)[train.marks], -1)
    begin = jnp.append(inputs.begin, jnp.full(LATE, t1, dtype))
    cell, given = _given(train, marks, begin, grid, (cells + LATE, neurons))
    outside = _delivered(engine, weights, train, marks, grid, inputs.length)
    if spike_input is not None:
        more = delivered_inputs(engine, spike_input, grid, inputs.length)
        outside = more if outside is None else outside + more
    inputs = dataclasses.replace(inputs, outside=outside, given=given[:cells])

    final, emitted = run_cells(engine, carry, inputs, adjoint=adjoint, room=room)
    final, last = engine.finish(final, jnp.asarray(LATE * dt0, dtype), given[cells:])
    emitted = jax.tree.map(lambda x, y: jnp.concatenate([x, y]), emitted, last)
    total = jnp.sum(jnp.isfinite(emitted.offsets), dtype=jnp.int32)
    spikes = train_of(begin[:, None] + emitted.offsets, room, total, grid, neurons)
    result = result_of(final, total, room, None)
    spikes = marked(spikes, result)
    if throw:
        spikes, emitted = raise_result((spikes, emitted), result, total, room)
    assert emitted.density is not None and final.y.s is not None
    at = cell, jnp.maximum(marks, 0)
    hazards, log_intensities = (jnp.where(marks >= 0, x[at], 0) for x in emitted.density)
    last = final.y.s[index]
    alpha = jnp.broadcast_to(network.firing.alpha, (neurons,))[index]
    excess = hazards - alpha[jnp.maximum(train.marks, 0)]
    return Clamped(
        log_likelihood=_log_likelihood(train, excess, log_intensities, last - alpha),
        hazards=hazards,
        quantiles=jnp.where(marks >= 0, -jnp.expm1(-at_least(excess, 0)), jnp.nan),
        log_intensities=log_intensities,
        last_hazards=last,
        spikes=spikes,
    )


def _check_observed(train: SpikeTrain, observed, neurons: int) -> np.ndarray:
    """The number in the network of each neuron of the train."""
    index = np.arange(neurons) if observed is None else np.asarray(observed)
    if index.ndim != 1 or not np.issubdtype(index.dtype, np.integer):
        raise ValueError(f"`observed` must be a list of integers, got {observed!r}.")
    if len(index) != train.num_neurons:
        hint = " Name the ones that it holds by `observed`." if observed is None else ""
        raise ValueError(
            f"The train has {train.num_neurons} neurons, but {len(index)} of the network's "
            f"{neurons} are observed.{hint}"
        )
    if len(set(index.tolist())) < len(index) or index.min() < 0 or index.max() >= neurons:
        raise ValueError(
            f"`observed` must be different numbers in 0 ... {neurons - 1}, got {observed!r}."
        )
    return index


def _hidden_rows(weights, known: np.ndarray):
    """The weights without what observed neurons do."""
    mask = jnp.asarray(known)[:, None]
    if isinstance(weights, SparseWeights):
        return eqx.tree_at(lambda w: w.values, weights, jnp.where(mask, 0, weights.values))
    return None if weights is None else jnp.where(mask, 0, weights)


def _delivered(engine: Lockstep, weights, train: SpikeTrain, marks: Array, grid: Grid, lengths):
    """What the observed spikes do to their targets, in each cell."""
    if weights is None:
        return None
    cell, offset = in_cells(train, grid, lengths)
    left = lengths[cell] - offset
    return deliver_all(weights, marks, cell, left, lengths, engine.response)


def _given(
    train: SpikeTrain, marks: Array, begin: Float[Array, " cells"], grid: Grid, shape
) -> tuple[Int[Array, " spikes"], Float[Array, "cells neurons"]]:
    """The cell that each spike gets, and the times since the starts of the cells, inf elsewhere.

    The next free one: what the n-th spike of a neuron needs is n + max(cell of the k-th - k), over
    the spikes k up to n.
    """
    wanted, _ = in_cells(train, grid, begin[: grid.cells])
    order = jnp.argsort(marks, stable=True)
    number = jnp.arange(marks.shape[0], dtype=jnp.int32)

    def latest(a, b):
        return b[0], jnp.where(a[0] == b[0], jnp.maximum(a[1], b[1]), b[1])

    _, shift = jax.lax.associative_scan(latest, (marks[order], wanted[order] - number))
    cell = jnp.zeros_like(number).at[order].set(number + shift)
    cell = jnp.where(marks >= 0, cell, 0)
    cell = eqx.error_if(
        cell,
        jnp.any(cell - wanted > LATE),
        f"A neuron of the train has so many spikes in a few cells that the last one is {LATE} "
        "cells late: choose a smaller `dt0`, or remove spikes that are there twice.",
    )
    offset = train.times.astype(begin.dtype) - begin[cell]
    # Not behind the cell, by rounding.
    offset = at_most(offset, jnp.append(jnp.diff(begin), 0.0)[cell])
    column = jnp.where(marks >= 0, marks, shape[1])
    empty = jnp.full(shape, jnp.inf, offset.dtype)
    return cell, empty.at[cell, column].set(offset, mode="drop")


def _log_likelihood(train: SpikeTrain, excess, log_intensities, last):
    """Of each neuron; `excess` and `last` are hazards beyond the refractory part."""
    there = train.marks >= 0
    refractory = there & (excess < 0)
    each = jnp.where(there & ~refractory, log_intensities - excess, 0)
    total = sum_by_mark(each, train.marks, train.num_neurons) - at_least(last, 0)
    impossible = sum_by_mark(refractory.astype(jnp.int32), train.marks, train.num_neurons) > 0
    return jnp.where(impossible, -jnp.inf, total)
