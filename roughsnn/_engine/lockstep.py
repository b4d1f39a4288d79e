"""The lockstep engine: the loop over cells, and the spike train that comes out of it."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int

from .._misc import is_concrete
from .._model.connectivity import synapses_of
from .._model.drive import Rows
from .._model.links import links_of
from .._model.projection import Projection
from .._model.synapse import AbstractConductance, AbstractLinearSynapse
from .._path.base import AbstractJumpPath
from .._path.step import StepPath
from .._random import RandomKey
from .._results import RESULTS, Failure, capacity_messages, is_busy
from .._solve.setup import compact
from .._solve.step import GRAZED, OUTSIDE, RETRIGGERED, Grid
from .._train.spike_train import SpikeTrain
from .._window import Window
from .any_cell import group_cell_of
from .base import Lockstep, Simulation
from .boundary import boundary_of
from .cell_map import CellMap
from .cell_state import LockstepCarry
from .check_exact import bends, check_exact
from .coordinate import component_of_potential
from .exact_cell import Exact
from .feed import Feed
from .final import FinalState, Past
from .group_cell import CROWDED, LATE
from .labels import labels_of
from .linear import equations_of
from .problem import Problem
from .record import Plan
from .stream import Stream, sizes_of


def run_lockstep(problem: Problem, engine: Lockstep) -> tuple[Simulation, Failure]:
    """The simulation of a problem, all neurons of a cell at once."""
    problem = problem.grouped()
    window, layout, grid = problem.window, problem.layout, problem.grid
    y0, key = problem.start()
    plan = Plan.of(engine.record, layout.members)
    arriving = problem.arriving(y0)
    exact = Exact(arriving, bends(problem.drive)) if engine.exact else None
    cell_map = cell_map_of(problem, key, plan, exact, emit_s=bool(window.edges))
    counts = layout.split(problem.counts)
    carry = cell_map.start(y0, counts, problem.outside | delays_outside(cell_map), _past(problem))
    feed = Feed.of(problem, arriving, cell_map)
    stream = _stream(feed, engine, cell_map, carry)
    streamed = stream.run(carry)
    border, told, emitted, inputs = streamed
    late = jnp.asarray(LATE * grid.dt0, problem.dtype)
    final, overdue = cell_map.finish(border, late, grid.clock.start(grid.cells, problem.dtype))
    times, marks, total = stream.spikes(streamed, overdue.offsets)
    train = in_order(times, marks, total, grid, layout.size)
    if window.stop_after is not None:
        train = train.first(window.stop_after).with_room(problem.max_spikes)
    result = result_of(final, total, problem.max_spikes, window.stop_after)
    train = marked(train, result)
    history = None
    if plan.at_times:
        history, ring = emitted.spikes, carry.ring.value
        history = history if ring is None else ring.then(history)
    states = plan.states(cell_map, inputs, emitted, final, feed, history)
    if any(group.hazard is not None for group in layout.groups):
        last = [
            jnp.full(group.size, -1.0, problem.dtype) if one.y.s is None else one.y.s
            for group, one in zip(layout.groups, final.groups, strict=True)
        ]
        before = [] if told.edges is None else [told.edges]
        excess = jnp.concatenate([*before, jnp.concatenate(last)[None]])
        boundary = boundary_of(problem, train, layout.numbered(excess), key)
        train = dataclasses.replace(train, boundary=boundary)
    of_all = lambda carry: jnp.concatenate([one.counts for one in carry.groups])
    again = of_all(final) - of_all(border)
    good = result == RESULTS.successful
    holds = tuple(one.hold for one in border.groups)
    waits = cell_map.slots > 0 or any(hold is not None for hold in holds)
    left, ring = Past(holds) if waits else None, border.ring.value
    if ring is not None:
        left = Past(holds, ring.offsets, ring.amplitudes)
    state, fired = cell_map.state(border), of_all(border)
    end = problem.end(state, fired, again, engine, good, left, feed.arriving)
    sim = Simulation(train, states, result, end, problem.conditions)
    own = fired - problem.counts
    return sim, failure_of(result, problem.max_spikes, total, own, grid.cells)


def _stream(feed: Feed, engine: Lockstep, cell_map: CellMap, carry: LockstepCarry) -> Stream:
    """The loop over all cells."""
    problem = feed.problem
    window, grid = problem.window, problem.grid
    # The last cells may hold more spikes than are wanted, and not in order.
    room = problem.max_spikes
    if window.stop_after is not None:
        room = room + 2 * problem.neurons
    # Those that the window before holds come again.
    again = 0
    if isinstance(problem.initial, FinalState):
        again = (LATE + cell_map.slots) * problem.neurons
    sizes = sizes_of(engine.adjoint, feed, cell_map, carry)
    edges = tuple(round(t / grid.dt0) - 1 for t in window.edges)
    return Stream(feed, cell_map, sizes, room, room + again, edges)


def cell_map_of(
    problem: Problem, key: RandomKey, plan: Plan, exact: Exact | None = None, **options: Any
) -> CellMap:
    """The map of a cell for a problem."""
    grid, layout, network = problem.grid, problem.layout, problem.network
    dtype = problem.dtype

    equations = [equations_of(group, dtype) for group in layout.groups]

    hurst = 0.5 if problem.noise is None else problem.noise.hurst

    def parts(length):
        length = jnp.asarray(length, dtype)
        pairs = zip(layout.groups, equations, strict=True)
        return tuple(group_cell_of(group, m, length, grid.dt0, hurst, exact) for group, m in pairs)

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
        hurst=hurst,
        stop_after=problem.window.stop_after,
        record=plan.at_cells,
        reduce=plan.on_the_way,
        emit_origin=plan.at_times,
        exact=exact,
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
            there = synapses_of(link.weights)
        short, long = held < cell_map.dt0 - slack, held > link.max_delay + slack
        wrong.append(jnp.any((short | long | jnp.isnan(held)) & there))
    return jnp.any(jnp.stack(wrong))


def check_lockstep(problem: Problem, engine: Lockstep, window: Window) -> None:
    """Refuses models that the lockstep engine cannot do, and times that are not on the grid of the
    window, as it was given."""
    other = "Use engine=roughsnn.EventByEvent()."
    for name, population in problem.network.simulated.items():
        for port, synapse in population.ports.items():
            if not isinstance(synapse, AbstractLinearSynapse | AbstractConductance):
                raise ValueError(
                    "The lockstep engine needs a roughsnn.AbstractLinearSynapse or a "
                    "roughsnn.AbstractConductance at each port, got a "
                    f"{type(synapse).__name__} at {port!r} of {name!r}. {other}"
                )
        if population.neuron.has_coordinate:
            component_of_potential(population.neuron, problem.dtype)
    for n, projection in enumerate(problem.network.projections):
        _check_delay(n, projection, problem.window.dt0, other)
    _check_grid(problem, window, other)
    if engine.exact:
        check_exact(problem)
    if engine.record is not None:
        Plan.of(engine.record, problem.layout.members).check(problem.network, window)


def _check_delay(number: int, p: Projection, dt0: float, other: str) -> None:
    """Refuses delays that are shorter than a cell."""
    if p.delay is None or not is_concrete(p.delay):
        return
    delay = np.asarray(p.delay)
    weights = p.effective() if delay.ndim == 2 else None
    if weights is not None and is_concrete(weights):
        # Known numbers stay known inside of `jit` by NumPy only.
        delay = delay[np.asarray(synapses_of(jax.tree.map(np.asarray, weights)))]
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


def train_of(times: Array, max_spikes: int, total, grid: Grid, indices: np.ndarray) -> SpikeTrain:
    """The spikes of all cells in order of time; `indices` are the numbers of the neurons."""
    marks = jnp.broadcast_to(jnp.asarray(indices), times.shape)
    marks = jnp.where(jnp.isfinite(times), marks, -1).reshape(-1)
    times, marks = compact(marks, max_spikes, (times.reshape(-1), jnp.inf), (marks, -1))
    return in_order(times, marks, total, grid, len(indices))


def in_order(times: Array, marks: Array, total: Array, grid: Grid, neurons: int) -> SpikeTrain:
    """The train of spikes that come cell by cell, and within one in the order of the neurons;
    there were `total`."""
    order = jnp.argsort(jax.lax.stop_gradient(times))
    room = times.shape[0]
    return SpikeTrain(
        times=times[order],
        marks=marks[order],
        count=jnp.minimum(total, room),
        overflow=total > room,
        t0=0.0,
        t1=grid.t1,
        num_neurons=neurons,
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
