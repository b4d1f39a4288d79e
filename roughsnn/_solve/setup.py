"""From the arguments of a solve to its flat loop."""

import dataclasses

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
from jaxtyping import Array, Bool, Int, PyTree, UInt32

from .._check import check_kind
from .._conditions.affine import is_affine
from .._event.chandrupatla import Chandrupatla
from .._event.crossing import AbstractCrossing, BracketedCrossing, QuadraticCrossing
from .._event.event import Event
from .._misc import as_numbers, check_finite
from .._random import Labels, RandomKey, seeds
from .._types import Args, Numeric, State
from .._window import Clock, Window
from .control import controller_of
from .engine import EventByEvent
from .jumps import check_jump_ts, merged_jumps
from .localise import check_stages, check_terms
from .saveat import check_saveat
from .step import OK, OUTSIDE, Carry, Grid, Stepper


class Equation(eqx.Module):
    """An event SDE: what is solved, and its randomness."""

    terms: PyTree[dfx.AbstractTerm]
    event: Event
    y0: State
    args: Args
    key: RandomKey
    jump_ts: Numeric | None
    clock: Clock
    # How often each coordinate has fired before.
    counts: Int[Array, " events"] | None = None
    # Whether it is known that a coordinate is below 0 behind its own event.
    resets: bool = eqx.field(static=True, default=False)
    # Whether a parameter is outside of its domain.
    outside: Bool[Array, ""] | None = None
    # Which random numbers the coordinates get; by default those of the key, by their number.
    labels: Labels | None = None
    # How many of the coordinates, the last ones, have events that nobody is told of; how many of
    # these an event brings about at most, and how many there may be from before.
    silent: int = eqx.field(static=True, default=0)
    per_event: int = eqx.field(static=True, default=0)

    @property
    def random(self) -> Labels:
        """Which random numbers the coordinates get."""
        return Labels(seeds(self.key)) if self.labels is None else self.labels


def check_problem(terms, window: Window, y0, args, *, event, engine: EventByEvent, jump_ts):
    """The initial state as arrays, once shapes and what is known of the values are found right."""
    check_kind("event", event, Event, "a roughsnn.Event")
    check_terms(terms, engine.solver, window.t0, window.t1, window.dt0)
    y0, dtype = _check_state(y0)
    check_stages(terms, engine.solver_for(terms), window.t0, y0, args)
    _check_event(event, window.t0, y0, args, dtype)
    check_jump_ts(jump_ts)
    if engine.saveat is not None:
        check_saveat(engine.saveat, window.t0, window.t1)
    return y0


def set_up(
    equation: Equation, engine: EventByEvent, *, window: Window, max_events: int
) -> tuple[Stepper, Carry, int]:
    """The map of one iteration, where it starts, and how often it is applied at most.

    Takes what `check_problem` has seen, and a window that is counted from its start.
    """
    terms, event, y0, args = equation.terms, equation.event, equation.y0, equation.args
    t0, t1, dt0, solver = window.t0, window.t1, window.dt0, engine.solver_for(terms)
    clock = equation.clock
    saveat = dfx.SaveAt() if engine.saveat is None else engine.saveat
    sub = saveat.subs
    dtype = jnp.result_type(*jax.tree.leaves(y0))
    num_coordinates = eqx.filter_eval_shape(event.fn, t0, y0, args).shape[0]
    control = controller_of(engine.controller, terms, solver)
    # With adaptive steps there is one cell.
    cells, dt = (window.cells, dt0) if control is None else (1, t1 - t0)
    stops, jumps = merged_jumps(terms, equation.jump_ts, y0, args)
    grid = Grid(t1, dt, cells, clock, stops)
    stepper = Stepper(
        terms=terms,
        solver=differentiable(solver),
        event=event,
        args=args,
        labels=equation.random,
        crossing=_choose_crossing(engine.root_finder, solver, event, t0, y0, args, dtype),
        grid=grid,
        jumps=jumps,
        max_events=max_events,
        stop_after=window.stop_after,
        emit_origin=sub is not None and sub.ts is not None,
        emit_steps=sub is not None and bool(sub.steps),
        emit_dense=saveat.dense,
        controller=control,
        resets=equation.resets,
        silent=equation.silent,
    )
    zero = jnp.zeros((), jnp.int32)
    carry = Carry(
        cell=zero,
        offset=jnp.zeros((), dtype),
        jump=_first_jump(grid, dtype),
        y=y0,
        counts=jnp.zeros(num_coordinates - equation.silent, jnp.int32)
        if equation.counts is None
        else equation.counts,
        num_events=zero,
        last=zero - 1,
        fault=zero if equation.outside is None else jnp.where(equation.outside, OUTSIDE, OK),
        finished=jnp.array(False),
        due=jnp.zeros(num_coordinates, bool) if event.ties == "all" else None,
    )
    if control is not None:
        begin = clock.start(0, dtype)
        control = control.first(terms, begin, begin + t1, y0, dt0, args, stepper.solver, dtype)
        carry = dataclasses.replace(carry, control=control)
        if eqx.filter_eval_shape(stepper.interval, carry).error is None:
            raise ValueError(
                f"{type(solver).__name__} does not estimate its error, which adaptive steps need. "
                "Use e.g. diffrax.Tsit5()."
            )
        return stepper, carry, engine.max_steps
    number = 0 if grid.jump_ts is None else grid.jump_ts.shape[0] - 1
    # One more than cells, jumps and events, to see an event too many.
    events = max_events * (1 + equation.per_event) + equation.silent
    return stepper, carry, cells + number + events + 1


