"""The lockstep engine: all neurons of a cell at once, spikes at their offsets inside of it."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, UInt32

from .._event.crossing import first_of_pieces
from .._misc import at_least, at_most
from .._model.connectivity import SparseWeights
from .._model.firing import AbstractFiring, StochasticFiring
from .._model.membrane import AbstractLinearMembrane
from .._model.state import NeuronState
from .._random import uniform
from .._solve.step import GRAZED, OK, OUTSIDE, RETRIGGERED
from .._types import Scalar
from .cell_state import CellInput, LockstepCarry, LockstepEmitted
from .delivery import Quadratic, Response, deliver
from .exponential import current_response, exponential_step, middle_shift

# A fault beside those of `_solve.step`: spikes of a neuron that the cells cannot keep up with.
CROWDED = OUTSIDE + 1
# By how many cells a spike may be found late.
LATE = 4


class _Cell(NamedTuple):
    """The smooth motion of v in a cell, and how it forgets a jump."""

    v: Quadratic
    # What is added to v in the middle, for the hazard there; `None` if that is not looked at.
    shift: Array | None
    # What is left of a jump of v.
    decay: Quadratic
    # What spikes from outside add to v at the end, and the part of it that the hazard sees.
    outside: tuple[Array, Array] | None = None


class _Spikes(NamedTuple):
    """The spikes of a cell, at most one of each neuron, and the neurons at the cell's end."""

    hit: Array
    offset: Array
    fault: Array
    # How long ago the hidden state started: at the spike, or at the cell's start.
    since: Array
    v: Array
    s: Array | None
    # The potential that the hazard sees at the end, and the hazard.
    seen: Array
    hazard: Array | None
    # Of given spikes.
    density: tuple[Array, Array] | None


def _trapezoid(s, length, start, end):
    """The hidden state after a time over which the hazard is linear; `None` if there is none."""
    return None if s is None else s + length / 2 * (start + end)


def _choose(hit, on_hit, otherwise):
    """A hidden state or hazard, which a neuron with one has everywhere."""
    assert on_hit is not None and otherwise is not None
    return jnp.where(hit, on_hit, otherwise)


def cell_response(membrane: AbstractLinearMembrane, length: Scalar) -> Response:
    """How the targets of spikes respond in a cell of this length."""
    response = current_response(membrane)
    v_end, i_end = response(length)
    one, zero = jnp.ones_like(v_end), jnp.zeros_like(v_end)
    return Response(
        Quadratic.through(zero, response.gain, v_end, length),
        Quadratic.through(one, -response.rate_i, i_end, length),
        length,
    )


