"""The loop over cells, and the spike train that comes out of it."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from .._conditions.affine import is_affine, is_constant
from .._misc import is_concrete, num_cells
from .._model.inputs import SpikeInput
from .._model.membrane import AbstractLinearMembrane
from .._model.network import SpikingNetwork, evaluate_drive
from .._path.base import AbstractGridPath, AbstractJumpPath
from .._random import seeds
from .._results import RESULTS
from .._solve.adjoint import AbstractAdjoint
from .._solve.setup import compact
from .._solve.step import GRAZED, RETRIGGERED, Grid
from .._train.spike_train import SpikeTrain
from .._types import Drive
from .cells import run_cells
from .inputs import delivered_inputs
from .lockstep import CROWDED, LATE, CellInput, Lockstep
from .prepare import Model, Prepared


def solve_lockstep(
    network: SpikingNetwork,
    drive: Drive,
    p: Prepared,
    t0: float,
    t1: float,
    dt0: float,
    *,
    spike_input: SpikeInput | None,
    max_spikes: int,
    adjoint: AbstractAdjoint,
    stop_after: int | None,
    edges: tuple[float, ...],
    throw: bool,
) -> tuple[SpikeTrain, Array | None, RESULTS]:
    """The spikes, and the hidden states at `edges` and t1."""
    membrane = network.membrane
    assert isinstance(membrane, AbstractLinearMembrane)
    dtype, cells, neurons = p.y0.v.dtype, num_cells(t0, t1, dt0), p.y0.v.shape[0]
    grid = Grid(t0, t1, dt0, cells, None)
    engine = Lockstep(
        membrane=membrane,
        firing=network.firing,
        weights=network.effective_weights(),
        seeds=seeds(p.event_key),
        cells=cells,
        stop_after=stop_after,
        emit_s=bool(edges),
    )
    carry, inputs = engine.start(p.y0), cell_inputs(membrane, drive, p.path, grid, dtype)
    if spike_input is not None:
        outside = delivered_inputs(engine, spike_input, grid, inputs.length)
        inputs = dataclasses.replace(inputs, outside=outside)
    # The last cells may hold more spikes than are wanted, and not in order.
    room = max_spikes if stop_after is None else max_spikes + 2 * neurons
    final, emitted = run_cells(engine, carry, inputs, adjoint=adjoint, room=room)
    final, overdue = engine.finish(final, jnp.asarray(LATE * dt0, dtype))
    begin = jnp.append(inputs.begin, jnp.full(LATE, t1, dtype))
    times = begin[:, None] + jnp.concatenate([emitted.offsets, overdue.offsets])
    total = jnp.sum(jnp.isfinite(times), dtype=jnp.int32)
    train = train_of(times, room, total, grid, neurons)
    if stop_after is not None:
        train = train.first(stop_after).with_room(max_spikes)
    excess = final.y.s
    if excess is not None:
        at = np.array([round((t - t0) / dt0) - 1 for t in edges], np.int32)
        before = [] if emitted.s is None else [emitted.s[at]]
        excess = jnp.concatenate([*before, excess[None]])
    result = result_of(final, total, max_spikes, stop_after)
    train = marked(train, result)
    if throw:
        train, excess = raise_result((train, excess), result, total, max_spikes)
    return train, excess, result


def check_lockstep(
    network, drive, model: Model, t0: float, dt0: float, edges, noise: AbstractGridPath | None
) -> None:
    """Refuses models that the lockstep engine cannot do, and times that are not on the grid."""
    other = "Use method='event'."
    membrane, zero = network.membrane, jnp.zeros(model.num_neurons, model.dtype)
    if not isinstance(membrane, AbstractLinearMembrane):
        raise ValueError(
            "The lockstep engine needs a roughsnn.AbstractLinearMembrane, whose response to a "
            f"spike is known in closed form, got a {type(membrane).__name__}. {other}"
        )
    if not is_affine(membrane.drift, zero, zero, zero):
        raise ValueError(
            f"The lockstep engine needs a drift that is affine in v, i and the drive; that of "
            f"{type(membrane).__name__} is not. {other}"
        )
    if noise is not None or model.channels:
        dx = jnp.ones((model.num_neurons, membrane.channels), model.dtype)
        if not is_constant(lambda v, i: membrane.noise(v, i, dx), zero, zero):
            raise ValueError(
                f"The lockstep engine needs noise that does not depend on v and i; that of "
                f"{type(membrane).__name__} does. {other}"
            )
    if noise is not None and abs(noise.dt - dt0) > 1e-6 * dt0:
        raise ValueError(
            f"With the lockstep engine the cells of `noise` must be those of the solve, got dt="
            f"{noise.dt} and dt0={dt0}. {other}"
        )
    jumps = drive.jump_times if isinstance(drive, AbstractJumpPath) else np.zeros(0)
    if not is_concrete(jumps):
        raise ValueError(f"The jump times of the drive must be known numbers. {other}")
    for name, times in (("jumps of the drive", np.asarray(jumps)), ("`boundary_ts`", edges)):
        position = (np.asarray(times, float) - t0) / dt0
        off = np.abs(position - np.round(position)) > 1e-6 * np.maximum(1, np.abs(position))
        if np.any(off & np.isfinite(position)):
            bad = np.asarray(times, float)[off][0]
            raise ValueError(
                f"With the lockstep engine the {name} must lie on the grid t0 + n dt0, got {bad} "
                f"for t0={t0}, dt0={dt0}. {other}"
            )


def cell_inputs(membrane, drive: Drive, path, grid: Grid, dtype) -> CellInput:
    """What drives each cell."""
    numbers = jnp.arange(grid.cells, dtype=jnp.int32)
    starts = jax.vmap(lambda n: grid.start(n, dtype))(numbers)
    lengths = jax.vmap(lambda n: grid.length(n, dtype))(numbers)
    # Off the border of the cell if the drive may jump there.
    inwards = 1e-4 * grid.dt0 if isinstance(drive, AbstractJumpPath) else 0.0
    at = jax.vmap(lambda t: evaluate_drive(drive, t).astype(dtype))
    drives = at(starts + inwards), at(starts + lengths - inwards)
    noise = ()
    if path is not None:

        def slope(n, r):
            dx = path.cell(n).derivative(r)
            zero = jnp.zeros(dx.shape[:1], dx.dtype)
            return membrane.noise(zero, zero, dx)

        noise = (jax.vmap(slope)(numbers, jnp.zeros_like(lengths)),)
        if path.arrays()[1] is not None:
            noise = (*noise, jax.vmap(slope)(numbers, lengths))
    # Nothing was before t0.
    late = jnp.where(numbers > 0, LATE * grid.dt0, 0.0).astype(dtype)
    return CellInput(starts, lengths, late, drives, noise)


def train_of(times: Array, max_spikes: int, total, grid: Grid, neurons: int) -> SpikeTrain:
    """The spikes of all cells in order of time."""
    marks = jnp.broadcast_to(jnp.arange(neurons, dtype=jnp.int32), times.shape)
    marks = jnp.where(jnp.isfinite(times), marks, -1).reshape(-1)
    times, marks = compact(marks, max_spikes, (times.reshape(-1), jnp.inf), (marks, -1))
    # Within a cell they are in the order of the neurons.
    order = jnp.argsort(jax.lax.stop_gradient(times))
    return SpikeTrain(
        times=times[order],
        marks=marks[order],
        count=jnp.minimum(total, max_spikes),
        overflow=total > max_spikes,
        t0=grid.t0,
        t1=grid.t1,
        num_neurons=neurons,
    )


def result_of(final, total, max_spikes: int, stop_after: int | None) -> RESULTS:
    finite = jnp.all(jnp.stack([jnp.all(jnp.isfinite(x)) for x in jax.tree.leaves(final.y)]))
    result = RESULTS.where(finite, RESULTS.successful, RESULTS.nonfinite_state)
    if stop_after is None:
        result = RESULTS.where(total > max_spikes, RESULTS.max_events_reached, result)
    for code, member in (
        (GRAZED, RESULTS.event_grazed),
        (RETRIGGERED, RESULTS.event_retriggered),
        (CROWDED, RESULTS.crowded_cell),
    ):
        result = RESULTS.where(final.fault == code, member, result)
    return result


def marked(train: SpikeTrain, result: RESULTS) -> SpikeTrain:
    """The train of a simulation, refused by losses if that failed."""
    return dataclasses.replace(train, overflow=train.overflow | (result != RESULTS.successful))


def raise_result(out, result: RESULTS, total, max_spikes: int):
    """Raises with the message of the result."""
    members = (
        RESULTS.max_events_reached,
        RESULTS.event_grazed,
        RESULTS.event_retriggered,
        RESULTS.crowded_cell,
        RESULTS.nonfinite_state,
    )
    index = jnp.zeros((), jnp.int32)
    for i, member in enumerate(members):
        index = jnp.where(result == member, i, index)
    messages = [RESULTS[member] for member in members]
    messages[0] += f" Got {max_spikes}."
    return eqx.branched_error_if(out, result != RESULTS.successful, index, messages)
