"""One iteration of the flat loop: to the end of the cell, a declared jump, or an event."""

from typing import Any, NamedTuple

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PyTree

from .._event.crossing import AbstractCrossing, Crossing, rises
from .._event.event import Event
from .._misc import entry, one_hot, where_tree
from .._random import Labels
from .._types import Args, Scalar, State
from .._window import Clock, Window
from .control import Control, Controller
from .dense import Piece
from .jumps import after_jump
from .localise import localise

# The codes of `Carry.fault`, in the order of severity in which they were met; one that it starts
# with, if a parameter is wrong.
OK, OVERFLOW, GRAZED, RETRIGGERED, STEP_FAILED, JUMPED, NONFINITE, OUTSIDE = range(8)


class Grid(eqx.Module):
    """Cells of length `dt0` that cover [0, t1]; the last one may be shorter."""

    t1: float = eqx.field(static=True)
    dt0: float = eqx.field(static=True)
    cells: int = eqx.field(static=True)
    # What vector fields read as the time.
    clock: Clock
    # Times on that clock at which the vector field jumps, with inf behind the last; or None.
    jump_ts: Float[Array, " jumps"] | None = None

    @classmethod
    def of(cls, window: Window, clock: Clock) -> "Grid":
        """The cells of a window that is counted from its start."""
        return cls(window.t1, window.dt0, window.cells, clock)

    def start(self, cell: Int[Array, ""], dtype: Any) -> Scalar:
        """When `cell` starts, since the window does: from its number, so it does not drift."""
        return cell.astype(dtype) * self.dt0

    def length(self, cell: Int[Array, ""], dtype: Any) -> Scalar:
        """The length of `cell`."""
        last = self.t1 - (self.cells - 1) * self.dt0
        if abs(last - self.dt0) <= 1e-6 * self.dt0:
            return jnp.asarray(self.dt0, dtype)
        return jnp.where(cell == self.cells - 1, last, self.dt0).astype(dtype)


class Interval(NamedTuple):
    """The smooth solution from one stop to the next, in the cell's local time."""

    # What the clock shows as the cell starts.
    start: Scalar
    stop: Scalar
    y1: State
    dense: dfx.AbstractLocalInterpolation
    solved: Bool[Array, ""]
    # The solver's estimate of its error, if it has one.
    error: State | None


def _to_jump(jump: Scalar, r0: Scalar, r1: Scalar, slack: Scalar, waits: Bool[Array, ""]) -> Scalar:
    """The end of a step from r0 that does not go beyond a jump, nor r1.

    A jump that is a rounding away from one of them is at it, as a step of that length would have no
    derivative to speak of; the end moves with the jump there too. (The derivative of `jnp.clip`
    would be half of it.) One at r1 may wait for the next cell, to be at its start.
    """
    shift = jnp.where(jnp.isfinite(jump), jump, 0)
    shift = shift - jax.lax.stop_gradient(shift)
    # Where another jump was at r0, the derivative of its time is not that of this one.
    at_start = jax.lax.stop_gradient(r0) + shift
    inside = jnp.where(jump < r1 - slack, jump, jnp.where(waits, r1, r1 + shift))
    return jnp.where(jump <= r0 + slack, at_start, jnp.where(jump <= r1 + slack, inside, r1))


class Carry(eqx.Module):
    """The state of the flat loop. Times are local: `offset` counts from the cell's start."""

    # Where the solution is, and its value there (right of a jump).
    cell: Int[Array, ""]
    offset: Scalar
    jump: Int[Array, ""]
    y: State
    # What has happened: events per coordinate, in all, and the last one (or -1).
    counts: Int[Array, " events"]
    num_events: Int[Array, ""]
    last: Int[Array, ""]
    # How it is going.
    fault: Int[Array, ""]
    finished: Bool[Array, ""]
    # Which coordinates have reached 0 together with the last event, and have yet to jump; `None` if
    # they do not.
    due: Bool[Array, " events"] | None = None
    # With adaptive steps, how far the next one wants to go.
    control: Control | None = None


class Emitted(eqx.Module):
    """What one iteration hands out. Idle iterations have time inf and mark -1."""

    time: Scalar
    mark: Int[Array, ""]
    # The carry at the start, if states at given times are wanted.
    origin: Carry | None
    # Left and right limit of the state at `time`, if steps are wanted.
    left: PyTree | None
    right: PyTree | None
    # The solution on the way there, if it is wanted everywhere.
    piece: Piece | None = None


