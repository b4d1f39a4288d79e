r"""The maps of a cell of linear ports and neurons.

A port's current on a cell is replaced by the straight line J(r) that has its mean and its first
moment. So what arrives within a cell, at known times, is input of the step, the same function on
every part of the cell; and a neuron is one affine equation under that line, whatever its ports are.
The error is of fourth order in the length of the cell.
"""

from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._types import Scalar
from .linear import Affine
from .phis import Entry, Matrix, Vector, added, entries, matrix_phis, plus, product, scaled, times


class Quadratic(NamedTuple):
    """a + b r + c r^2, for each neuron or for all; entries that are always 0 are `None`."""

    a: Entry
    b: Entry
    c: Entry

    @classmethod
    def through(cls, a: Entry, b: Entry, end: Entry, length: Array) -> "Quadratic":
        """The one with value a and slope b at 0, and value `end` at `length`."""
        behind = scaled([a, times(b, length)], -1.0)
        c = plus(end, *behind)
        return cls(a, b, None if c is None else c / length**2)

    @property
    def is_zero(self) -> bool:
        """Whether it is always 0."""
        return all(x is None for x in self)

    def __call__(self, r: Array) -> Entry:
        return plus(self.a, times(self.b, r), times(self.c, r**2))

    def of_all(self, r: Array, like: Array) -> Array:
        """The values at these times, of the shape of `like`."""
        value = self(r)
        return jnp.zeros_like(like) if value is None else jnp.broadcast_to(value, like.shape)


class Line(NamedTuple):
    """A current at the start and at the end of a cell."""

    start: Entry
    end: Entry

    def plus(self, other: "Line") -> "Line":
        """The sum of two currents."""
        return Line(*(plus(a, b) for a, b in zip(self, other, strict=True)))


class PortCell(eqx.Module):
    """The map of a linear port over a cell, from the state at its start, a forcing that begins with
    n and changes by d, and the moments of what arrives."""

    decay: Matrix
    forced: Matrix
    bent: Matrix
    # How the line's ends read the state and the forcing.
    lines: tuple[Vector, Vector]
    lines_forced: tuple[Vector, Vector]
    lines_bent: tuple[Vector, Vector] | None

    @classmethod
    def of(cls, m: Affine, length: Scalar, bent: bool = True) -> "PortCell":
        """That of a port with these equations, in cells of this length; for a forcing that changes
        if it is `bent`."""
        phi = matrix_phis(m.matrix, m.pattern, length, 4 if bent else 3)
        row = entries(m.row[..., None, :], (m.reads,))
        reading = lambda a, b, one, two: [
            plus(*scaled([x, y], 1.0))
            for x, y in zip(
                scaled(_row_times(row, one), a), scaled(_row_times(row, two), b), strict=True
            )
        ]
        ends = lambda one, two, by: (
            scaled(reading(-2.0, 6.0, one, two), by),
            scaled(reading(4.0, -6.0, one, two), by),
        )
        return cls(
            decay=phi[0],
            forced=_matrix_scaled(phi[1], length),
            bent=_matrix_scaled(phi[2], length),
            lines=ends(phi[1], phi[2], 1.0),
            lines_forced=ends(phi[2], phi[3], length),
            lines_bent=ends(phi[3], phi[4], length) if bent else None,
        )

    def __call__(self, g: list[Array], noise: Vector, change: Vector) -> tuple[Vector, Line]:
        """The state at the end, and the line of the current, if nothing arrives."""
        end = added(
            product(self.decay, list(g)), product(self.forced, noise), product(self.bent, change)
        )
        line = [
            plus(
                _dot(self.lines[k], list(g)),
                _dot(self.lines_forced[k], noise),
                None if self.lines_bent is None else _dot(self.lines_bent[k], change),
            )
            for k in range(2)
        ]
        return end, Line(*line)


class ArrivalCell(eqx.Module):
    """What spikes that arrive at a linear port make of it within a cell."""

    # The state after a unit arrival a time r before the end, and the ends of the line.
    state: list[Quadratic]
    line: tuple[Quadratic, Quadratic]
    # The current just after a unit arrival.
    jump: Entry

    @classmethod
    def of(cls, m: Affine, port: PortCell, length: Scalar) -> "ArrivalCell":
        """That of a port with these equations, in cells of this length."""
        unit = _column(m)
        slopes = product(entries(m.matrix, m.pattern), unit)
        ends = product(port.decay, unit)
        row = entries(m.row[..., None, :], (m.reads,))
        jump = product(row, unit)[0]

        def end_of_line(by: float, line: Vector) -> Quadratic:
            slope = None if jump is None else by * jump / length
            return Quadratic.through(None, slope, _dot(line, unit), length)

        through = zip(unit, slopes, ends, strict=True)
        return cls(
            state=[Quadratic.through(a, b, end, length) for a, b, end in through],
            line=(end_of_line(-2.0, port.lines[0]), end_of_line(4.0, port.lines[1])),
            jump=jump,
        )

    def __call__(self, moments: Float[Array, "3 neurons"]) -> tuple[Vector, Line]:
        """What is added to the state at the end, and to the line of the current."""
        # Not by indices: their derivatives would be padded and added up.
        rows = [x[0] for x in jnp.split(moments, 3)]
        at = lambda q: plus(*(times(x, rows[k]) for k, x in enumerate(q)))
        return [at(q) for q in self.state], Line(*map(at, self.line))


