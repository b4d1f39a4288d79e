"""The neurons of one group in one cell: their motion, and the first spike of each."""

import abc
import functools
from typing import TYPE_CHECKING, Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from .._event.crossing import first_of_pieces
from .._misc import at_least, at_most, made_once
from .._model.firing import HardThreshold
from .._model.layout import Group
from .._model.state import PopulationState
from .._solve.step import GRAZED, OK, OUTSIDE, RETRIGGERED
from .._types import Scalar
from .approach import Approach
from .cell_hazard import CellHazard, Nodes, ellipse, simpson
from .cell_parts import ArrivalCell, Line, Motion, PortCell, filled
from .cell_state import GroupCarry, GroupInput
from .delivery import ByMoments, Response
from .linear import assembled, components, state_shapes
from .phis import Entry, Vector, added

if TYPE_CHECKING:
    from typing import ClassVar as AbstractVar
else:
    from equinox import AbstractVar

# A fault beside those of `_solve.step`: spikes of a neuron that the cells cannot keep up with.
CROWDED = OUTSIDE + 1
# By how many cells a spike may be found late.
LATE = 4


class Spikes(NamedTuple):
    """The spikes of a cell, at most one of each neuron, and the neurons at the cell's end."""

    hit: Bool[Array, " neurons"]
    offset: Float[Array, " neurons"]
    fault: Array
    # When the neurons may fire, after the cell's end; `None` without refractoriness.
    hold: Array | None
    x: list[Array]
    # The hidden state where the last part of the cell begins: at the spike, the end of the
    # refractory time, or the cell's start; and that part.
    s: Array | None
    last: Nodes | None
    # How they came to given spikes.
    approach: Approach | None
    # What the motion behind the spikes began with.
    start: Any


class CellTime(NamedTuple):
    """The length of a cell, how late its spikes may be, and what the clock shows at its start."""

    length: Scalar
    late: Scalar
    clock: Scalar


class First(NamedTuple):
    """Which neurons fire by themselves and when, and faults."""

    hit: Bool[Array, " neurons"]
    offset: Float[Array, " neurons"]
    fault: Array

    @classmethod
    def none(cls, like: Array) -> "First":
        """Of no neuron."""
        return cls(jnp.zeros(like.shape, bool), jnp.zeros_like(like), jnp.int32(OK))


class Fired(NamedTuple):
    """Which neurons fired and when, at the cell's end where they did not; when refractory times
    end then, `None` without them."""

    hit: Bool[Array, " neurons"]
    offset: Float[Array, " neurons"]
    free_at: Float[Array, " neurons"] | None


