"""The neurons of one group in one cell: their motion, and the first spike of each."""

import abc
from typing import TYPE_CHECKING, Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from .._event.crossing import first_of_pieces
from .._misc import at_least, at_most
from .._model.firing import HardThreshold
from .._model.layout import Group
from .._model.state import PopulationState
from .._solve.step import GRAZED, OK, OUTSIDE, RETRIGGERED
from .._types import Scalar
from .cell_parts import ArrivalCell, Line, Motion, PortCell, Quadratic, filled
from .cell_state import GroupCarry, GroupInput
from .delivery import ByMoments, Response
from .linear import assembled, components, state_shapes
from .phis import Vector, added

if TYPE_CHECKING:
    from typing import ClassVar as AbstractVar
else:
    from equinox import AbstractVar

# A fault beside those of `_solve.step`: spikes of a neuron that the cells cannot keep up with.
CROWDED = OUTSIDE + 1
# By how many cells a spike may be found late.
LATE = 4
# In the middle of a cell the parabola in place of a Brownian motion W has the variance 3h/16 about
# the chord, W has h/4: what it bends v by there is to grow by the factor sqrt(4/3). A parabola that
# bends v by x changes v' by -8 x/h along the cell.
STRETCH = ((4 / 3) ** 0.5 - 1) / 8


class Spikes(NamedTuple):
    """The spikes of a cell, at most one of each neuron, and the neurons at the cell's end."""

    hit: Bool[Array, " neurons"]
    offset: Float[Array, " neurons"]
    fault: Array
    # When the neurons may fire, after the cell's end; `None` without refractoriness.
    hold: Array | None
    # How long ago the hidden state started: at the spike, the end of the refractory time, or the
    # cell's start.
    since: Float[Array, " neurons"]
    x: list[Array]
    s: Array | None
    # The potential that the hazard sees at the end, and the hazard.
    v: Array
    hazard: Array | None
    # Of given spikes.
    density: tuple[Array, Array] | None
    # What the motion behind the spikes began with.
    start: Any


class CellTime(NamedTuple):
    """The length of a cell, how late its spikes may be, and what the clock shows at its start."""

    length: Scalar
    late: Scalar
    clock: Scalar


class First(NamedTuple):
    """The hidden state at the end of a cell without spikes, which neurons fire by themselves and
    when, and faults."""

    s_end: Array | None
    hit: Bool[Array, " neurons"]
    offset: Float[Array, " neurons"]
    fault: Array

    @classmethod
    def none(cls, like: Array, s_end: Array | None = None) -> "First":
        """Of no neuron."""
        return cls(s_end, jnp.zeros(like.shape, bool), jnp.zeros_like(like), jnp.int32(OK))


class Fired(NamedTuple):
    """Which neurons fired and when, at the cell's end where they did not; when refractory times
    end then, `None` without them."""

    hit: Bool[Array, " neurons"]
    offset: Float[Array, " neurons"]
    free_at: Float[Array, " neurons"] | None


class After(NamedTuple):
    """The neurons behind their spikes."""

    # The potential where those that fired are free to fire again.
    v_free: Array
    # The components of the state at the cell's end, and the potential that the hazard sees there.
    x: list[Array]
    v: Array
    start: Any = None


def trapezoid(s: Array, length: Array, start: Array, end: Array) -> Array:
    """The hidden state after a time over which the hazard is linear."""
    return s + length / 2 * (start + end)