class _Along(NamedTuple):
    """The event functions along a step, and what they are functions of."""

    event: Event
    args: Args
    start: Scalar
    r0: Scalar
    dense: dfx.AbstractLocalInterpolation

    def __call__(self, x: Scalar) -> Float[Array, " events"]:
        r = self.r0 + x
        return self.event.fn(self.start + r, self.dense.evaluate(r), self.args)


class Stepper(eqx.Module):
    """The problem, and the map from one carry to the next."""

    terms: PyTree[dfx.AbstractTerm]
    solver: dfx.AbstractSolver
    event: Event
    args: Args
    labels: Labels
    crossing: AbstractCrossing
    grid: Grid
    # What the drivers that jump move by at `grid.jump_ts`.
    jumps: tuple[Float[Array, " jumps *shape"], ...]
    max_events: int = eqx.field(static=True)
    stop_after: int | None = eqx.field(static=True)
    emit_origin: bool = eqx.field(static=True)
    emit_steps: bool = eqx.field(static=True)
    emit_dense: bool = eqx.field(static=True, default=False)
    controller: Controller | None = None
    # Whether it is known that a coordinate is below 0 behind its own event.
    resets: bool = eqx.field(static=True, default=False)
    # How many of the coordinates, the last ones, have events that nobody is told of.
    silent: int = eqx.field(static=True, default=0)

    def live(self, carry: Carry) -> Bool[Array, ""]:
        """Whether there is anything left to do."""
        return (carry.cell < self.grid.cells) & ~carry.finished

    def interval(self, carry: Carry) -> Interval:
        """The smooth solution to the next planned stop, as a function of local time."""
        dtype = carry.offset.dtype
        cell = jnp.minimum(carry.cell, self.grid.cells - 1)
        start = self.grid.clock.start(cell, dtype)
        # A carry that is not live makes a step of length zero: it stays where it is.
        r0 = carry.offset
        r1 = jnp.where(self.live(carry), self.grid.length(cell, dtype), r0)
        if carry.control is not None:
            r1 = jnp.minimum(r1, r0 + carry.control.step)
        if self.grid.jump_ts is None:
            clock = lambda r: start + r
        else:
            ahead, slack = self.grid.jump_ts[carry.jump], self._rounding(start)
            waits = self._waits(cell, r1)
            r1 = _to_jump(ahead - start, r0, r1, slack, waits)
            passed = self.grid.jump_ts[jnp.maximum(carry.jump - 1, 0)]
            passed = jnp.where(carry.jump > 0, passed, -jnp.inf)
            # Just inside of the interval, where the vector field jumps at its ends. The jumps are
            # named: rounding may bring start + r to the wrong side of them.
            inf = jnp.asarray(jnp.inf, dtype)
            low, high = jax.lax.stop_gradient(
                (jnp.maximum(start + r0, passed), jnp.minimum(start + r1, ahead))
            )
            low, high = jnp.nextafter(low, inf), jnp.nextafter(high, -inf)

            def clock(r):
                t = start + r
                return t + jax.lax.stop_gradient(jnp.clip(t, low, high) - t)

        local = localise(self.terms, self.solver, clock, cell, self.grid.dt0, dtype)
        state = self.solver.init(local, r0, r1, carry.y, self.args)
        y1, error, dense_info, _, result = self.solver.step(
            local, r0, r1, carry.y, self.args, state, jnp.array(False)
        )
        dense = self.solver.interpolation_cls(t0=r0, t1=r1, **dense_info)
        return Interval(start, r1, y1, dense, result == dfx.RESULTS.successful, error)

    def _waits(self, cell: Int[Array, ""], r1: Scalar) -> Bool[Array, ""]:
        """Whether a jump at r1 is one at the start of the next cell: the noise has another slope
        there, and the border of the cells does not move with the jump."""
        return (r1 >= self.grid.length(cell, r1.dtype)) & (cell < self.grid.cells - 1)

    def _rounding(self, start: Scalar) -> Scalar:
        """By how much times of a cell may be rounded."""
        return 8 * float(jnp.finfo(start.dtype).eps) * (jnp.abs(start) + self.grid.dt0)

    def flow(self, carry: Carry, y: State, local: Scalar) -> State:
        """The smooth solution at `local`, if the carry's state were `y`."""
        here = eqx.tree_at(lambda c: c.y, carry, y)
        return self.interval(here).dense.evaluate(local)

    def _find(self, carry: Carry, start, r1, y1, dense):
        """The first crossing; whether it is grazing; whether the last event fires again; the event
        function at the start and the end."""
        r0, length = carry.offset, r1 - carry.offset

        along = _Along(self.event, self.args, start, r0, dense)
        e0 = self.event.fn(start + r0, carry.y, self.args)
        e1 = self.event.fn(start + r1, y1, self.args)
        e0 = self._left(carry, e0, e1, length)
        crossing, due = self._or_due(carry, self.crossing.first(along, length, e0, e1))
        e0_there = entry(e0, crossing.index)
        # By the rise up to the crossing; behind it a state may grow without bounds.
        scale = jnp.abs(jnp.where(e0_there == 0, entry(e1, crossing.index), e0_there))
        tolerance = float(jnp.finfo(length.dtype).eps) ** 0.5
        grazed = crossing.hit & ~due & (crossing.slope * length <= tolerance * scale)
        stuck = crossing.hit & (crossing.offset == 0) & (e0_there >= 0)
        again = stuck & (crossing.index == carry.last)
        again |= (carry.last >= 0) & (entry(e0, jnp.maximum(carry.last, 0)) > 0)
        return crossing, grazed, again, (e0, e1)

    def _left(self, carry: Carry, e0: Array, e1: Array, length: Scalar) -> Array:
        """The event function at the start, 0 where a coordinate has just fired and is above by no
        more than the rounding of that time: a ball that bounces is where it hit the ground."""
        if self.resets:
            return e0
        own = one_hot(jnp.maximum(carry.last, 0), e0.shape[0]) & (carry.last >= 0)
        rounding = 64 * float(jnp.finfo(length.dtype).eps) * self.grid.dt0
        near = (e0 > 0) & (e0 * length <= rounding * jnp.abs(e1 - e0))
        return jnp.where(own & near, 0, e0)

    def _or_due(self, carry: Carry, crossing: Crossing) -> tuple[Crossing, Bool[Array, ""]]:
        """The crossing, or one at once where a coordinate is due, and whether that is so."""
        if carry.due is None:
            return crossing, jnp.array(False)
        due, first = jnp.any(carry.due), jnp.argmax(carry.due).astype(crossing.index.dtype)
        now = Crossing(
            hit=jnp.array(True),
            offset=jnp.zeros_like(crossing.offset),
            index=first,
            slope=jnp.ones_like(crossing.slope),
        )
        return where_tree(due, now, crossing), due

    def _still_due(self, carry: Carry, t, left: State, k, values) -> Bool[Array, " events"] | None:
        """Which coordinates are due behind an event of `k` at `t`; `values` are those at the start
        and the end of the step."""
        if carry.due is None:
            return None
        e0, e1 = values
        rounding = 16 * float(jnp.finfo(t.dtype).eps)
        now = self.event.fn(t, left, self.args)
        # Where the first one is said to be at 0, by rounding just below.
        least = jnp.minimum(entry(now, k), 0)
        near = now >= least - rounding * jnp.maximum(jnp.abs(e0), jnp.abs(e1))
        tied = jnp.where(jnp.any(carry.due), carry.due, rises(e0, e1) & near)
        if self.silent:
            # These come one after the other: each has a time of its own.
            tied = tied & (jnp.arange(tied.shape[0]) < tied.shape[0] - self.silent)
        return tied & ~one_hot(k, tied.shape[0])

    def _driven(self, t, y: State, jump: Int[Array, ""], here: Bool[Array, ""]):
        """The state behind a jump of the drivers, and whether it brought an event about."""
        sizes = tuple(s[jump] for s in self.jumps)
        after = after_jump(self.terms, self.solver, t, y, self.args, sizes, here)
        before, now = (self.event.fn(t, z, self.args) for z in (y, after))
        return after, here & jnp.any((before <= 0) & (now > 0))

    def __call__(self, carry: Carry, x: None = None) -> tuple[Carry, Emitted]:
        """The next carry; `carry` itself if it is not live."""
        del x
        live = self.live(carry)
        start, r1, y1, dense, solved, error = self.interval(carry)
        crossing, grazed, again, values = self._find(carry, start, r1, y1, dense)
        hit, k, keep, control = crossing.hit, crossing.index, jnp.array(True), None
        if self.controller is not None:
            assert carry.control is not None and error is not None
            keep, good, control = self.controller.next(
                carry.control,
                start + carry.offset,
                r1 - carry.offset,
                carry.y,
                y1,
                self.args,
                error,
            )
            solved = solved & good & (carry.offset + carry.control.step > carry.offset)
            hit, grazed, again = hit & keep, grazed & keep, again & keep
            control = where_tree(live, control, carry.control)
        finite = jnp.all(jnp.stack([jnp.all(jnp.isfinite(x)) for x in jax.tree.leaves(y1)]))
        broken = keep & ~finite
        told, own = jnp.array(True), k
        if self.silent:
            told = k < carry.counts.shape[0]
            own = jnp.where(told, k, 0)
        number = entry(carry.counts, own) + 1
        u = self.labels.of(own, number, r1.dtype)
        overflow = hit & told & (carry.num_events >= self.max_events)
        abort = overflow | again | ~solved | broken
        step = live & ~abort & keep
        fires = step & hit
        offset = jnp.where(hit, carry.offset + crossing.offset, r1)
        offset = jnp.where(abort | ~keep, carry.offset, offset)
        left = dense.evaluate(offset)
        jumped = self.event.transition(start + offset, left, self.args, k, u)
        right = where_tree(fires, jumped, left)
        due = self._still_due(carry, start + offset, left, k, values)
        at_jump = jnp.array(False)
        if self.grid.jump_ts is not None:
            # The same subtraction as in `interval`, so that rounding cannot stall it.
            ahead, slack = self.grid.jump_ts[carry.jump] - start, self._rounding(start)
            here = ahead <= jnp.where(self._waits(carry.cell, r1), r1 - slack, r1 + slack)
            at_jump = step & ~hit & (here | (ahead <= carry.offset + slack))
        over = jnp.array(False)
        if self.jumps:
            right, over = self._driven(start + offset, right, carry.jump, at_jump)

        fault = jnp.where(grazed, GRAZED, OK)
        fault = jnp.where(over, JUMPED, fault)
        fault = jnp.where(overflow, OVERFLOW, fault)
        fault = jnp.where(again, RETRIGGERED, fault)
        fault = jnp.where(solved, fault, STEP_FAILED)
        fault = jnp.where(broken, NONFINITE, fault)
        fault = jnp.where(carry.fault == OK, fault, carry.fault)
        num_events = jnp.where(fires & told, carry.num_events + 1, carry.num_events)
        finished = abort
        if self.stop_after is not None:
            finished = finished | (num_events >= self.stop_after)

        ends_cell = step & ~hit
        jump = carry.jump
        if self.grid.jump_ts is not None:
            jump = jnp.where(at_jump, jump + 1, jump)
        if self.grid.jump_ts is not None or control is not None:
            ends_cell = ends_cell & (r1 >= self.grid.length(carry.cell, r1.dtype))
        new = Carry(
            cell=jnp.where(ends_cell, carry.cell + 1, carry.cell),
            offset=jnp.where(ends_cell, 0, offset),
            jump=jump,
            y=right,
            counts=jnp.where(one_hot(k, carry.counts.shape[0]) & fires, number, carry.counts),
            num_events=num_events,
            last=jnp.where(step, jnp.where(hit, k, -1), carry.last).astype(carry.last.dtype),
            fault=jnp.where(live, fault, carry.fault).astype(carry.fault.dtype),
            finished=carry.finished | (live & finished),
            due=where_tree(fires, due, carry.due),
            control=control,
        )
        begin = self.grid.start(carry.cell, r1.dtype)
        emitted = Emitted(
            time=jnp.where(step, begin + offset, jnp.inf),
            mark=jnp.where(fires & told, k, -1).astype(jnp.int32),
            origin=carry if self.emit_origin else None,
            left=left if self.emit_steps else None,
            right=right if self.emit_steps else None,
            piece=Piece.of(begin, carry.offset, dense, offset) if self.emit_dense else None,
        )
        return new, emitted

    def idle(self, carry: Carry) -> Emitted:
        """What an iteration emits that does nothing."""
        piece = None
        if self.emit_dense:
            made = lambda at: Piece.of(at, at, self.interval(carry).dense, at)
            shapes = eqx.filter_eval_shape(made, carry.offset)
            piece = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
        return Emitted(
            time=jnp.full_like(carry.offset, jnp.inf),
            mark=jnp.array(-1, jnp.int32),
            origin=carry if self.emit_origin else None,
            left=carry.y if self.emit_steps else None,
            right=carry.y if self.emit_steps else None,
            piece=piece,
        )