class After(NamedTuple):
    """The neurons behind their spikes."""

    # The potential where those that fired are free to fire again, half way from there, where there
    # is a hazard, and at the end.
    v: tuple[Array, Array | None, Array]
    # The components of the state at the cell's end.
    x: list[Array]
    start: Any = None


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
        nodes: Nodes | None,
        *,
        known: Array | None,
    ) -> First:
        """The first spike of each neuron that is free at the time `begin`, by its hazards at the
        nodes, if it has any; if a search has found them before, they are `known`."""
        del known
        if nodes is None:
            length = time.length if begin is None else time.length - begin
            (start, end), slope = self._levels(motion, time.length, begin)
            found = first_of_pieces(length, [start, end], [slope])
        else:
            assert carry.y.s is not None
            hazard = CellHazard(nodes.r[0], nodes.length, *self._rates(nodes, time))
            start, slope = carry.y.s, hazard.start
            found, end = hazard.crossing(start), start + hazard.total
        return First(*self._crossing(found, start, end, slope, time, carry.hold))

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
        """The state at the cell's end with what arrived from neurons of this level, and what the
        hidden states are there."""

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

    def _levels(self, motion: Motion, length: Scalar, begin: Array | None):
        """The event function of a hard threshold at both ends of a cell, and its slope at the
        start; from `begin` on, if that is not the start."""
        path = motion.potential
        assert path.a is not None
        start = path.a if begin is None else path.of_all(begin, path.a)
        slope = jnp.zeros_like(start) if path.b is None else path.b
        if begin is not None and path.c is not None:
            slope = slope + 2 * path.c * begin
        return (self.level(start), self.level(path.of_all(length, path.a))), slope

    def _nodes(self, motion: Motion, length: Scalar, begin: Array | None) -> Nodes:
        """Of a cell without spikes, from `begin` on, if that is not the start."""
        first = jnp.zeros_like(length) if begin is None else begin
        like, times = motion.potential.a, (first, (first + length) / 2, length)
        assert like is not None
        at = lambda r: motion.potential.of_all(r, like)
        start = like if begin is None else at(begin)
        return Nodes(times, (start, at(times[1]), at(length)), self._apart(motion, times[1]))

    def _apart(self, motion: Motion, r: Array) -> Array | None:
        """How far apart hazards are read at a time, see `apart_of`."""
        return None if motion.apart is None else motion.apart * ellipse(r, self.dt0)

    def _crossing(
        self, found, level: Array, level_end: Array, slope: Array, time: CellTime, hold
    ) -> tuple[Array, Array, Array]:
        """Which neurons fire by themselves, when, and which have a fault; none before the end of
        its `hold`. They are `found` to cross, rise from `level` to `level_end`, and with `slope` at
        the start."""
        begin, late, free, limited = 0.0, time.late, jnp.array(True), jnp.array(False)
        if hold is not None:
            begin, free = at_most(at_least(hold, 0), time.length), hold < time.length
            late = at_least(at_most(-hold, time.late), 0)
            limited = late < time.late
        length = time.length - begin
        crosses, inside, speed = found
        overdue = (level > 0) & free
        moving = overdue & (slope > 0)
        before = jnp.where(moving, level, 0) / jnp.where(moving, slope, 1)
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
        observed: Bool[Array, " neurons"] | None,
        given: Float[Array, " neurons"] | None,
        known: Float[Array, " neurons"] | None,
        free: bool,
    ) -> Spikes:
        """The first spike of each neuron, and where that leaves it at the cell's end."""
        group, s, length, hold = self.group, carry.y.s, time.length, carry.hold
        begin = None if hold is None else at_most(at_least(hold, 0), length)
        v = motion.potential.a
        assert v is not None
        nodes = None if group.hazard is None else self._nodes(motion, length, begin)
        hit, offset, fault = First.none(v)
        if group.firing is not None and free:
            hit, offset, fault = self.first(carry, motion, time, begin, nodes, known=known)
        # All that a spike does is made from it.
        offset = made_once(offset, length >= 0)
        if observed is not None:
            hit, fault = hit & ~observed, jnp.where(observed, OK, fault)
        if given is not None:
            told = jnp.isfinite(given)
            hit, offset = hit | told, jnp.where(told, given, offset)
        offset, there = self.landed(motion, hit, jnp.where(hit, offset, length), begin)

        approach = None
        if nodes is not None and observed is not None:
            assert s is not None
            approach = Approach.of(s, nodes, motion.apart, hold)
        # The hidden state starts again where the refractory time ends.
        free_at = None
        if hold is not None:
            assert group.refractory is not None
            hold = jnp.where(hit, offset + group.refractory.astype(v.dtype), hold)
            free_at = jnp.where(hit, at_most(hold, length), offset)
            hold = at_least(hold - length, -LATE * self.dt0)
        after = self.after(motion, there, Fired(hit, offset, free_at), time)
        again = offset if free_at is None else free_at
        start, middle, end = after.v
        if nodes is not None:
            assert s is not None and carry.u is not None
            drawn = group.threshold(carry.u)
            if observed is not None:
                drawn = jnp.where(observed, jnp.zeros_like(s), drawn)
            s = jnp.where(hit, drawn, s)
            assert middle is not None
            at = again, (again + length) / 2, length
            ahead = Nodes(at, (start, middle, end), self._apart(motion, at[1]))
            nodes = jax.tree.map(functools.partial(jnp.where, hit), ahead, nodes)
        if group.firing is not None:
            level = self.level(start) if nodes is None or s is None else s
            # Behind a refractory time that is another spike.
            stays = hit & (level > 0) & (again <= offset)
            fault = jnp.max(jnp.where(stays, RETRIGGERED, fault))
        fault = jnp.max(fault).astype(jnp.int32)
        return Spikes(
            hit=hit,
            offset=offset,
            fault=fault,
            hold=hold,
            x=after.x,
            s=s,
            last=nodes,
            approach=approach,
            start=after.start,
        )

    def risen(
        self, found: Spikes, time: CellTime, middle: Entry = None, end: Entry = None
    ) -> Array | None:
        """The hidden states at the end of the cell, where what arrived adds so much to the
        potentials in the middle of its last part and at the end."""
        if found.last is None:
            return None
        assert found.s is not None
        start, *v = found.last.v
        half, last = (a if b is None else a + b for a, b in zip(v, (middle, end), strict=True))
        nodes = found.last._replace(v=(start, half, last))
        return found.s + nodes.length * simpson(*self._rates(nodes, time))

    def _rates(self, nodes: Nodes, time: CellTime) -> list[Array]:
        """The hazards at these nodes."""
        return nodes.rates(lambda r, v: self.group.rate(time.clock + r, v))