class Motion(NamedTuple):
    """The smooth motion of a neuron in a cell: its components, and the potential, as quadratics;
    and how far apart the potentials are whose hazards make that in the middle of the cell, see
    `apart_of`."""

    state: list[Quadratic]
    potential: Quadratic
    apart: Entry = None
    # What drives it, where that is needed again.
    drive: Any = None


class NeuronCell(eqx.Module):
    """The map of a linear neuron over a cell, under a current that is a line."""

    matrix: Matrix
    gain: Vector
    shift: Vector
    row: Vector
    level: Array
    forced: Matrix
    bent: Matrix
    length: Array

    @classmethod
    def of(cls, m: Affine, length: Scalar) -> "NeuronCell":
        """That of neurons with these equations, in cells of this length."""
        phi = matrix_phis(m.matrix, m.pattern, length, 2)
        return cls(
            matrix=entries(m.matrix, m.pattern),
            gain=_column(m),
            shift=[m.shift[..., i] for i in range(len(m.pattern))],
            row=list(entries(m.row[..., None, :], (m.reads,))[0]),
            level=m.level,
            forced=_matrix_scaled(phi[1], length),
            bent=_matrix_scaled(phi[2], length),
            length=jnp.asarray(length, m.matrix.dtype),
        )

    def __call__(self, x: list[Array], current: Line, noise: Vector, change: Vector) -> Motion:
        """The motion from x on, with a forcing beside the current that begins with `noise`."""
        first, end = self.moved(x, current, noise, change)
        state = [Quadratic.through(*ends, self.length) for ends in zip(x, first, end, strict=True)]
        of = lambda values: _dot(self.row, values)
        level = self.value([q.a for q in state])
        potential = Quadratic(level, of([q.b for q in state]), of([q.c for q in state]))
        return Motion(state, potential)

    def moved(
        self, x: list[Array], current: Line, noise: Vector, change: Vector
    ) -> tuple[Vector, Vector]:
        """The slope at the start, and the state at the end."""
        rise = plus(current.end, *scaled([current.start], -1.0))
        first = added(
            product(self.matrix, list(x)),
            [times(b, current.start) for b in self.gain],
            self.shift,
            noise,
        )
        moved = added([times(b, rise) for b in self.gain], change)
        end = added(list(x), product(self.forced, first), product(self.bent, moved))
        return first, end

    def value(self, x: Vector) -> Array:
        """The potential."""
        read = _dot(self.row, x)
        return self.level if read is None else read + self.level

    def response(self, arrival: ArrivalCell) -> list[Quadratic]:
        """How the state responds to a unit arrival at a port, a time r before the end."""
        line = Line(*(q(self.length) for q in arrival.line))
        rise = plus(line.end, *scaled([line.start], -1.0))
        end = added(
            product(self.forced, [times(b, line.start) for b in self.gain]),
            product(self.bent, [times(b, rise) for b in self.gain]),
        )
        return [
            Quadratic.through(None, times(b, arrival.jump), e, self.length)
            for b, e in zip(self.gain, end, strict=True)
        ]


def apart_of(noise: Entry, change: Entry, length: float, hurst: float) -> Entry:
    r"""How far above and below a potential in the middle of a cell of length h its hazard is read,
    so that the mean of both sees the variance that the noise X gives it; elsewhere in the cell
    times `ellipse`.

    The slopes that come from the noise begin with `noise` and change by `change` along the cell.
    Without a change they are those of a chord, half the increment in the middle, of the variance
    $h^{2H}/4$ with the Hurst index H, where X has $(h/2)^{2H}$. With one, those of a parabola that
    bends off the chord by -h/8 of the change: of the variance 3h/16 for a Brownian motion, which
    has h/4. What is missing is made from the same numbers. Both signs, as it goes with no
    increment: else hazards would go together with those of later cells too much, an error of first
    order.
    """
    if change is not None:
        return None if hurst != 0.5 else change * (length / (8 * 3**0.5))
    return None if noise is None or hurst == 1 else noise * ((0.25**hurst - 0.25) ** 0.5 * length)


def curve_of(m: Affine, length: Scalar) -> Matrix:
    """C of 1 + A r + C r^2, what is left of a jump of the state after a time r: exact at the end of
    a cell."""
    (decay,) = matrix_phis(m.matrix, m.pattern, length, 0)
    matrix, one = entries(m.matrix, m.pattern), jnp.ones((), m.matrix.dtype)
    return tuple(
        tuple(
            Quadratic.through(one if i == j else None, a, end, length).c
            for j, (a, end) in enumerate(zip(*rows, strict=True))
        )
        for i, rows in enumerate(zip(matrix, decay, strict=True))
    )


def _column(m: Affine) -> Vector:
    """How the state reads its input."""
    return [x[0] for x in entries(m.gain[..., :, None], [(g,) for g in m.gains])]


def _dot(row: Vector, x: Vector) -> Entry:
    return plus(*(times(a, b) for a, b in zip(row, x, strict=True)))


def _row_times(row: Matrix, matrix: Matrix) -> Vector:
    """A row times a matrix."""
    columns = list(zip(*matrix, strict=True))
    return [_dot(list(row[0]), list(column)) for column in columns]


def _matrix_scaled(matrix: Matrix, by: Array) -> Matrix:
    return tuple(tuple(scaled(list(row), by)) for row in matrix)


def filled(x: Vector, like: list[Array]) -> list[Array]:
    """With zeros for what is always 0."""
    return [
        jnp.zeros_like(b) if a is None else jnp.broadcast_to(a, b.shape)
        for a, b in zip(x, like, strict=True)
    ]
