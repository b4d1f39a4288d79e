"""The lockstep engine: the loop over cells, and the spike train that comes out of it."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from .._conditions.affine import is_affine, is_constant
from .._misc import at_least, is_concrete
from .._model.drive import Rows, evaluate_drive
from .._model.membrane import AbstractLinearMembrane
from .._model.network import SpikingNetwork
from .._path.base import AbstractJumpPath
from .._path.step import StepPath
from .._random import seeds
from .._results import RESULTS, Failure, capacity_messages, is_busy
from .._solve.setup import compact
from .._solve.step import GRAZED, OUTSIDE, RETRIGGERED, Grid
from .._train.spike_train import SpikeTrain
from .._window import Window
from .base import Lockstep, Simulation
from .boundary import boundary_of
from .cell_map import CROWDED, LATE, CellMap
from .cell_state import CellInput
from .cells import run_cells
from .exponential import is_cascade
from .final import FinalState
from .inputs import outside_of
from .problem import Problem
from .record import Plan
from .switches import Switches


def run_lockstep(problem: Problem, engine: Lockstep) -> tuple[Simulation, Failure]:
    """The simulation of a problem, all neurons of a cell at once."""
    network, window, dtype = problem.network, problem.window, problem.dtype
    y0, key, path = problem.draw()
    grid = problem.grid
    plan = Plan.of(engine.record)
    cell_map = CellMap(
        membrane=linear(network),
        firing=network.firing,
        weights=network.effective_weights(),
        seeds=seeds(key),
        cells=grid.cells,
        dt0=grid.dt0,
        stop_after=window.stop_after,
        emit_s=bool(window.edges),
        record=plan.at_cells,
        reduce=plan.on_the_way,
        emit_origin=plan.at_times,
        earlier=jnp.sum(problem.counts + problem.told, dtype=jnp.int32),
    )
    carry = cell_map.start(y0, problem.counts, problem.outside)
    inputs = cell_inputs(problem, path, grid)
    # The last cells may hold more spikes than are wanted, and not in order.
    room = problem.max_spikes
    if window.stop_after is not None:
        room = room + 2 * problem.neurons
    # Those that the window before holds come again.
    again = LATE * problem.neurons if isinstance(problem.initial, FinalState) else 0
    border, emitted = run_cells(cell_map, carry, inputs, adjoint=engine.adjoint, room=room + again)
    final, overdue = cell_map.finish(border, jnp.asarray(LATE * grid.dt0, dtype))
    begin = jnp.append(inputs.begin, jnp.full(LATE, grid.t1, dtype))
    offsets = _untold(problem, jnp.concatenate([emitted.offsets, overdue.offsets]))
    times = begin[:, None] + offsets
    if isinstance(problem.initial, FinalState):
        # A late one that was not told yet.
        times = at_least(times, 0)
    total = jnp.sum(jnp.isfinite(times), dtype=jnp.int32)
    train = train_of(times, room, total, grid, problem.neurons)
    if window.stop_after is not None:
        train = train.first(window.stop_after).with_room(problem.max_spikes)
    result = result_of(final, total, problem.max_spikes, window.stop_after)
    train = marked(train, result)
    excess = final.y.s
    known = outside_of(linear(network), problem.drive, problem.inputs, grid, inputs.length)
    states = plan.states(cell_map, inputs, emitted, final, grid, known)
    if excess is not None:
        at = np.array([round(t / grid.dt0) - 1 for t in window.edges], np.int32)
        before = [] if emitted.s is None else [emitted.s[at]]
        excess = jnp.concatenate([*before, excess[None]])
        train = dataclasses.replace(train, boundary=boundary_of(problem, train, excess, key))
    told = final.counts - border.counts
    good = result == RESULTS.successful
    end = problem.end(border.y, border.counts, told, engine, good)
    sim = Simulation(train, states, result, end, problem.conditions)
    own = border.counts - problem.counts
    return sim, failure_of(result, problem.max_spikes, total, own, grid.cells)


def _untold(problem: Problem, offsets: Float[Array, "cells neurons"]):
    """The spikes without the late ones (at offsets of -0 and less) that the window before holds."""
    if not isinstance(problem.initial, FinalState):
        return offsets
    first = offsets[:LATE]
    late = jnp.signbit(jax.lax.stop_gradient(first))
    told = late & (jnp.cumsum(late, 0, dtype=jnp.int32) <= problem.initial.told[None])
    return jnp.concatenate([jnp.where(told, jnp.inf, first), offsets[LATE:]])


def linear(network: SpikingNetwork) -> AbstractLinearMembrane:
    """The membrane of a network that was checked."""
    assert isinstance(network.membrane, AbstractLinearMembrane)
    return network.membrane


def check_lockstep(problem: Problem, engine: Lockstep, window: Window) -> None:
    """Refuses models that the lockstep engine cannot do, and times that are not on the grid of the
    window, as it was given."""
    other = "Use engine=roughsnn.EventByEvent()."
    membrane, zero = problem.network.membrane, jnp.zeros(problem.neurons, problem.dtype)
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
    if not is_cascade(membrane, zero):
        raise ValueError(
            "The lockstep engine advances currents before potentials: di/dt must not depend on v, "
            f"as that of {type(membrane).__name__} does. {other}"
        )
    if problem.noisy:
        dx = jnp.ones((problem.neurons, membrane.channels), problem.dtype)
        if not is_constant(lambda v, i: membrane.noise(v, i, dx), zero, zero):
            raise ValueError(
                f"The lockstep engine needs noise that does not depend on v and i; that of "
                f"{type(membrane).__name__} does. {other}"
            )
    _check_grid(problem, window, other)
    if engine.record is not None:
        hidden = jax.eval_shape(problem.network.firing.draw_threshold, zero) is not None
        Plan.of(engine.record).check(("v", "i", "s") if hidden else ("v", "i"), window)


def _check_grid(problem: Problem, window: Window, other: str) -> None:
    """Refuses jumps and cells of the noise that are not those of the window."""
    noise, t0, dt0 = problem.noise, window.t0, problem.window.dt0
    if noise is not None and abs(noise.dt - dt0) > 1e-6 * dt0:
        raise ValueError(
            f"With the lockstep engine the cells of `noise` must be those of the solve, got dt="
            f"{noise.dt} and dt0={dt0}. {other}"
        )
    drive, jumps, zero = problem.drive, np.zeros(0), problem.clock.zero
    if isinstance(drive, AbstractJumpPath) and not isinstance(drive, Rows | StepPath):
        jumps = drive.jump_times
    if not is_concrete(jumps):
        raise ValueError(f"The jump times of the drive must be known numbers. {other}")
    first = np.asarray(zero, float) if is_concrete(zero) else t0
    eps = float(max(jnp.finfo(jumps.dtype).eps, jnp.finfo(zero.dtype).eps))
    placed = (
        ("jumps of the drive", np.asarray(jumps, float), first, eps),
        ("`edges`", np.asarray(window.edges, float), t0, 0.0),
    )
    for name, times, zero_at, rounding in placed:
        position = (times - zero_at) / dt0
        allowed = 1e-6 * np.maximum(1, np.abs(position)) + rounding * np.abs(times) / dt0
        off = np.abs(position - np.round(position)) > allowed
        if np.any(off & np.isfinite(position)):
            bad = times[off][0]
            raise ValueError(
                f"With the lockstep engine the {name} must lie on the grid t0 + n dt0, got {bad} "
                f"for t0={float(zero_at)}, dt0={dt0}. {other}"
            )


def cell_inputs(problem: Problem, path, grid: Grid) -> CellInput:
    """What drives each cell."""
    membrane, drive, dtype = problem.network.membrane, problem.drive, problem.dtype
    numbers = jnp.arange(grid.cells, dtype=jnp.int32)
    starts = jax.vmap(lambda n: grid.start(n, dtype))(numbers)
    clock = jax.vmap(lambda n: grid.clock.start(n, dtype))(numbers)
    lengths = jax.vmap(lambda n: grid.length(n, dtype))(numbers)
    # Off the border of the cell if the drive may jump there, by more than times are rounded.
    inwards = 0.0
    if isinstance(drive, AbstractJumpPath):
        rounding = float(jnp.finfo(dtype).eps) * (abs(clock[0]) + grid.t1)
        inwards = jnp.maximum(1e-4 * grid.dt0, 8 * rounding)
    at = jax.vmap(lambda t: evaluate_drive(drive, t).astype(dtype))
    known = outside_of(linear(problem.network), drive, problem.inputs, grid, lengths)
    switches = next((one for one in known if isinstance(one, Switches)), None)
    if switches is not None:
        drives = switches.at_starts(), switches.at_starts()
    elif isinstance(drive, Rows):
        drives = drive.values.astype(dtype), drive.values.astype(dtype)
    else:
        drives = at(clock + inwards), at(clock + lengths - inwards)
    noise = ()
    if path is not None:

        def slope(n, r):
            dx = path.cell(n).derivative(r)
            zero = jnp.zeros(dx.shape[:1], dx.dtype)
            return membrane.noise(zero, zero, dx)

        noise = (jax.vmap(slope)(numbers, jnp.zeros_like(lengths)),)
        if path.arrays()[1] is not None:
            noise = (*noise, jax.vmap(slope)(numbers, lengths))
    # Nothing was before the first window.
    late = jnp.minimum(grid.clock.cells + numbers, LATE).astype(dtype) * grid.dt0
    delivered = [one.delivered() for one in known]
    outside = sum(delivered[1:], delivered[0]) if delivered else None
    return CellInput(starts, lengths, late, drives, noise, outside)


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
        t0=0.0,
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
        (OUTSIDE, RESULTS.parameter_outside),
    ):
        result = RESULTS.where(final.fault == code, member, result)
    return result


def marked(train: SpikeTrain, result: RESULTS) -> SpikeTrain:
    """The train of a simulation, refused by losses if that failed."""
    return dataclasses.replace(train, overflow=train.overflow | (result != RESULTS.successful))


def failure_of(
    result: RESULTS, max_spikes: int, total: Int[Array, ""], counts: Int[Array, " neurons"], cells
) -> Failure:
    """The message of the result, with its likelier cause; `total` spikes there were in so many
    cells, `counts` of each neuron."""
    busy = is_busy(jnp.max(counts), cells)
    runs_away = (
        "A neuron spiked more often than the lockstep engine can follow, in most cells: the "
        "activity runs away, or `dt0` is far too long. Look at the network in cells of half the "
        "length, or use engine=EventByEvent()."
    )
    changed = [(RESULTS.crowded_cell, busy, runs_away)]
    return Failure.of(result, [*capacity_messages(max_spikes, total.astype(float), busy), *changed])