def compact(
    marks: Array, max_events: int, *columns: tuple[Array, int | float]
) -> tuple[Array, ...]:
    """What the iterations emitted at events, moved to the front and padded.

    `columns` are pairs of values and of what they are padded with.
    """
    index, stored = places_of(marks >= 0, max_events)

    def move(x, fill):
        rows = stored.reshape(stored.shape + (1,) * (x.ndim - 1))
        return jnp.where(rows, x[index], fill)

    return tuple(move(x, fill) for x, fill in columns)


def places_of(
    there: Bool[Array, " n"], number: int
) -> tuple[Int[Array, " number"], Bool[Array, " number"]]:
    """Where the first, the second, ... of so many entries is that is there, and whether it is."""
    n, width = there.shape[0], 32
    blocks = -(-n // width)
    # Which block, a word of bits, and which bit of it: a sum over all would take most of the time.
    there = jnp.pad(there, (0, blocks * width - n)).reshape(blocks, width)
    bits = jnp.asarray(2 ** np.arange(width, dtype=np.uint32))
    words = jnp.sum(jnp.where(there, bits[None], 0), 1, dtype=jnp.uint32)
    ends = jnp.cumsum(jax.lax.population_count(words).astype(jnp.int32), dtype=jnp.int32)
    wanted = jnp.arange(1, number + 1, dtype=jnp.int32)
    stored = wanted <= ends[-1]
    block = jnp.minimum(jnp.searchsorted(ends, wanted, side="left"), blocks - 1).astype(jnp.int32)
    word = words[block]
    rank = wanted - ends[block] + jax.lax.population_count(word).astype(jnp.int32)
    return jnp.minimum(block * width + _bit(word, rank), n - 1), stored


def _bit(word: UInt32[Array, " n"], rank: Int[Array, " n"]) -> Int[Array, " n"]:
    """Where the bit is in a word that is the so-manieth that is 1, from 1 on."""
    place = jnp.zeros_like(rank)
    for half in (16, 8, 4, 2, 1):
        number = jax.lax.population_count(word & np.uint32(2**half - 1)).astype(jnp.int32)
        above = rank > number
        place = jnp.where(above, place + half, place)
        rank = jnp.where(above, rank - number, rank)
        word = jnp.where(above, word >> np.uint32(half), word)
    return place


def _check_state(y0: State):
    y0 = jax.tree.map(lambda leaf: as_numbers("y0", leaf), y0)
    leaves = jax.tree.leaves(y0)
    for leaf in leaves:
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            raise ValueError(
                f"Every leaf of `y0` must have a floating dtype, got {leaf.dtype}. Use e.g. "
                "jnp.asarray(y0, float)."
            )
        check_finite("y0", leaf)
    if not leaves:
        raise ValueError("`y0` must hold at least one array.")
    return y0, jnp.result_type(*leaves)


def _check_event(event: Event, t0, y0, args, dtype) -> None:
    t = jax.ShapeDtypeStruct((), dtype)
    out = eqx.filter_eval_shape(event.fn, t, y0, args)
    if not hasattr(out, "shape") or len(out.shape) != 1 or out.shape[0] == 0:
        shape = getattr(out, "shape", type(out).__name__)
        raise ValueError(
            f"`event.fn` must return one array of shape (events,), got {shape}. For a single "
            "event return jnp.array([value])."
        )
    scalar = jax.ShapeDtypeStruct((), jnp.int32)
    after = eqx.filter_eval_shape(event.transition, t, y0, args, scalar, t)
    expected = jax.eval_shape(lambda y: y, y0)
    same = lambda a: jax.tree.map(lambda x: (x.shape, x.dtype), a)
    if jax.tree.structure(after) != jax.tree.structure(expected) or same(after) != same(expected):
        raise ValueError(
            "`event.transition` must return a state with the structure, shapes and dtypes "
            f"of `y0`: got {after}, expected {expected}."
        )


def differentiable(solver: dfx.AbstractSolver) -> dfx.AbstractSolver:
    """A Runge-Kutta solver whose loop over stages works in forward and in reverse mode.

    Its default is a checkpointed loop, which `jax.jvp` refuses (diffrax#549).
    """
    if isinstance(solver, dfx.AbstractRungeKutta) and solver.scan_kind is None:
        none = lambda x: x is None
        return eqx.tree_at(lambda s: s.scan_kind, solver, "bounded", is_leaf=none)
    return solver


def _first_jump(grid: Grid, dtype) -> Array:
    if grid.jump_ts is None:
        return jnp.zeros((), jnp.int32)
    begin = grid.clock.start(0, dtype)
    return jnp.searchsorted(grid.jump_ts, begin, side="left").astype(jnp.int32)


def _choose_crossing(root_finder, solver, event, t0, y0, args, dtype) -> AbstractCrossing:
    if isinstance(root_finder, AbstractCrossing):
        return root_finder
    if isinstance(root_finder, optx.AbstractRootFinder):
        return BracketedCrossing(root_finder)
    linear = solver.interpolation_cls is dfx.LocalLinearInterpolation
    fn = lambda t, y: event.fn(t, y, args)
    if linear and is_affine(fn, jnp.asarray(t0, dtype), y0):
        return QuadraticCrossing()
    return BracketedCrossing(Chandrupatla())
