r"""Linear neurons without noise in a cell: their exact motion, and crossings on it.

**Motion.** Neurons and ports are one linear system, $\dot z = A z + b$ (see `joint.py`), in which a
spike that arrives with weight w adds w u. At the end of a cell that is known before it begins:
$z(h) = z_0(h) + \sum_j w_j\,e^{A (h - t_j)}u$. The function of $h - t_j$ is a sum of polynomials
(see `flow.py`), so that only the sums of these are taken over spikes, whatever the targets are.

**Search.** From arrival to arrival, each neuron by itself, on the Taylor polynomial of its
potential (see `_event/polynomial.py`): the first crossing is found wherever it is.

**Derivative.** The search has none. At a crossing r the state is made again from what arrived
before it, $z(r) = e^{-A (h - r)}(z_0(h) + \sum_{t_j \le r}\dots)$, and two steps of Newton's there
have the derivatives of the root; a jump $\Delta$ adds $e^{A (h - r)}\Delta$ at the end.
"""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from .._event.polynomial import search
from .._model.firing import HardThreshold
from .._model.layout import Group
from .._model.state import PopulationState
from .._solve.step import GRAZED, OK
from .._types import Scalar
from .arrivals import FromSource, SpikeArrivals
from .cell_parts import ArrivalCell, PortCell, Quadratic, filled
from .cell_state import GroupInput
from .exact_crossing import DEGREE, REACH, Root, polynomials
from .flow import Flow, weighted
from .group_cell import CROWDED, AbstractGroupCell, After, CellTime, Fired, First
from .joint import Joint
from .linear import Matrices, components
from .phis import Vector, added, entries, times
from .sources import Arriving


class Exact(eqx.Module):
    """What a cell map needs to move exactly: the spikes of sources, and whether the drive may
    change along a cell."""

    sources: tuple[Arriving, ...]
    bent: bool = eqx.field(static=True)


class ExactMotion(NamedTuple):
    """A cell before its spikes: what it begins with, its end, and what arrives at each port."""

    z: list[Array]
    end: list[Array]
    force: Vector
    turn: Vector | None
    came: dict[str, list[SpikeArrivals | FromSource]]
    potential: Quadratic
    # `None` where there is no cell.
    length: Scalar | None


class _Way(NamedTuple):
    """How far the search has come: where each neuron is, and from when on it may fire; whether it
    fired, when, and what is wrong with that."""

    t: Array
    z: list[Array]
    free_at: Array
    hit: Bool[Array, " neurons"]
    r: Array
    fault: Int[Array, " neurons"]