class CellMap(eqx.Module):
    r"""The map from the start of a cell to the next.

    In a cell of length $h$ each neuron makes its sub-threshold step, finds its own crossing on
    it, resets itself there and runs on to the cell's end. A spike at offset $r$ then adds to
    its targets the response of the linear membrane to a jump of the current after a time
    $h - r$. Inside of a cell v and the responses are quadratic in time, exact at both ends and
    in the first slope, the hazard is linear. What neurons do to one another *within* a cell is
    left out but for the hazard $\tfrac{\ell}{2}[\lambda(v + \Delta) - \lambda(v)]$, $\ell$ the time
    since the target's own spike and $\Delta$ the delivered potential weighted by $(h - r)/h$: with
    a potential that rises linearly from the spike on this is the trapezoidal rule's over the time
    behind it. So the map and its derivative are continuous as a spike crosses the border of a
    cell, up to $O(h^2)$, except for a target that fires in this very cell (its spike time then
    jumps by $O(h^2)$, which is part of the error). Spikes from outside are known beforehand: what
    they deliver is part of the motion on which a crossing is sought, without that exception.

    A second crossing in a cell, or one by what was delivered at its end, leaves the neuron above
    its threshold. The next cell finds that spike at an offset $r = -E/\dot E < 0$: its time, and
    all it does, are those of a spike before the cell's start. The error is $O(h^2)$.

    Observed neurons spike when they are told to; their hidden state is the hazard since then. A
    second spike in a cell is one of the next cell, before its start.
    """

    membrane: AbstractLinearMembrane
    firing: AbstractFiring
    weights: Float[Array, "neurons neurons"] | SparseWeights | None
    seeds: UInt32[Array, "3"]
    cells: int = eqx.field(static=True)
    dt0: float = eqx.field(static=True)
    stop_after: int | None = eqx.field(static=True)
    emit_s: bool = eqx.field(static=True)
    observed: Bool[Array, " neurons"] | None = None
    # How many spikes there were before the window.
    earlier: int | Int[Array, ""] = 0
    # Whether any neuron is not observed.
    free: bool = eqx.field(static=True, default=True)
    # Which parts of the state are kept at the start of each cell, which are reduced and how, and
    # whether the carry is kept.
    record: tuple[str, ...] = eqx.field(static=True, default=())
    reduce: tuple[tuple[str, str], ...] = eqx.field(static=True, default=())
    emit_origin: bool = eqx.field(static=True, default=False)

    def start(
        self, y0: NeuronState, counts: Int[Array, " neurons"], outside: Bool[Array, ""]
    ) -> LockstepCarry:
        """The carry at the start of the window, after so many spikes of each neuron; `outside` if
        a parameter is."""
        fault = jnp.where(outside, OUTSIDE, OK).astype(jnp.int32)
        zero = jnp.zeros((), jnp.int32)
        first = lambda how: 0.0 if how == "mean" else -jnp.inf
        reduced = {(name, how): jnp.full_like(y0.v, first(how)) for name, how in self.reduce}
        u = self._draw(counts, y0.v.dtype)
        return LockstepCarry(zero, y0, counts, u, fault, reduced, zero)

    def live(self, carry: LockstepCarry) -> Bool[Array, ""]:
        """Whether there is anything left to do."""
        return (carry.cell < self.cells) & ~self.stopped(carry)

    def stopped(self, carry: LockstepCarry) -> Bool[Array, ""]:
        """Whether it was ended on purpose."""
        if self.stop_after is None:
            return jnp.array(False)
        fired = jnp.sum(carry.counts, dtype=jnp.int32)
        return fired >= self.stop_after + self.earlier

    def _matters(self, carry: LockstepCarry) -> Bool[Array, ""]:
        """Whether a fault would be the first, and before the end."""
        return (carry.fault == OK) & ~self.stopped(carry)

    def count_in(self, carry: LockstepCarry) -> LockstepCarry:
        """With the state of the carry in what is reduced, before the end."""
        if not self.reduce:
            return carry
        counts = ~self.stopped(carry)

        def one(name, how, so_far):
            y = getattr(carry.y, name)
            new = so_far + y if how == "mean" else jnp.where(y > so_far, y, so_far)
            return jnp.where(counts, new, so_far)

        reduced = {key: one(*key, value) for key, value in carry.reduced.items()}
        borders = carry.borders + counts.astype(carry.borders.dtype)
        return eqx.tree_at(lambda c: (c.reduced, c.borders), carry, (reduced, borders))

    def idle(self, carry: LockstepCarry) -> LockstepEmitted:
        """What a cell emits that is left out."""
        s = jnp.full_like(carry.y.v, jnp.nan) if self.emit_s else None
        zero = jnp.zeros_like(carry.y.v)
        density = None if self.observed is None else (zero, zero)
        kept = {name: jnp.full_like(zero, jnp.nan) for name in self.record}
        origin = None
        if self.emit_origin:
            origin = eqx.tree_at(
                lambda c: c.y, carry, jax.tree.map(lambda x: jnp.full_like(x, jnp.nan), carry.y)
            )
        return LockstepEmitted(jnp.full_like(zero, jnp.inf), s, density, kept, origin)

    def _draw(self, counts, dtype):
        numbers = jnp.arange(counts.shape[0], dtype=jnp.int32)
        return uniform(self.seeds, numbers, counts + 1, dtype)

    def _smooth(self, y: NeuronState, x: CellInput) -> tuple[_Cell, Array]:
        """The cell without spikes, and the current at its end."""

        def field(drive, noise):
            def at(y):
                dv, di = self.membrane.drift(y.v, y.i, drive)
                for nv, ni in noise:
                    dv, di = dv + nv, di + ni
                return NeuronState(dv, di, None)

            return at

        start, end = field(x.drive[0], x.noise[:1]), field(x.drive[1], x.noise[-1:])
        rates = NeuronState(*self.membrane.rates, None)
        bent = len(x.noise) > 1
        y1, f0, df, _ = exponential_step(
            start, end, NeuronState(y.v, y.i, None), x.length, rates, parabola=bent
        )
        response = current_response(self.membrane)
        decay = response.decay(x.length)
        through = lambda a, b, end: Quadratic.through(a, b, end, x.length)
        cell = _Cell(
            v=through(y.v, f0.v, y1.v),
            shift=middle_shift(df.v, x.length) if bent else None,
            decay=through(jnp.ones_like(decay), -response.rate_v, decay),
        )
        if x.outside is None:
            return cell, y1.i
        dv, di, early = x.outside
        return cell._replace(outside=(dv, early)), y1.i + di

    def _events(self, v, s, cell: _Cell, length, end):
        """The hidden state at the cell's end, and for each piece of the cell: the event function
        at its borders and its slope at its start."""
        hazard = self.firing.hazard(v)
        nodes, step = [((v, s), (cell.v.b, hazard))], length
        if cell.shift is not None and s is not None:
            step = length / 2
            middle = cell.v(step)
            there = self.firing.hazard(middle + cell.shift)
            s = _trapezoid(s, step, hazard, there)
            nodes.append(((middle, s), (cell.v.b + cell.v.c * length, there)))
            hazard = there
        last = self.firing.hazard(end)
        s_end = _trapezoid(s, step, hazard, last)
        if cell.outside is not None:
            dv, early = cell.outside
            if last is not None:
                s_end = _trapezoid(s_end, length, self.firing.hazard(end + early), -last)
            end = end + dv
        levels, slopes = zip(*(jax.jvp(self.firing.event, *node) for node in nodes), strict=True)
        return s_end, [*levels, self.firing.event(end, s_end)], slopes

    def _crossing(self, levels, slopes, length, late):
        """Which neurons fire by themselves, when, and which have a fault."""
        crosses, inside, speed = first_of_pieces(length, levels, slopes)
        level, level_end, b = levels[0], levels[-1], slopes[0]
        overdue = level > 0
        moving = overdue & (b > 0)
        before = jnp.where(moving, level, 0) / jnp.where(moving, b, 1)
        crowded = overdue & (before > LATE * self.dt0) & (late > 0)
        offset = jnp.where(overdue, -at_most(before, late), inside)
        scale = jnp.maximum(jnp.abs(level), jnp.abs(level_end))
        grazed = crosses & (speed * length <= float(jnp.finfo(level.dtype).eps) ** 0.5 * scale)
        fault = jnp.where(crowded, CROWDED, jnp.where(grazed, GRAZED, OK))
        return crosses | overdue, offset, fault

    def _spike(self, carry: LockstepCarry, cell: _Cell, length, late, given=None) -> _Spikes:
        """The first spike of each neuron, and where that leaves it at the cell's end."""
        v, s, path = carry.y.v, carry.y.s, cell.v
        end = path(length)
        s_end, levels, slopes = self._events(v, s, cell, length, end)
        hit, offset, fault = jnp.zeros(v.shape, bool), jnp.zeros_like(v), jnp.int32(OK)
        if self.free:
            hit, offset, fault = self._crossing(levels, slopes, length, late)
        if self.observed is not None:
            hit, fault = hit & ~self.observed, jnp.where(self.observed, OK, fault)
        if given is not None:
            told = jnp.isfinite(given)
            hit, offset = hit | told, jnp.where(told, given, offset)
        offset = jnp.where(hit, offset, length)

        there, v_end, seen = path(offset), end, end
        if cell.outside is not None:
            dv, early = cell.outside
            # As far as the crossing sees it: nothing at the start, all of it at the end.
            there = there + dv * (at_least(offset, 0) / length) ** 2
            v_end, seen = end + dv, end + early
        jump = jnp.where(hit, self.membrane.reset(there) - there, 0)
        left = jump * cell.decay(length - offset)
        v_start, v_end, seen = there + jump, v_end + left, seen + left
        since = jnp.where(hit, length - offset, length)
        hazard_end = self.firing.hazard(seen)
        density = None
        if s is not None:
            start = self.firing.draw_threshold(carry.u)
            if self.observed is not None:
                assert isinstance(self.firing, StochasticFiring)
                intensity = self.firing.intensity
                # Not below 0 by rounding, or by the error of a second spike in a cell.
                until = at_least(s + offset / 2 * (intensity(v) + intensity(there)), 0)
                density = until, intensity.log(there)
                start = _choose(self.observed, jnp.zeros_like(s), start)
            s = _choose(hit, start, s)
            rest = _trapezoid(s, since, self.firing.hazard(v_start), hazard_end)
            s_end = _choose(hit, rest, s_end)
        above = hit & (self.firing.event(v_start, s) > 0)
        fault = jnp.max(jnp.where(above, RETRIGGERED, fault)).astype(jnp.int32)
        return _Spikes(hit, offset, fault, since, v_end, s_end, seen, hazard_end, density)

    def __call__(self, carry: LockstepCarry, x: CellInput) -> tuple[LockstepCarry, LockstepEmitted]:
        """The carry at the start of the next cell, and the spikes on the way there."""
        carry = self.count_in(carry)
        cell, i = self._smooth(carry.y, x)
        found = self._spike(carry, cell, x.length, x.late, x.given)
        y = NeuronState(found.v, i, found.s)
        if self.weights is not None or x.extra is not None:
            y = self._deliver(y, found, x)
        return self._next(carry, y, found), self._emit(carry, found, y)

    def _next(self, carry: LockstepCarry, y: NeuronState, found: _Spikes) -> LockstepCarry:
        counts = carry.counts + found.hit.astype(carry.counts.dtype)
        u = carry.u
        if self.free:
            u = jnp.where(found.hit, self._draw(counts, u.dtype), u)
        fault = jnp.where(self._matters(carry), found.fault, carry.fault)
        return LockstepCarry(
            cell=carry.cell + 1,
            y=y,
            counts=counts,
            u=u,
            fault=fault.astype(jnp.int32),
            reduced=carry.reduced,
            borders=carry.borders,
        )

    def _emit(self, carry: LockstepCarry, found: _Spikes, y: NeuronState) -> LockstepEmitted:
        return LockstepEmitted(
            offsets=jnp.where(found.hit, found.offset, jnp.inf),
            s=y.s if self.emit_s else None,
            density=found.density,
            kept={name: self._before_end(carry, getattr(carry.y, name)) for name in self.record},
            origin=carry if self.emit_origin else None,
        )

    def _before_end(self, carry: LockstepCarry, x: Array) -> Array:
        """`x`, and nan behind the end."""
        return x if self.stop_after is None else jnp.where(self.stopped(carry), jnp.nan, x)

    def finish(
        self, carry: LockstepCarry, late, given=None
    ) -> tuple[LockstepCarry, LockstepEmitted]:
        """The state at t1, and the spikes that are overdue there, at most `LATE` of each neuron;
        `given` are those of observed neurons for which there was no cell."""
        response = current_response(self.membrane)
        flat = lambda a, b: Quadratic(a, b, jnp.zeros_like(a))
        one, zero = jnp.ones_like(response.rate_v), jnp.zeros_like(carry.y.v)

        def again(carry, given):
            # The potential is taken as constant over the fraction of a cell in question.
            cell = _Cell(
                v=flat(carry.y.v, zero),
                shift=None,
                decay=flat(one, -response.rate_v),
            )
            found = self._spike(carry, cell, jnp.zeros_like(late), late, given)
            y = NeuronState(found.v, carry.y.i, found.s)
            return self._next(carry, y, found), self._emit(carry, found, y)

        carry, emitted = jax.lax.scan(again, carry, given, length=LATE)
        overdue = self.firing.event(carry.y.v, carry.y.s) > 0
        overdue = jnp.any(overdue if self.observed is None else overdue & ~self.observed)
        fault = jnp.where(self._matters(carry) & overdue, CROWDED, carry.fault)
        return eqx.tree_at(lambda c: c.fault, carry, fault.astype(jnp.int32)), emitted

    def response(self, length: Scalar) -> Response:
        """How targets respond in a cell of this length."""
        return cell_response(self.membrane, length)

    def _deliver(self, y: NeuronState, found: _Spikes, x: CellInput) -> NeuronState:
        """The state at the cell's end with what the cell's spikes do to it."""
        dv = di = early = jnp.zeros_like(y.v)
        if self.weights is not None:
            r, response = x.length - found.offset, self.response(x.length)
            dv, di, early = deliver(self.weights, found.hit, r, response)
        if x.extra is not None:
            dv, di, early = dv + x.extra[0], di + x.extra[1], early + x.extra[2]
        s = y.s
        if found.hazard is not None:
            more = self.firing.hazard(found.seen + early)
            s = _trapezoid(s, found.since, more, -found.hazard)
        return NeuronState(y.v + dv, y.i + di, s)
