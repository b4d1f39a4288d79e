"""The lockstep engine: the loop over cells, and the spike train that comes out of it."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from .._misc import at_least, is_concrete
from .._model.connectivity import SparseWeights
from .._model.drive import Rows, evaluate_drive
from .._model.layout import Group
from .._model.links import links_of
from .._model.neuron import AbstractLinearNeuron
from .._model.projection import Projection
from .._model.synapse import AbstractLinearSynapse
from .._path.base import AbstractJumpPath
from .._path.step import StepPath
from .._random import RandomKey
from .._results import RESULTS, Failure, capacity_messages, is_busy
from .._solve.setup import compact
from .._solve.step import GRAZED, OUTSIDE, RETRIGGERED, Grid
from .._train.spike_train import SpikeTrain
from .._window import Window
from .base import Lockstep, Simulation
from .boundary import boundary_of
from .cell_map import CellMap
from .cell_state import CellInput, Slopes
from .cells import run_cells
from .delivery import add_to
from .final import FinalState, Past
from .group_cell import CROWDED, LATE, GroupCell
from .labels import labels_of
from .linear import check_linear, matrices_of, slopes_of
from .problem import Problem
from .record import Plan
from .sources import arriving
from .switches import switches_of


def run_lockstep(problem: Problem, engine: Lockstep) -> tuple[Simulation, Failure]:
    """The simulation of a problem, all neurons of a cell at once."""
    problem = problem.grouped()
    window, dtype, layout = problem.window, problem.dtype, problem.layout
    y0, key, path = problem.draw()
    grid = problem.grid
    plan = Plan.of(engine.record, layout.members)
    cell_map = cell_map_of(problem, key, path, plan, emit_s=bool(window.edges))
    counts = layout.split(problem.counts)
    carry = cell_map.start(y0, counts, problem.outside | delays_outside(cell_map), _past(problem))
    inputs = cell_inputs(problem, path, grid, cell_map)
    # The last cells may hold more spikes than are wanted, and not in order.
    room = problem.max_spikes
    if window.stop_after is not None:
        room = room + 2 * problem.neurons
    # Those that the window before holds come again.
    again = 0
    if isinstance(problem.initial, FinalState):
        again = (LATE + cell_map.slots) * problem.neurons
    border, emitted = run_cells(cell_map, carry, inputs, adjoint=engine.adjoint, room=room + again)
    late = jnp.asarray(LATE * grid.dt0, dtype)
    final, overdue = cell_map.finish(border, late, grid.clock.start(grid.cells, dtype))
    begin = jnp.append(inputs.begin, jnp.full(LATE, grid.t1, dtype))
    offsets = _untold(problem, jnp.concatenate([emitted.offsets, overdue.offsets]))
    times = begin[:, None] + offsets
    if isinstance(problem.initial, FinalState):
        # A late one that was not told yet.
        times = at_least(times, 0)
    total = jnp.sum(jnp.isfinite(times), dtype=jnp.int32)
    train = train_of(times, room, total, grid, layout.indices)
    if window.stop_after is not None:
        train = train.first(window.stop_after).with_room(problem.max_spikes)
    result = result_of(final, total, problem.max_spikes, window.stop_after)
    train = marked(train, result)
    history = emitted.offsets
    if carry.ring.value is not None:
        history = jnp.concatenate([carry.ring.value, history])
    states = plan.states(cell_map, inputs, emitted, final, problem, history)
    if any(group.hazard is not None for group in layout.groups):
        at = np.array([round(t / grid.dt0) - 1 for t in window.edges], np.int32)
        before = [] if emitted.s is None else [emitted.s[at]]
        last = [
            jnp.full(group.size, -1.0, dtype) if one.y.s is None else one.y.s
            for group, one in zip(layout.groups, final.groups, strict=True)
        ]
        excess = jnp.concatenate([*before, jnp.concatenate(last)[None]])
        boundary = boundary_of(problem, train, layout.numbered(excess), key)
        train = dataclasses.replace(train, boundary=boundary)
    of_all = lambda carry: jnp.concatenate([one.counts for one in carry.groups])
    told = of_all(final) - of_all(border)
    good = result == RESULTS.successful
    under_way = history[-cell_map.slots :] if cell_map.slots else None
    holds = tuple(one.hold for one in border.groups)
    waits = cell_map.slots > 0 or any(hold is not None for hold in holds)
    left = Past(holds, under_way) if waits else None
    end = problem.end(cell_map.state(border), of_all(border), told, engine, good, left)
    sim = Simulation(train, states, result, end, problem.conditions)
    own = of_all(border) - problem.counts
    return sim, failure_of(result, problem.max_spikes, total, own, grid.cells)


def cell_map_of(problem: Problem, key: RandomKey, path, plan: Plan, **options: Any) -> CellMap:
    """The map of a cell for a problem."""
    grid, layout, network = problem.grid, problem.layout, problem.network
    dtype = problem.dtype

    matrices = [matrices_of(group, dtype) for group in layout.groups]

    def parts(length):
        length = jnp.asarray(length, dtype)
        pairs = zip(layout.groups, matrices, strict=True)
        return tuple(GroupCell.of(group, m, length, grid.dt0) for group, m in pairs)

    last = grid.t1 - (grid.cells - 1) * grid.dt0
    whole = abs(last - grid.dt0) <= 1e-6 * grid.dt0
    upward = links_of(network, layout, "known")
    return CellMap(
        layout=layout,
        labels=labels_of(layout, key),
        parts=parts(grid.dt0),
        last=None if whole else parts(last),
        upward=tuple(link for link in upward if link.source is None),
        loops=links_of(network, layout, "within"),
        delayed=links_of(network, layout, "delayed"),
        cells=grid.cells,
        dt0=grid.dt0,
        stop_after=problem.window.stop_after,
        bent=path is not None and path.arrays()[1] is not None,
        record=plan.at_cells,
        reduce=plan.on_the_way,
        emit_origin=plan.at_times,
        earlier=jnp.sum(problem.counts + problem.told, dtype=jnp.int32),
        **options,
    )


def _past(problem: Problem) -> Past:
    """What is left of the window before."""
    past = problem.initial.past if isinstance(problem.initial, FinalState) else None
    return Past() if past is None else past


def delays_outside(cell_map: CellMap) -> Bool[Array, ""]:
    """Whether a delay is shorter than a cell, or longer than it may be."""
    wrong = [jnp.array(False)]
    for link in cell_map.delayed:
        assert link.delay is not None
        held, slack = jax.lax.stop_gradient(link.delay), 1e-6 * cell_map.dt0
        there = jnp.ones((), bool)
        if held.ndim == 2:
            values = (
                link.weights.values if isinstance(link.weights, SparseWeights) else link.weights
            )
            there = values != 0
        short, long = held < cell_map.dt0 - slack, held > link.max_delay + slack
        wrong.append(jnp.any((short | long | jnp.isnan(held)) & there))
    return jnp.any(jnp.stack(wrong))


def _untold(problem: Problem, offsets: Float[Array, "cells neurons"]):
    """The spikes without the late ones (at offsets of -0 and less) that the window before holds."""
    if not isinstance(problem.initial, FinalState):
        return offsets
    first = offsets[:LATE]
    late = jnp.signbit(jax.lax.stop_gradient(first))
    told = late & (jnp.cumsum(late, 0, dtype=jnp.int32) <= problem.initial.told[None])
    return jnp.concatenate([jnp.where(told, jnp.inf, first), offsets[LATE:]])


def check_lockstep(problem: Problem, engine: Lockstep, window: Window) -> None:
    """Refuses models that the lockstep engine cannot do, and times that are not on the grid of the
    window, as it was given."""
    other = "Use engine=roughsnn.EventByEvent()."
    for name, population in problem.network.simulated.items():
        if not isinstance(population.neuron, AbstractLinearNeuron):
            raise ValueError(
                "The lockstep engine needs roughsnn.AbstractLinearNeuron, whose motion is known in "
                f"closed form, got a {type(population.neuron).__name__} in {name!r}. {other}"
            )
        for port, synapse in population.ports.items():
            if not isinstance(synapse, AbstractLinearSynapse):
                raise ValueError(
                    "The lockstep engine needs roughsnn.AbstractLinearSynapse at each port, got a "
                    f"{type(synapse).__name__} at {port!r} of {name!r}. {other}"
                )
        check_linear(name, population, problem.dtype)
    for n, projection in enumerate(problem.network.projections):
        _check_delay(n, projection, problem.window.dt0, other)
    _check_grid(problem, window, other)
    if engine.record is not None:
        Plan.of(engine.record, problem.layout.members).check(problem.network, window)


def _check_delay(number: int, p: Projection, dt0: float, other: str) -> None:
    """Refuses delays that are shorter than a cell."""
    if p.delay is None or not is_concrete(p.delay):
        return
    delay = np.asarray(p.delay)
    weights = p.effective() if delay.ndim == 2 else None
    if weights is not None and is_concrete(weights):
        values = weights.values if isinstance(weights, SparseWeights) else weights
        delay = delay[np.asarray(values) != 0]
    if np.any(delay < dt0 * (1 - 1e-6)):
        raise ValueError(
            f"With the lockstep engine a delay must be 0 for all synapses of a projection or at "
            f"least dt0={dt0}, got {np.min(delay)} in `projections[{number}]` from {p.pre!r} onto "
            f"{p.post!r}. Choose a smaller `dt0`, or use engine=roughsnn.EventByEvent()."
        )


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


def cell_inputs(problem: Problem, path, grid: Grid, cell_map: CellMap) -> CellInput:
    """What drives each cell."""
    links, slots = len(cell_map.links), cell_map.slots
    layout, drive, dtype = problem.layout, problem.drive, problem.dtype
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
    switches = switches_of(drive, grid, lengths)
    if switches is not None:
        drives = switches.lines()
    elif isinstance(drive, Rows):
        drives = drive.values.astype(dtype), drive.values.astype(dtype), None
    else:
        drives = at(clock + inwards), at(clock + lengths - inwards), None
    nothing: tuple[Slopes | None, ...] = (None,) * len(layout.groups)
    noise, change = nothing, nothing
    if path is not None:
        slope = jax.vmap(lambda n, r: slopes_of(layout, path.cell(n).derivative(r)))
        noise = slope(numbers, jnp.zeros_like(lengths))
        if path.arrays()[1] is not None:
            end = slope(numbers, lengths)
            change = jax.tree.map(jnp.subtract, end, noise)
    # Nothing was before the first window.
    late = jnp.minimum(grid.clock.cells + numbers, LATE).astype(dtype) * grid.dt0
    arrivals: tuple[dict[str, Array], ...] = tuple({} for _ in layout.groups)
    for link in links_of(problem.network, layout, "known"):
        if link.source is not None:
            came = arriving(link, problem.inputs[link.source], grid, lengths)
            add_to(arrivals[link.group], link.port, came)
    return CellInput(
        begin=starts,
        slot=numbers % max(slots, 1),
        length=lengths,
        clock=clock,
        late=late,
        drive=tuple(_of_group(group, drives) for group in layout.groups),
        noise=noise,
        change=change,
        arrivals=arrivals,
        extra=(None,) * links,
        given=(None,) * len(layout.groups),
    )


def _of_group(group: Group, line: tuple[Array, Array, Array | None]):
    """The drive of a group."""
    start, end, lag = line
    own = group.of_network
    return own(start), own(end), None if lag is None else own(lag)


def train_of(times: Array, max_spikes: int, total, grid: Grid, indices: np.ndarray) -> SpikeTrain:
    """The spikes of all cells in order of time; `indices` are the numbers of the neurons."""
    marks = jnp.broadcast_to(jnp.asarray(indices), times.shape)
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
        num_neurons=len(indices),
    )


def result_of(final, total, max_spikes: int, stop_after: int | None) -> RESULTS:
    states = jax.tree.leaves([group.y for group in final.groups])
    finite = jnp.all(jnp.stack([jnp.all(jnp.isfinite(x)) for x in states]))
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