class ExactGroupCell(AbstractGroupCell):
    """A group of linear neurons and synapses with hard thresholds, or none, without noise."""

    group: Group
    ports: dict[str, PortCell]
    arrivals: dict[str, ArrivalCell]
    responses: dict[str, Any]
    joint: Joint
    gain: Vector
    shift: Vector
    # What arrives at each port adds to the components.
    units: dict[str, list[Array]]
    flow: Flow
    # What is left of that after a time, as coefficients of polynomials.
    left: dict[str, list[Float[Array, " polynomials *neurons"]]]
    reads: Array
    dt0: float = eqx.field(static=True)
    bent: bool = eqx.field(static=True)

    @classmethod
    def of(
        cls, group: Group, matrices: Matrices, length: Scalar, dt0: float, bent: bool
    ) -> "ExactGroupCell":
        """For cells of this length; with a drive that may change along a cell if it is `bent`."""
        joint = Joint.of(group, length.dtype)
        m, width = matrices.neuron, len(joint.matrix)
        own = len(m.gains)
        flow, units, left, first = Flow.of(joint, dt0, bent), {}, {}, own
        shape = () if flow.is_shared else (group.size,)
        for name, port in matrices.ports.items():
            column = [x[0] for x in entries(port.gain[..., :, None], [(g,) for g in port.gains])]
            unit: Vector = [None] * first + column + [None] * (width - first - len(column))
            units[name] = filled(unit, [jnp.zeros(shape, length.dtype)] * width)
            left[name] = flow.responses(units[name])
            first += len(column)
        gain = [m.gain[..., k] if g else None for k, g in enumerate(m.gains)]
        shift = [m.shift[..., k] for k in range(own)]
        terms = DEGREE[length.dtype.itemsize]
        reads = polynomials(joint, dt0, terms)
        return cls(group, {}, {}, {}, joint, gain, shift, units, flow, left, reads, dt0, bent)

    def smooth(
        self, y: PopulationState, x: GroupInput, arrivals: dict[str, Any], time: CellTime
    ) -> tuple[Any, dict]:
        """See `AbstractGroupCell`."""
        start, end = x.drive
        ports = [a for name in self.group.ports for a in components(y.ports[name])]
        z, none = [*components(y.neuron), *ports], [None] * len(ports)
        force = [*added([times(g, start) for g in self.gain], self.shift), *none]
        turn = None
        if self.bent:
            by = jnp.where(time.length > 0, time.length, 1)
            turn = [*(times(g, (end - start) / by) for g in self.gain), *none]
        z_end = self.joint.moved(z, force, turn, time.length)
        z_end = self._with(z_end, self._sums(arrivals, None, time.length))
        rest, ends = z_end[len(self.gain) :], {}
        for name in self.group.ports:
            number = len(components(y.ports[name]))
            ends[name], rest = self.port_state(name, rest[:number]), rest[number:]
        return self._motion(z, z_end, force, turn, arrivals, time.length), ends

    def flat(self, y: PopulationState) -> Any:
        """See `AbstractGroupCell`."""
        ports = [a for name in self.group.ports for a in components(y.ports[name])]
        z = [*components(y.neuron), *ports]
        return self._motion(z, z, [None] * len(z), None, {}, None)

    def _motion(self, z, end, force, turn, came, length) -> ExactMotion:
        here = Quadratic(self.potential(z[: len(self.gain)]), None, None)
        return ExactMotion(z, end, force, turn, came, here, length)

    def _sums(
        self,
        came: dict[str, list[SpikeArrivals | FromSource]],
        until: Array | None,
        length: Scalar | None,
    ) -> list[list[Array]]:
        """What arrives until a time adds to the components at the end of the cell."""
        found = []
        for name, each in came.items():
            left = self.left[name]
            shared = left[0].ndim == 1

            def sources(t, left=left, shared=shared):
                at = self.flow.polynomials(length - t)
                # The responses themselves, where all targets have the same.
                return [weighted(x, at) for x in left] if shared else list(at)

            for one in each:
                sums = one.sums(None, until, sources)
                found.append(sums if shared else [weighted(x, jnp.stack(sums)) for x in left])
        return found

    def _with(self, z: list[Array], more: list[list[Array]]) -> list[Array]:
        return filled(added(z, *more), z)

    def potential(self, x: list[Array]) -> Array:
        """See `AbstractGroupCell`."""
        read = self.joint.read(x)
        level = jnp.broadcast_to(self.joint.level, x[0].shape)
        return level if read is None else read + level

    def first(self, carry, motion: Any, time: CellTime, begin, nodes, *, known):
        """See `AbstractGroupCell`."""
        del nodes
        none = First.none(motion.potential.a)
        if not isinstance(self.group.firing, HardThreshold):
            return none
        if known is not None:
            hit = jnp.isfinite(known)
            return none._replace(hit=hit, offset=jnp.where(hit, known, 0))
        held = jax.lax.stop_gradient((self, motion, carry.hold, begin, time.length))
        way = _searched(*held)
        return First(way.hit, way.r, way.fault)

    def landed(self, motion: Any, hit, offset, begin):
        """The roots near the offsets, with their derivatives, and the state there."""
        own, length = len(self.gain), motion.length
        if not isinstance(self.group.firing, HardThreshold):
            return offset, motion.end[:own]
        r = jax.lax.stop_gradient(offset)
        z = self.flow.moved(motion.z, motion.force, motion.turn, r)
        came = self._sums(motion.came, r, length)
        zero = [jnp.zeros_like(a) for a in z]
        if came:
            late = self._with(zero, came)
            z = self._with(z, [self.flow.moved(late, [None] * len(z), None, r - length)])
        turn, none = motion.turn, [None] * len(z)
        now = motion.force if turn is None else added(motion.force, [times(a, r) for a in turn])
        slopes = filled(self.joint.slope(z, now), z)
        bends = filled(self.joint.slope(slopes, none if turn is None else turn), z)
        near = Root.of(self.joint, self.group.firing.threshold, z, slopes, bends, self.dt0)
        root = r + jnp.where(hit, near.step, 0)
        first = jnp.zeros_like(r) if begin is None else begin
        root = root + jax.lax.stop_gradient(jnp.clip(root, first, length) - root)
        if begin is not None:
            # What is above its threshold when it is free fires just then.
            root = jnp.where(hit & ~near.crosses & (r == begin), begin, root)
        step = root - r
        z = [a + step * (b + step * c / 2) for a, b, c in zip(z, slopes, bends, strict=True)]
        return root, z[:own]

    def after(self, motion: Any, there: list[Array], fired: Fired, time: CellTime) -> After:
        """See `AbstractGroupCell`."""
        spiked = components(self.group.spike(self.state(there)))
        jump = [jnp.where(fired.hit, b - a, 0) for a, b in zip(there, spiked, strict=True)]
        own, width = len(self.gain), len(motion.z)
        free = self.potential([a + b for a, b in zip(there, jump, strict=True)])
        jump = [*jump, *(jnp.zeros_like(a) for a in motion.z[own:])]
        left = self.flow.moved(jump, [None] * width, None, time.length - fired.offset)
        x = [a + b for a, b in zip(motion.end[:own], left[:own], strict=True)]
        return After((free, None, self.potential(x)), x)

    def delivered(self, y, found, time, received):
        """See `AbstractGroupCell`."""
        del found, time
        assert not received
        return y


