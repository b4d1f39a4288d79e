r"""Neurons that are not linear in a cell: steps of order two.

With the input of the cell known, as straight lines, a neuron is $\dot z = f(r, z) + g(z)\,\dot x$:
Heun's rule, with the mean slope of the noise, so that its second stage has the right distribution;
in coordinates the midpoint rule, as an upstroke may be much shorter than the cell. Where the noise
is bent its area acts besides, by $h A\,(f' g - g' f)$ (see Foster, Lyons & Oberhauser 2020). A
spike cuts the cell, and the same step goes on from the jump to the cell's end; once more, when it
is known what came from neurons of the same level.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._model.layout import Group
from .._model.mapped import mapped
from .._model.state import PopulationState
from .._model.synapse import AbstractConductance
from .._types import Scalar
from .cell_parts import ArrivalCell, Line, Motion, PortCell, Quadratic, apart_of
from .cell_state import GroupInput
from .coordinate import Coordinate
from .delivery import ByMoments
from .group_cell import AbstractGroupCell, After, CellTime, Fired, Spikes
from .linear import Affine, components
from .phis import Entry, Vector, added, plus, scaled, times


class CellDrive(eqx.Module):
    """What drives neurons along a cell, a time r after its start: a current, conductances, and the
    slopes of the noise for each channel, with their changes."""

    current: Line
    conductances: dict[str, Line]
    noise: Vector
    change: Vector
    length: Array
    clock: Array

    def at(self, line: Line, r: Array) -> Entry:
        """A line at a time."""
        rise = plus(line.end, *scaled([line.start], -1.0))
        return plus(line.start, times(rise, r / self.length))

    def noise_at(self, r: Array) -> Vector:
        """The slopes of the noise at a time."""
        if not self.change:
            return self.noise
        return [plus(a, times(d, r / self.length)) for a, d in self._channels()]

    def areas(self, time: Array) -> Vector:
        """The areas of the noise over a part of the cell."""
        by = -(time**2) / (12 * self.length)
        return [times(d, by) for d in self.change]

    def _channels(self):
        return zip(self.noise, self.change, strict=True)

    def with_arrivals(self, lines: dict[str, Line]) -> "CellDrive":
        """With more on some lines; by the names of conductances, the others are currents."""
        current, conductances = self.current, dict(self.conductances)
        for name, line in lines.items():
            if name in conductances:
                conductances[name] = conductances[name].plus(line)
            else:
                current = current.plus(line)
        return CellDrive(current, conductances, self.noise, self.change, self.length, self.clock)


class Start(NamedTuple):
    """Where and when the motion behind the spikes begins, and where it ends; the cell's start
    without one."""

    z: list[Array]
    begin: Array
    end: list[Array]
    drive: CellDrive | None


class GeneralGroupCell(AbstractGroupCell):
    """A group of any neurons, and the maps of its ports over cells of one length."""

    group: Group
    ports: dict[str, PortCell]
    arrivals: dict[str, ArrivalCell]
    responses: dict[str, ByMoments]
    coordinate: Coordinate | None
    dt0: float = eqx.field(static=True)
    hurst: float = eqx.field(static=True)

    @classmethod
    def of(
        cls, group: Group, equations: dict[str, Affine], length: Scalar, dt0: float, hurst: float
    ) -> "GeneralGroupCell":
        """For cells of this length."""
        # So that derivatives are summed over the neurons once, and not in each cell.
        group = group.for_each()
        ports = {name: PortCell.of(m, length) for name, m in equations.items()}
        arrivals = {name: ArrivalCell.of(m, ports[name], length) for name, m in equations.items()}
        responses = {name: ByMoments(length) for name in equations}
        coordinate = Coordinate.of(group, length.dtype)
        return cls(group, ports, arrivals, responses, coordinate, dt0, hurst)

    def smooth(self, y, x: GroupInput, arrivals, time: CellTime):
        """See `AbstractGroupCell`."""
        lines, ports = self.ports_over(y, x, arrivals)
        gated = {k for k, p in self.group.ports.items() if isinstance(p, AbstractConductance)}
        noise = [] if x.noise is None else x.noise.neuron
        change = [] if x.change is None else x.change.neuron
        drive = CellDrive(
            Line(*x.drive),
            {name: Line(None, None) for name in gated},
            noise,
            change,
            time.length,
            time.clock,
        ).with_arrivals(lines)
        z = self._moving(components(y.neuron))
        start = jnp.zeros_like(z[0])
        first = self._slope(drive, z, start, drive.noise_at(start))
        end = self._step(drive, z, start, start + time.length)
        return self._motion(z, first, end, drive), ports

    def _motion(self, z, first, end, drive: CellDrive) -> Motion:
        length = drive.length
        state = [Quadratic.through(*ends, length) for ends in zip(z, first, end, strict=True)]
        if self.coordinate is not None:
            return Motion(state, state[self.coordinate.index], drive=drive)
        v, rise = jax.jvp(self.potential, (z,), (first,))
        potential = Quadratic.through(v, rise, self.potential(end), length)
        apart = None
        if drive.noise and self.group.hazard is not None:
            moved = self._noise(z, drive.change or drive.noise)
            slope = jax.jvp(self.potential, (z,), (moved,))[1]
            whole = slope * (self.dt0 / length) if drive.change else None
            apart = apart_of(slope, whole, self.dt0, self.hurst)
        return Motion(state, potential, apart, drive)

    def flat(self, y: PopulationState) -> Motion:
        """See `AbstractGroupCell`."""
        z = self._moving(components(y.neuron))
        state = [Quadratic(a, None, None) for a in z]
        return Motion(state, Quadratic(self.potential(z), jnp.zeros_like(z[0]), None))

    def _moving(self, x: list[Array]) -> list[Array]:
        """The numbers in which steps are made, of the components of the state."""
        if self.coordinate is None:
            return list(x)
        k, z = self.coordinate.index, list(x)
        z[k] = self.coordinate.of_potential(x[k])
        return z

    def _state(self, z: list[Array]):
        """The state at these numbers."""
        if self.coordinate is not None:
            k, z = self.coordinate.index, list(z)
            z[k] = self.coordinate.potential(z[k])
        return self.state(z)

    def potential(self, x: list[Array]) -> Array:
        """See `AbstractGroupCell`."""
        if self.coordinate is not None:
            return x[self.coordinate.index]
        return self.group.potential(self.state(list(x)))

    def level(self, v: Array) -> Array:
        """See `AbstractGroupCell`."""
        return super().level(v) if self.coordinate is None else v - self.coordinate.level

    def _noise(self, z: list[Array], dw: Vector) -> list[Array]:
        """What the noise adds to the slopes."""
        x = self._state(z)
        columns = jnp.stack([jnp.zeros_like(z[0]) if a is None else a for a in dw], -1)
        moved = mapped(lambda n, x, dw: n.noise(x, dw), self.group.neuron, x, columns)
        return self._of_coordinate(components(x), components(moved))

    def _of_coordinate(self, x: list[Array], slope: list[Array]) -> list[Array]:
        """The slopes of the numbers, from those of the state."""
        if self.coordinate is None:
            return slope
        k, slope = self.coordinate.index, list(slope)
        slope[k] = self.coordinate.slope_at(x[k], slope[k])
        return slope

    def _drift(self, drive: CellDrive, z: list[Array], r: Array) -> list[Array]:
        group, x = self.group, self._state(z)
        v = mapped(lambda n, x: n.voltage(x), group.neuron, x)
        current = drive.at(drive.current, r)
        for name, line in drive.conductances.items():
            port, conductance = group.ports[name], drive.at(line, r)
            if conductance is None:
                continue
            assert isinstance(port, AbstractConductance)
            flow = mapped(lambda p, g, v: p.flow(g, v), port, _all(conductance, v), v)
            current = plus(current, flow)
        t = drive.clock + jnp.broadcast_to(r, v.shape)
        current = jnp.zeros_like(v) if current is None else _all(current, v)
        moved = mapped(lambda n, t, x, i: n.drift(t, x, i), group.neuron, t, x, current)
        return self._of_coordinate(components(x), components(moved))

    def _slope(self, drive: CellDrive, z: list[Array], r: Array, dw: Vector) -> list[Array]:
        """The slopes; behind the threshold of a coordinate, those at it."""
        if self.coordinate is not None:
            k, z = self.coordinate.index, list(z)
            z[k] = self.coordinate.held(z[k])
        found = self._drift(drive, z, r)
        if not dw:
            return found
        return [a for a in added(found, self._noise(z, dw)) if a is not None]

    def _step(self, drive: CellDrive, z: list[Array], begin: Array, end: Array) -> list[Array]:
        """From one time of the cell to another. What is within a step is made again backwards: it
        takes longer to keep it."""
        return eqx.filter_checkpoint(self._stepped, prevent_cse=False)(drive, z, begin, end)

    def _stepped(self, drive: CellDrive, z: list[Array], begin: Array, end: Array) -> list[Array]:
        length = end - begin
        mean = drive.noise_at((begin + end) / 2)
        first = self._slope(drive, z, begin, mean)
        if self.coordinate is not None:
            # An upstroke may be much shorter than the cell: none of its end, but of its middle.
            middle = [a + length / 2 * b for a, b in zip(z, first, strict=True)]
            slope = self._slope(drive, middle, (begin + end) / 2, mean)
            return [a + length * b for a, b in zip(z, slope, strict=True)]
        there = [a + length * b for a, b in zip(z, first, strict=True)]
        second = self._slope(drive, there, end, mean)
        moved = [a + length / 2 * (b + c) for a, b, c in zip(z, first, second, strict=True)]
        if not drive.change:
            return moved
        noise = lambda z: self._noise(z, drive.areas(length))
        drift = lambda z: self._slope(drive, z, begin, [])
        forward = jax.jvp(drift, (z,), (noise(z),))[1]
        back = jax.jvp(noise, (z,), (drift(z),))[1]
        return [a + length * (b - c) for a, b, c in zip(moved, forward, back, strict=True)]

    def landed(self, motion: Motion, hit, offset: Array, begin) -> tuple[Array, list[Array]]:
        """See `AbstractGroupCell`; in a coordinate by a step that ends at the spike.

        One over the whole cell may go far behind the threshold, where nothing is known. Newton's
        method makes the time that of the shorter step, to the order of its derivative.
        """
        drive = motion.drive
        if self.coordinate is None or drive is None:
            return super().landed(motion, hit, offset, begin)
        start = [_all(q.a, offset) for q in motion.state]
        there = self._step(drive, start, jnp.zeros_like(offset), offset)
        slope = self._slope(drive, there, offset, drive.noise_at(offset))
        k = self.coordinate.index
        fires = (offset > 0) & (offset < drive.length) & (slope[k] > 0)
        late = jnp.where(fires, self.coordinate.level - there[k], 0)
        more = late / jnp.where(fires, slope[k], 1)
        return offset + more, [a + more * b for a, b in zip(there, slope, strict=True)]

    def after(self, motion: Motion, there: list[Array], fired: Fired, time: CellTime) -> After:
        """See `AbstractGroupCell`."""
        offset, length, drive = fired.offset, time.length, motion.drive
        spiked = self._moving(components(self.group.spike(self._state(there))))
        begin = jnp.where(fired.hit, offset, 0)
        begins = [_all(q.a, offset) for q in motion.state]
        z = [jnp.where(fired.hit, a, b) for a, b in zip(spiked, begins, strict=True)]
        end = z if drive is None else self._step(drive, z, begin, begin * 0 + length)
        free, middle, again = self.potential(spiked), None, offset
        start = Start(z, begin, end, drive)
        at = lambda r: self.potential(z if drive is None else self._between(start)(r))
        if fired.free_at is not None and drive is not None:
            again = fired.free_at
            free = at(again)
        if self.group.hazard is not None:
            middle = at((again + length) / 2)
        v = free, middle, self.potential(end)
        return After(v, components(self._state(end)), start)

    def _between(self, start: Start) -> Callable[[Array], list[Array]]:
        """The motion as a function of time."""
        z, begin, end, drive = start
        assert drive is not None
        length = drive.length - begin
        some = jnp.where(length > 0, length, 1)
        first = self._slope(drive, z, begin, drive.noise_at(begin))
        each = [Quadratic.through(*own, some) for own in zip(z, first, end, strict=True)]
        return lambda r: [q.of_all(r - begin, r) for q in each]

    def delivered(
        self,
        y: PopulationState,
        found: Spikes,
        time: CellTime,
        received: dict[str, Float[Array, "3 neurons"]],
    ) -> PopulationState:
        """See `AbstractGroupCell`."""
        if not received:
            return PopulationState(y.neuron, y.ports, self.risen(found, time))
        ports, lines = dict(y.ports), {}
        for name, moments in received.items():
            came, lines[name] = self.arrivals[name](moments)
            values = added(components(y.ports[name]), came)
            ports[name] = self.port_state(name, [a for a in values if a is not None])
        old = found.start
        drive = old.drive.with_arrivals(lines)
        end = self._step(drive, old.z, old.begin, old.begin * 0 + time.length)
        middle, more = None, self.potential(end) - self.potential(old.end)
        if found.last is not None:
            half, new = found.last.r[1], Start(old.z, old.begin, end, drive)
            there, before = (self.potential(self._between(x)(half)) for x in (new, old))
            middle = there - before
        return PopulationState(self._state(end), ports, self.risen(found, time, middle, more))


def _all(x: Any, like: Array) -> Array:
    return jnp.broadcast_to(x, like.shape)
