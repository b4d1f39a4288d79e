"""The lockstep engine: all neurons of a cell at once, spikes at their offsets inside of it."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, UInt32

from .._event.crossing import fires_at_once, first_root, rises
from .._misc import any_in_batch
from .._random import uniform
from .._solve.step import GRAZED, OK, RETRIGGERED
from .._types import Scalar
from .exponential import current_response, exponential_step
from .firing import AbstractFiring
from .membrane import AbstractLinearMembrane
from .state import NeuronState

# A fault beside those of `_solve.step`: more spikes of a neuron in a cell than passes over it.
CROWDED = 5


class CellInput(eqx.Module):
    """What drives a cell, at its start and its end."""

    begin: Scalar
    length: Scalar
    # The drive just after the start and just before the end.
    drive: tuple[Float[Array, " neurons"], Float[Array, " neurons"]]
    # What the noise adds to dv/dt and di/dt; one entry if it is constant in a cell.
    noise: tuple[tuple[Float[Array, " neurons"], Float[Array, " neurons"]], ...]


class LockstepCarry(eqx.Module):
    """The state of the loop over cells, at the start of `cell`."""

    cell: Int[Array, ""]
    y: NeuronState
    # How many spikes each neuron has had, and the random numbers of the thresholds after the next.
    counts: Int[Array, " neurons"]
    u: Float[Array, " neurons"]
    fault: Int[Array, ""]


class LockstepEmitted(eqx.Module):
    """The spikes of one cell, inf where there are none; and the hidden state at its end."""

    times: Float[Array, "passes neurons"]
    s: Float[Array, " neurons"] | None


class _Quadratic(NamedTuple):
    """a + b r + c r^2, for each neuron."""

    a: Array
    b: Array
    c: Array

    @classmethod
    def through(cls, a, b, end, length) -> "_Quadratic":
        """The one with value a and slope b at 0, and value `end` at `length`."""
        return cls(a, b, (end - a - b * length) / length**2)

    def __call__(self, r):
        return self.a + r * (self.b + r * self.c)

    def slope(self, r):
        return self.b + 2 * r * self.c

    def jumped(self, size, at, decay: "_Quadratic") -> "_Quadratic":
        """With size * decay(r - at) added."""
        a = self.a + size * decay(-at)
        return _Quadratic(a, self.b + size * decay.slope(-at), self.c + size * decay.c)


class _Cell(NamedTuple):
    """What is the same for all spikes of a cell: its length, and responses of the membrane."""

    length: Scalar
    # What is left of a jump of v; what a unit jump of the current makes of v and of i.
    decay: _Quadratic
    to_v: _Quadratic
    to_i: _Quadratic


class _Segment(NamedTuple):
    """The motion of each neuron from its last spike, or the cell's start, to the cell's end."""

    start: Array
    v: _Quadratic
    s: Array | None
    counts: Array
    u: Array


class _Ends(NamedTuple):
    """A segment at its ends."""

    v: Array
    hazard: Array | None
    level: Array
    v_end: Array
    hazard_end: Array | None
    s_end: Array | None
    level_end: Array


class _Pass(NamedTuple):
    """One pass over the neurons of a cell."""

    hit: Array
    offset: Array
    # Who reaches its threshold once more.
    again: Array
    fault: Array
    after: _Segment
    ends: _Ends


class Lockstep(eqx.Module):
    r"""The map from the start of a cell to the next.

    In a cell of length $h$ each neuron makes its sub-threshold step, finds its own crossing on
    it, resets itself there and runs on to the cell's end. A spike at offset $r$ then adds to
    its targets the response of the linear membrane to a jump of the current after a time
    $h - r$. Inside of a cell v and the responses are quadratic in time, exact at both ends and
    in the first slope, the hazard is linear. What neurons do to one another *within* a cell is
    left out but for the hazard $\tfrac{\ell}{2}[\lambda(v + \Delta) - \lambda(v)]$, $\ell$ the time
    since the target's own spike and $\Delta$ the delivered potential weighted by
    $((h - r)/h)^3$: the trapezoidal rule's for a spike at the cell's start, nothing for one at
    its end, so that the map is continuous as a spike crosses the border of a cell; and right on
    average over offsets. The error is $O(h^2)$.
    """

    membrane: AbstractLinearMembrane
    firing: AbstractFiring
    weights: Float[Array, "neurons neurons"] | None
    seeds: UInt32[Array, "2"]
    cells: int = eqx.field(static=True)
    spikes_per_cell: int = eqx.field(static=True)
    stop_after: int | None = eqx.field(static=True)
    emit_s: bool = eqx.field(static=True)

    def start(self, y0: NeuronState) -> LockstepCarry:
        """The carry at the start of the window."""
        zero = jnp.zeros((), jnp.int32)
        counts = jnp.zeros(y0.v.shape, jnp.int32)
        return LockstepCarry(zero, y0, counts, self._draw(counts, y0.v.dtype), zero)

    def live(self, carry: LockstepCarry) -> Bool[Array, ""]:
        """Whether there is anything left to do."""
        live = carry.cell < self.cells
        if self.stop_after is None:
            return live
        return live & (jnp.sum(carry.counts, dtype=jnp.int32) < self.stop_after)

    def idle(self, carry: LockstepCarry) -> LockstepEmitted:
        """What a cell emits that is left out."""
        shape = (self.spikes_per_cell, *carry.y.v.shape)
        s = jnp.full_like(carry.y.v, jnp.nan) if self.emit_s else None
        return LockstepEmitted(jnp.full(shape, jnp.inf, carry.y.v.dtype), s)

    def _draw(self, counts, dtype):
        numbers = jnp.arange(counts.shape[0], dtype=jnp.int32)
        return uniform(self.seeds, numbers, counts + 1, dtype)

    def _smooth(self, y: NeuronState, x: CellInput) -> tuple[_Cell, Array, _Quadratic]:
        """The cell, the current at its end and the motion of v without spikes."""

        def field(drive, noise):
            def at(y):
                dv, di = self.membrane.drift(y.v, y.i, drive)
                for nv, ni in noise:
                    dv, di = dv + nv, di + ni
                return NeuronState(dv, di, None)

            return at

        start, end = field(x.drive[0], x.noise[:1]), field(x.drive[1], x.noise[-1:])
        still, length = NeuronState(y.v, y.i, None), x.length
        rates = NeuronState(*self.membrane.rates, None)
        y1, f0, _ = exponential_step(start, end, still, length, rates)
        response = current_response(self.membrane)
        (v_end, i_end), through = response(length), _Quadratic.through
        one = jnp.ones_like
        motion = _Cell(
            length=length,
            decay=through(one(v_end), -response.rate_v, response.decay(length), length),
            to_v=through(jnp.zeros_like(v_end), response.gain, v_end, length),
            to_i=through(one(i_end), -response.rate_i, i_end, length),
        )
        return motion, y1.i, through(y.v, f0.v, y1.v, length)

    def _ends(self, seg: _Segment, length: Scalar) -> _Ends:
        v, v_end = seg.v(seg.start), seg.v(length)
        hazard, hazard_end, s_end = self.firing.drift(v), self.firing.drift(v_end), None
        if seg.s is not None:
            assert hazard is not None and hazard_end is not None
            s_end = seg.s + (length - seg.start) / 2 * (hazard + hazard_end)
        level, level_end = self.firing.event(v, seg.s), self.firing.event(v_end, s_end)
        return _Ends(v, hazard, level, v_end, hazard_end, s_end, level_end)

    def _pass(self, cell: _Cell, seg: _Segment) -> _Pass:
        """The next spike of each neuron that has one, and the motion after it."""
        ends = self._ends(seg, cell.length)
        slopes = seg.v.slope(seg.start), ends.hazard
        _, b = jax.jvp(self.firing.event, (ends.v, seg.s), slopes)
        rest = cell.length - seg.start
        crosses = rises(ends.level, ends.level_end) & (rest > 0)
        rest = jnp.where(rest > 0, rest, 1)
        r = first_root(crosses, rest, ends.level, b, ends.level_end)
        speed = b + 2 * r * (ends.level_end - ends.level - b * rest) / rest**2
        scale = jnp.maximum(jnp.abs(ends.level), jnp.abs(ends.level_end))
        grazed = crosses & (speed * rest <= float(jnp.finfo(r.dtype).eps) ** 0.5 * scale)

        hit = crosses | fires_at_once(ends.level)
        offset = jnp.where(hit, seg.start + r, cell.length)
        v = seg.v(offset)
        jump = jnp.where(hit, self.membrane.reset(v) - v, 0)
        level = self.firing.level(seg.u)
        counts = seg.counts + hit.astype(seg.counts.dtype)
        after = _Segment(
            start=jnp.where(hit, offset, seg.start),
            v=seg.v.jumped(jump, offset, cell.decay),
            s=None if level is None else jnp.where(hit, level, seg.s),
            counts=counts,
            u=jnp.where(hit, self._draw(counts, v.dtype), seg.u),
        )
        ends = self._ends(after, cell.length)
        fault = jnp.where(grazed, GRAZED, OK)
        fault = jnp.where(hit & (ends.level > 0), RETRIGGERED, fault)
        again = hit & rises(ends.level, ends.level_end)
        return _Pass(hit, offset, again, fault.astype(jnp.int32), after, ends)

    def __call__(self, carry: LockstepCarry, x: CellInput) -> tuple[LockstepCarry, LockstepEmitted]:
        """The carry at the start of the next cell, and the spikes on the way there."""
        cell, i, v = self._smooth(carry.y, x)
        zero = jnp.zeros_like(carry.y.v)
        passes = [self._pass(cell, _Segment(zero, v, carry.y.s, carry.counts, carry.u))]

        # A second spike in a cell is rare: a branch, which stores only what goes into it.
        @jax.checkpoint
        def more(last: _Pass) -> _Pass:
            return self._pass(cell, last.after)

        def none(last: _Pass) -> _Pass:
            no = jnp.zeros_like(last.hit)
            return last._replace(hit=no, again=no, fault=jnp.zeros_like(last.fault))

        for _ in range(self.spikes_per_cell - 1):
            last = passes[-1]
            pending = any_in_batch(jnp.any(last.again))
            passes.append(jax.lax.cond(pending, more, none, last))
        last = passes[-1]
        y = NeuronState(last.ends.v_end, i, last.ends.s_end)
        if self.weights is not None:
            y = self._deliver(y, last.ends.hazard_end, passes, cell)
        codes = [jnp.max(p.fault) for p in passes]
        codes.append(jnp.where(jnp.any(last.again), CROWDED, OK).astype(jnp.int32))
        fault = jnp.max(jnp.stack(codes))
        fault = jnp.where((carry.fault == OK) & self.live(carry), fault, carry.fault)
        new = LockstepCarry(carry.cell + 1, y, last.after.counts, last.after.u, fault)
        times = jnp.stack([jnp.where(p.hit, x.begin + p.offset, jnp.inf) for p in passes])
        return new, LockstepEmitted(times, y.s if self.emit_s else None)

    def _deliver(self, y: NeuronState, hazard, passes: list[_Pass], cell: _Cell) -> NeuronState:
        """The state at the cell's end with what the cell's spikes do to it."""
        assert self.weights is not None
        # A target of its own rates has a response of its own: sources are rows then.
        to_v, to_i = cell.to_v, cell.to_i
        pairwise = max(jnp.ndim(x) for x in (*to_v, *to_i)) > 0
        if pairwise:
            row = lambda x: jnp.broadcast_to(x, y.v.shape)[None]  # noqa: E731
            to_v, to_i = (_Quadratic(*map(row, q)) for q in (to_v, to_i))
        sums = []
        for p in passes:
            since = cell.length - p.offset
            r = since[:, None] if pairwise else since
            v, i = to_v(r), to_i(r)
            kinds = (v, i, v * (r / cell.length) ** 3)
            if pairwise:
                weights = jnp.where(p.hit[:, None], self.weights, 0)
                sums.append(jnp.stack([jnp.sum(weights * kind, 0) for kind in kinds]))
            else:
                kinds = jnp.stack([jnp.where(p.hit, kind, 0) for kind in kinds])
                sums.append(kinds @ self.weights)
        dv, di, early = sum(sums[1:], sums[0])
        s = y.s
        if s is not None:
            more = self.firing.drift(y.v + early)
            assert more is not None
            s = s + (cell.length - passes[-1].after.start) / 2 * (more - hazard)
        return NeuronState(y.v + dv, y.i + di, s)
