"""Linear neurons in a cell: their motion, and what is left of a jump, by closed forms."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array

from .._model.layout import Group
from .._model.state import PopulationState
from .._types import Scalar
from .cell_parts import ArrivalCell, Line, Motion, NeuronCell, PortCell, Quadratic, curve_of
from .cell_state import GroupInput
from .delivery import Response
from .group_cell import AbstractGroupCell, After, CellTime, Fired, Spikes, trapezoid
from .linear import Matrices, components
from .phis import Matrix, Vector, added, product, times


class LinearGroupCell(AbstractGroupCell):
    """A group of linear neurons and synapses, and their maps over cells of one length."""

    group: Group
    ports: dict[str, PortCell]
    arrivals: dict[str, ArrivalCell]
    neuron: NeuronCell
    curve: Matrix
    responses: dict[str, Response]
    dt0: float = eqx.field(static=True)

    @classmethod
    def of(cls, group: Group, matrices: Matrices, length: Scalar, dt0: float) -> "LinearGroupCell":
        """For cells of this length."""
        ports = {name: PortCell.of(m, length) for name, m in matrices.ports.items()}
        arrivals = {
            name: ArrivalCell.of(m, ports[name], length) for name, m in matrices.ports.items()
        }
        assert matrices.neuron is not None
        neuron, curve = NeuronCell.of(matrices.neuron, length), curve_of(matrices.neuron, length)
        responses = {
            name: Response.of(neuron, arrival, length) for name, arrival in arrivals.items()
        }
        return cls(group, ports, arrivals, neuron, curve, responses, dt0)

    def smooth(self, y, x: GroupInput, arrivals, time: CellTime):
        """See `AbstractGroupCell`."""
        del time
        lines, ports = self.ports_over(y, x, arrivals)
        line = Line(*x.drive)
        for own in lines.values():
            line = line.plus(own)
        values = components(y.neuron)
        none: Vector = [None] * len(values)
        n = none if x.noise is None else x.noise.neuron
        d = none if x.change is None else x.change.neuron
        return self.neuron(values, line, n, d), ports

    def flat(self, y: PopulationState) -> Motion:
        """See `AbstractGroupCell`."""
        x = components(y.neuron)
        zero = jnp.zeros_like(x[0])
        state = [Quadratic(a, None, None) for a in x]
        return Motion(state, Quadratic(self.potential(x), zero, None), None)

    def potential(self, x: list[Array]) -> Array:
        """See `AbstractGroupCell`."""
        return self.neuron.value(list(x))

    def after(self, motion: Motion, there: list[Array], fired: Fired, time: CellTime) -> After:
        """See `AbstractGroupCell`."""
        offset, length = fired.offset, time.length
        spiked = components(self.group.spike(self.state(there)))
        jump = [jnp.where(fired.hit, b - a, 0) for a, b in zip(there, spiked, strict=True)]
        free = [a + b for a, b in zip(there, jump, strict=True)]
        if fired.free_at is not None:
            at = [q.of_all(fired.free_at, offset) for q in motion.state]
            free = self._with_left(at, jump, fired.free_at - offset)
        at = [q.of_all(length, offset) for q in motion.state]
        x = self._with_left(at, jump, length - offset)
        v = self.potential(x)
        return After(self.potential(free), x, v if motion.shift is None else v + motion.shift)

    def _with_left(self, x: list[Array], jump: Vector, r: Array) -> list[Array]:
        """With what is left of a jump of the state after a time r."""
        linear, curved = product(self.neuron.matrix, jump), product(self.curve, jump)
        left = added(jump, [times(v, r) for v in linear], [times(v, r**2) for v in curved])
        return [a if b is None else a + b for a, b in zip(x, left, strict=True)]

    def delivered(
        self,
        y: PopulationState,
        found: Spikes,
        time: CellTime,
        received: dict[str, tuple[Vector, Vector, Array]],
    ) -> PopulationState:
        """See `AbstractGroupCell`."""
        if not received:
            return y
        ports, moved, early = dict(y.ports), [], []
        for name, (g, x, seen) in received.items():
            values = added(list(components(y.ports[name])), g)
            ports[name] = self.port_state(name, [a for a in values if a is not None])
            moved.append(x)
            early.append(seen)
        x = added(components(y.neuron), *moved)
        s = y.s
        if found.hazard is not None:
            assert s is not None
            v = found.v + sum(early[1:], early[0])
            more = self.group.rate(time.clock + time.length, v)
            s = trapezoid(s, found.since, more, -found.hazard)
        return PopulationState(self.state([a for a in x if a is not None]), ports, s)