def _arrived(part: ExactGroupCell, motion: Any, z: list[Array], after, until):
    """The state with what arrives after a time and until another one, as if it came at once."""
    for name, each in motion.came.items():
        for one in each:
            (came,) = one.sums(after, until, lambda t: [jnp.ones_like(t)])
            z = [a + came * u for a, u in zip(z, part.units[name], strict=True)]
    return z


def _searched(part: ExactGroupCell, motion: Any, hold, begin, length: Scalar) -> _Way:
    """The first crossing of each neuron."""
    joint, group, force, turn = part.joint, part.group, motion.force, motion.turn
    size, dtype = motion.z[0].shape, motion.z[0].dtype
    zero, none = jnp.zeros(size, dtype), jnp.zeros(size, bool)
    free_at = zero if begin is None else begin
    if hold is not None:
        free_at = jnp.where(hold < length, free_at, jnp.inf)
    refractory = 0.0 if group.refractory is None else group.refractory.astype(dtype)
    own, reach = len(part.gain), REACH / jnp.maximum(joint.radius, REACH / part.dt0)
    degrees = jnp.arange(1, part.reads.shape[0] + 1, dtype=dtype)[:, None]
    arrivals = [one for each in motion.came.values() for one in each]
    level = lambda z: part.level(part.potential(z[:own]))
    assert isinstance(group.firing, HardThreshold)
    threshold = group.firing.threshold

    def spiked(way: _Way, hit: Array, r: Array, z: list[Array]) -> _Way:
        """With spikes at times r, in the states z."""
        after = components(group.spike(part.state(z[:own])))
        moved = [jnp.where(hit, a, b) for a, b in zip(after, way.z, strict=False)]
        moved += [jnp.where(hit, a, b) for a, b in zip(z[own:], way.z[own:], strict=True)]
        twice = hit & way.hit
        t = jnp.where(hit, jnp.where(twice, jnp.inf, r), way.t)
        free = jnp.where(hit, r + refractory, way.free_at)
        first = jnp.where(hit & ~way.hit, r, way.r)
        fault = jnp.maximum(way.fault, jnp.where(twice, CROWDED, OK))
        return _Way(t, moved, free, way.hit | hit, first, fault)

    def released(way: _Way) -> _Way:
        """Those that are above their thresholds when they are free fire at once."""
        above = (level(way.z) > 0) & (way.t >= way.free_at)
        return spiked(way, above, way.t, way.z)

    def piece(way: _Way) -> _Way:
        t, z = way.t, way.z
        stop = jnp.minimum(t + reach, length)
        stop = jnp.where(t < way.free_at, jnp.minimum(stop, way.free_at), stop)
        for one in arrivals:
            stop = jnp.minimum(stop, one.next_after(t))
        moves = t < length
        span = jnp.where(moves, stop - t, 0)
        now = force if turn is None else added(force, [times(a, t) for a in turn])
        slope = jnp.stack(filled(joint.slope(z, now), z))
        terms = jnp.sum(part.reads * slope[None], 1)
        if turn is not None:
            bend = jnp.stack(filled(turn, z)) * part.dt0
            number = jnp.arange(2, len(part.reads) + 1, dtype=dtype)[:, None, None]
            terms = terms.at[1:].add(jnp.sum(part.reads[:-1] / number * bend[None], 1))
        ratio = jnp.where(span > 0, span / part.dt0, 1)
        powers = jnp.exp(degrees * jnp.log(ratio)[None])
        there = joint.moved(z, now, turn, span)
        e0, e1 = level(z), level(there)
        can = moves & (t >= way.free_at) & (span > 0)
        found = search(jnp.concatenate([e0[None], terms * powers]), e1, can, every=True)
        # With what arrives at its end.
        there = _arrived(part, motion, there, t, stop)
        there = [jnp.where(moves, a, b) for a, b in zip(there, z, strict=True)]
        # Of a spike nothing behind it counts.
        hit, x = found.found, jnp.where(found.found, found.x, 0) * span
        at = joint.moved(z, now, turn, x)
        force_there = now if turn is None else added(now, [times(a, x) for a in turn])
        moving = filled(joint.slope(at, force_there), z)
        bends = joint.slope(moving, [None] * len(z) if turn is None else turn)
        near = Root.of(joint, threshold, at, moving, bends, part.dt0)
        fault = jnp.maximum(way.fault, jnp.where(hit & ~near.crosses, GRAZED, OK))
        on = way._replace(t=jnp.where(moves, stop, t), z=there, fault=fault)
        return released(spiked(on, hit, t + x, at))

    z = _arrived(part, motion, motion.z, None, zero)
    start = _Way(zero, z, free_at, none, zero, jnp.full(size, OK, jnp.int32))
    if motion.length is None:
        return released(start)
    more = lambda way: jnp.any(way.t < length)
    return jax.lax.while_loop(more, piece, released(start))