class AbstractGroupCell(eqx.Module):
    """A group, and how its neurons move over cells of one length.

    The motion is that of numbers, each a quadratic in time: of the components of the state, or of
    what steps are made in instead (a `Motion`); or it is exact (an `ExactMotion`).
    """

    group: AbstractVar[Group]
    ports: AbstractVar[dict[str, PortCell]]
    arrivals: AbstractVar[dict[str, ArrivalCell]]
    # How the neurons respond to arrivals from their own level, at each port.
    responses: AbstractVar[dict[str, Response | ByMoments]]
    dt0: AbstractVar[float]

    @abc.abstractmethod
    def smooth(
        self,
        y: PopulationState,
        x: GroupInput,
        arrivals: dict[str, Any],
        time: CellTime,
    ) -> tuple[Any, dict]:
        """The cell without spikes, and the ports at its end; `arrivals` at each port are moments of
        shape `(3, neurons)`, or, for exact motion, lists of `SpikeArrivals`."""

    @abc.abstractmethod
    def flat(self, y: PopulationState) -> Any:
        """No motion at all."""

    @abc.abstractmethod
    def potential(self, x: list[Array]) -> Array:
        """What the firing rule reads of the numbers that move."""

    def first(
        self,
        carry: GroupCarry,
        motion: Any,
        time: CellTime,
        begin: Array | None,
        *,
        bent: bool,
        known: Array | None,
        free: bool,
    ) -> First:
        """The first spike of each neuron that is free at the time `begin`, if neurons fire by
        themselves; if a search has found them before, they are `known`."""
        del known
        s_end, levels, slopes = self._events(carry.y.s, motion, time, bent, begin)
        if not free:
            return First.none(slopes[0], s_end)
        return First(s_end, *self._crossing(levels, slopes, time, carry.hold))

    def landed(self, motion: Any, hit: Array, offset: Array, begin) -> tuple[Array, list[Array]]:
        """The times of spikes, known more closely if that can be, and the numbers there."""
        del hit, begin
        return offset, [q.of_all(offset, offset) for q in motion.state]

    @abc.abstractmethod
    def after(self, motion: Any, there: list[Array], fired: Fired, time: CellTime) -> After:
        """What becomes of neurons that moved to `there`, and fired."""

    @abc.abstractmethod
    def delivered(
        self, y: PopulationState, found: Spikes, time: CellTime, received: dict[str, Any]
    ) -> PopulationState:
        """The state at the cell's end with what arrived from neurons of this level."""

    def ports_over(
        self,
        y: PopulationState,
        x: GroupInput,
        arrivals: dict[str, Float[Array, "3 neurons"]],
    ) -> tuple[dict[str, Line], dict]:
        """What each port lets out over the cell, and the ports at its end."""
        lines, ports = {}, {}
        for name, port in self.ports.items():
            g = components(y.ports[name])
            none: Vector = [None] * len(g)
            n = none if x.noise is None else x.noise.ports[name]
            d = none if x.change is None else x.change.ports[name]
            end, lines[name] = port(g, n, d)
            if name in arrivals:
                came, more = self.arrivals[name](arrivals[name])
                end, lines[name] = added(end, came), lines[name].plus(more)
            ports[name] = self.port_state(name, filled(end, g))
        return lines, ports

    def port_state(self, name: str, values: list[Array]):
        """The state of a port from its components."""
        return assembled(state_shapes(self.group.ports[name], values[0].dtype), values)

    def state(self, values: list[Array]):
        """The state of the neurons from its components."""
        return assembled(state_shapes(self.group.neuron, values[0].dtype), values)

    def level(self, v: Array) -> Array:
        """The event function of a hard threshold."""
        assert isinstance(self.group.firing, HardThreshold)
        return v - self.group.firing.threshold

    def _events(self, s, motion: Motion, time: CellTime, bent: bool, begin: Array | None):
        """The hidden state at the cell's end, and for each piece of the cell: the event function
        at its borders and its slope at its start; from `begin` on, if that is not the start."""
        path, length = motion.potential, time.length
        assert path.a is not None
        end = path.of_all(length, path.a)
        first = 0.0 if begin is None else begin
        start = self._stretched(motion, begin, length) if bent else self._at(path, begin)
        slope = jnp.zeros_like(start) if path.b is None else path.b
        if begin is not None and path.c is not None:
            slope = slope + 2 * path.c * begin
        if self.group.hazard is None:
            return None, [self.level(start), self.level(end)], [slope]
        rate = lambda r, v: self.group.rate(time.clock + r, v)
        levels, slopes, step = [s], [rate(first, start)], length - first
        if bent:
            step = step / 2
            middle = first + step
            slopes.append(rate(middle, self._stretched(motion, middle, length)))
            levels.append(trapezoid(s, step, *slopes))
        end = end if motion.shift is None else end + motion.shift
        s_end = trapezoid(levels[-1], step, slopes[-1], rate(length, end))
        return s_end, [*levels, s_end], slopes

    def _at(self, path: Quadratic, r: Array | None) -> Array:
        assert path.a is not None
        return path.a if r is None else path.of_all(r, path.a)

    def _stretched(self, motion: Motion, r: Array | None, length: Scalar) -> Array:
        """The potential at a time, with the variance of a Brownian motion."""
        v = self._at(motion.potential, r)
        if motion.bend is None or r is None:
            return v
        # Of a parabola that is 1 in the middle.
        return v - STRETCH * length * motion.bend * (4 * r * (length - r) / length**2)

    def _crossing(self, levels, slopes, time: CellTime, hold: Array | None):
        """Which neurons fire by themselves, when, and which have a fault; none before the end of
        its `hold`."""
        begin, late, free, limited = 0.0, time.late, jnp.array(True), jnp.array(False)
        if hold is not None:
            begin, free = at_most(at_least(hold, 0), time.length), hold < time.length
            late = at_least(at_most(-hold, time.late), 0)
            limited = late < time.late
        length = time.length - begin
        crosses, inside, speed = first_of_pieces(length, levels, slopes)
        level, level_end, b = levels[0], levels[-1], slopes[0]
        overdue = (level > 0) & free
        moving = overdue & (b > 0)
        before = jnp.where(moving, level, 0) / jnp.where(moving, b, 1)
        crowded = overdue & (before > LATE * self.dt0) & (time.late > 0) & ~limited
        offset = begin + jnp.where(overdue, -at_most(before, late), inside)
        scale = jnp.maximum(jnp.abs(level), jnp.abs(level_end))
        rounding = float(jnp.finfo(level.dtype).eps) ** 0.5
        grazed = crosses & (speed * length <= rounding * scale)
        fault = jnp.where(crowded, CROWDED, jnp.where(grazed, GRAZED, OK))
        return crosses | overdue, offset, fault

    def spikes(
        self,
        carry: GroupCarry,
        motion: Any,
        time: CellTime,
        *,
        bent: bool,
        observed: Bool[Array, " neurons"] | None,
        given: Float[Array, " neurons"] | None,
        known: Float[Array, " neurons"] | None,
        free: bool,
    ) -> Spikes:
        """The first spike of each neuron, and where that leaves it at the cell's end."""
        group, s, length, hold = self.group, carry.y.s, time.length, carry.hold
        hazard = group.hazard
        begin = None if hold is None else at_most(at_least(hold, 0), length)
        v = motion.potential.a
        assert v is not None
        found = First.none(v)
        if group.firing is not None:
            found = self.first(carry, motion, time, begin, bent=bent, known=known, free=free)
        s_end, hit, offset, fault = found
        if observed is not None:
            hit, fault = hit & ~observed, jnp.where(observed, OK, fault)
        if given is not None:
            told = jnp.isfinite(given)
            hit, offset = hit | told, jnp.where(told, given, offset)
        offset, there = self.landed(motion, hit, jnp.where(hit, offset, length), begin)

        # The hidden state starts again where the refractory time ends.
        free_at = None
        if hold is not None:
            assert group.refractory is not None
            hold = jnp.where(hit, offset + group.refractory.astype(v.dtype), hold)
            free_at = jnp.where(hit, at_most(hold, length), offset)
            hold = at_least(hold - length, -LATE * self.dt0)
        after = self.after(motion, there, Fired(hit, offset, free_at), time)
        again = offset if free_at is None else free_at
        whole = length if begin is None else length - begin
        since = jnp.where(hit, length - again, whole)
        density, hazard_end = None, None
        if hazard is not None:
            assert s is not None and s_end is not None and carry.u is not None
            rate = lambda r, v: group.rate(time.clock + r, v)
            hazard_end = rate(length, after.v)
            drawn = group.threshold(carry.u)
            if observed is not None:
                at_spike = self.potential(there)
                first = 0.0 if begin is None else begin
                v_first = self._at(motion.potential, begin)
                ahead = trapezoid(s, offset - first, rate(first, v_first), rate(offset, at_spike))
                log_rate = group.log_rate(time.clock + offset, at_spike)
                if carry.hold is not None:
                    refractory = hit & (offset < carry.hold)
                    log_rate = jnp.where(refractory, -jnp.inf, log_rate)
                    ahead = jnp.where(refractory, s, ahead)
                # Not below 0 by rounding, or by the error of a second spike in a cell.
                density = at_least(ahead, 0), log_rate
                drawn = jnp.where(observed, jnp.zeros_like(s), drawn)
            s = jnp.where(hit, drawn, s)
            rest = trapezoid(s, since, rate(again, after.v_free), hazard_end)
            s_end = jnp.where(hit, rest, s_end)
        if group.firing is not None:
            level = self.level(after.v_free) if hazard is None or s is None else s
            # Behind a refractory time that is another spike.
            stays = hit & (level > 0) & (again <= offset)
            fault = jnp.max(jnp.where(stays, RETRIGGERED, fault))
        fault = jnp.max(fault).astype(jnp.int32)
        return Spikes(
            hit=hit,
            offset=offset,
            fault=fault,
            hold=hold,
            since=since,
            x=after.x,
            s=s_end,
            v=after.v,
            hazard=hazard_end,
            density=density,
            start=after.start,
        )
