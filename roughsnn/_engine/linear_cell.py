"""Linear neurons in a cell: their motion, and what is left of a jump, by closed forms."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array

from .._model.layout import Group
from .._model.state import PopulationState
from .._types import Scalar
from .cell_parts import (
    ArrivalCell,
    Line,
    Motion,
    NeuronCell,
    PortCell,
    Quadratic,
    apart_of,
    curve_of,
)
from .cell_state import GroupInput
from .delivery import Response
from .group_cell import AbstractGroupCell, After, CellTime, Fired, Spikes
from .linear import Matrices, components
from .phis import Entry, Matrix, Vector, added, plus, product, times


class LinearGroupCell(AbstractGroupCell):
    """A group of linear neurons and synapses, and their maps over cells of one length."""

    group: Group
    ports: dict[str, PortCell]
    arrivals: dict[str, ArrivalCell]
    neuron: NeuronCell
    curve: Matrix
    responses: dict[str, Response]
    dt0: float = eqx.field(static=True)
    hurst: float = eqx.field(static=True)

    @classmethod
    def of(
        cls, group: Group, matrices: Matrices, length: Scalar, dt0: float, hurst: float
    ) -> "LinearGroupCell":
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
        return cls(group, ports, arrivals, neuron, curve, responses, dt0, hurst)

    def smooth(self, y, x: GroupInput, arrivals, time: CellTime):
        """See `AbstractGroupCell`."""
        lines, ports = self.ports_over(y, x, arrivals)
        line = Line(*x.drive)
        for own in lines.values():
            line = line.plus(own)
        values = components(y.neuron)
        none: Vector = [None] * len(values)
        n = none if x.noise is None else x.noise.neuron
        d = none if x.change is None else x.change.neuron
        motion = self.neuron(values, line, n, d)
        whole = [times(a, self.dt0 / time.length) for a in d]
        read = lambda x: product((tuple(self.neuron.row),), x)[0]
        return motion._replace(apart=apart_of(read(n), read(whole), self.dt0, self.hurst)), ports

    def flat(self, y: PopulationState) -> Motion:
        """See `AbstractGroupCell`."""
        x = components(y.neuron)
        zero = jnp.zeros_like(x[0])
        state = [Quadratic(a, None, None) for a in x]
        return Motion(state, Quadratic(self.potential(x), zero, None))

    def potential(self, x: list[Array]) -> Array:
        """See `AbstractGroupCell`."""
        return self.neuron.value(list(x))

    def after(self, motion: Motion, there: list[Array], fired: Fired, time: CellTime) -> After:
        """See `AbstractGroupCell`."""
        offset, length = fired.offset, time.length
        spiked = components(self.group.spike(self.state(there)))
        jump = [jnp.where(fired.hit, b - a, 0) for a, b in zip(there, spiked, strict=True)]
        linear, curved = product(self.neuron.matrix, jump), product(self.curve, jump)

        def at(r: Array) -> list[Array]:
            """With what is left of the jump at a time."""
            x, since = [q.of_all(r, offset) for q in motion.state], r - offset
            bent = [times(v, since**2) for v in curved]
            left = added(jump, [times(v, since) for v in linear], bent)
            return [a if b is None else a + b for a, b in zip(x, left, strict=True)]

        free = [a + b for a, b in zip(there, jump, strict=True)]
        again = offset
        if fired.free_at is not None:
            again = fired.free_at
            free = at(again)
        x, middle = at(length), None
        if self.group.hazard is not None:
            middle = self.potential(at((again + length) / 2))
        return After((self.potential(free), middle, self.potential(x)), x)

    def delivered(
        self,
        y: PopulationState,
        found: Spikes,
        time: CellTime,
        received: dict[str, tuple[Vector, Vector, Entry]],
    ) -> PopulationState:
        """See `AbstractGroupCell`."""
        ports, moved, middles = dict(y.ports), [], []
        for name, (g, x, middle) in received.items():
            values = added(list(components(y.ports[name])), g)
            ports[name] = self.port_state(name, [a for a in values if a is not None])
            moved.append(x)
            middles.append(middle)
        if not received:
            return PopulationState(y.neuron, ports, self.risen(found, time))
        more = added(*moved)
        x = added(components(y.neuron), more)
        (end,) = product((tuple(self.neuron.row),), more)
        s = self.risen(found, time, plus(*middles), end)
        return PopulationState(self.state([a for a in x if a is not None]), ports, s)
