"""The lockstep engine: all neurons of a cell at once, spikes at their offsets inside of it."""

import dataclasses
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from .._misc import joined, made_once, where_tree
from .._model.layout import Layout
from .._model.links import Link
from .._model.plasticity import Fired, Plastic
from .._model.state import NetworkState, PopulationState
from .._model.stdp import Learned
from .._random import Labels
from .._solve.adjoint import Scratch
from .._solve.step import OK, OUTSIDE
from .._types import Scalar
from .approach import Approach
from .arrivals import FromSource, SpikeArrivals
from .cell_state import CellInput, GroupCarry, LockstepCarry, LockstepEmitted
from .delivery import add_to, moments, with_more
from .exact_cell import Exact
from .final import Past
from .group_cell import CROWDED, LATE, AbstractGroupCell, CellTime, Spikes
from .on_way import sent_off, travelled
from .sent import Sent
from .travel import slots_of


def _without_ring(carry: LockstepCarry) -> LockstepCarry:
    return dataclasses.replace(carry, ring=Scratch(None), launched=())


class CellMap(eqx.Module):
    r"""The map from the start of a cell to the next.

    In a cell of length $h$ each neuron makes its sub-threshold step, finds its own crossing on
    it, jumps there and runs on to the cell's end. Populations that reach others without being
    reached by them go first: what they send in the cell is known when the others step, and is input
    of their step, as is what arrives after a delay. Within a loop a spike at offset $r$ adds to its
    targets, at the end, the response of a linear neuron to an arrival after a time $h - r$. Inside
    of a cell states and the responses are quadratic in time, exact at both ends and in the first
    slope; the hazard is that of `cell_hazard`. What the neurons of a loop do to one another
    *within* a cell is left out but for the hazard: Simpson's rule over the time since the target's
    own spike, with what was delivered added to the potentials in its middle and at its end, as it
    would be to those of a spike that was known before. So the map and its derivative are continuous
    as a spike crosses the border of a cell, except for a target that fires in this very cell (its
    spike time then jumps by $O(h^2)$, which is part of the error).

    A second crossing in a cell, or one by what was delivered at its end, leaves the neuron above
    its threshold. The next cell finds that spike at an offset $r = -E/\dot E < 0$: its time, and
    all it does, are those of a spike before the cell's start. The error is $O(h^2)$.

    Observed neurons spike when they are told to; their hidden state is the hazard since then. A
    second spike in a cell is one of the next cell, before its start.
    """

    layout: Layout
    labels: tuple[Labels, ...]
    # The groups in whole cells, and in the last one where that is shorter.
    parts: tuple[AbstractGroupCell, ...]
    last: tuple[AbstractGroupCell, ...] | None
    # Synapses onto higher levels, those within a level, and those with delays.
    upward: tuple[Link, ...]
    loops: tuple[Link, ...]
    delayed: tuple[Link, ...]
    cells: int = eqx.field(static=True)
    dt0: float = eqx.field(static=True)
    # How rough the noise is.
    hurst: float = eqx.field(static=True)
    stop_after: int | None = eqx.field(static=True)
    emit_s: bool = eqx.field(static=True)
    observed: tuple[Bool[Array, " neurons"], ...] | None = None
    # How many spikes there were before the window.
    earlier: int | Int[Array, ""] = 0
    # Whether any neuron is not observed.
    free: bool = eqx.field(static=True, default=True)
    # Which parts of the state of each group are kept at the start of each cell, which are reduced
    # and how, and whether the carry is kept.
    record: tuple[tuple[str, ...], ...] = eqx.field(static=True, default=())
    reduce: tuple[tuple[tuple[str, str], ...], ...] = eqx.field(static=True, default=())
    emit_origin: bool = eqx.field(static=True, default=False)
    # `None` where what arrives within a cell is known by its moments.
    exact: Exact | None = None

    @property
    def links(self) -> tuple[Link, ...]:
        """All synapses, those onto higher levels first, then those within one."""
        return (*self.upward, *self.loops, *self.delayed)

    @property
    def slots(self) -> int:
        """For how many cells spikes are on their way."""
        return slots_of(self.delayed, self.dt0)

    def start(
        self,
        y0: NetworkState,
        counts: list[Int[Array, " neurons"]],
        outside: Bool[Array, ""],
        past: Past,
    ) -> LockstepCarry:
        """The carry at the start of the window, after so many spikes of each neuron; `outside` if
        a parameter is."""
        fault = jnp.where(outside, OUTSIDE, OK).astype(jnp.int32)
        zero = jnp.zeros((), jnp.int32)
        first = lambda how: 0.0 if how == "mean" else -jnp.inf

        def one(n: int, y: PopulationState, counts: Array) -> GroupCarry:
            hold = None
            if self.layout.groups[n].refractory is not None:
                hold = past.hold(n, counts, -LATE * self.dt0, y.parts_dtype)
            u = None if y.s is None else self.labels[n].of_all(counts + 1, y.s.dtype)
            wanted = self.reduce[n] if self.reduce else ()
            reduced = {(name, how): jnp.full_like(y[name], first(how)) for name, how in wanted}
            return GroupCarry(y, counts, u, hold, reduced)

        groups = [one(n, y, c) for n, (y, c) in enumerate(zip(y0.groups, counts, strict=True))]
        dtype = y0.groups[0].parts_dtype
        plastic = {
            link.name: y0.plastic[link.name] for link in self.links if link.name in y0.plastic
        }
        rows = {
            link.name: link.weights.shape[0] for link in self.delayed if link.name in y0.plastic
        }
        ring = Scratch(past.ring(self.slots, self.layout.size, rows, dtype))
        return LockstepCarry(zero, tuple(groups), fault, zero, ring, (), plastic)

    def live(self, carry: LockstepCarry) -> Bool[Array, ""]:
        """Whether there is anything left to do."""
        return (carry.cell < self.cells) & ~self.stopped(carry)

    def stopped(self, carry: LockstepCarry) -> Bool[Array, ""]:
        """Whether it was ended on purpose."""
        if self.stop_after is None:
            return jnp.array(False)
        fired = jnp.stack([jnp.sum(group.counts, dtype=jnp.int32) for group in carry.groups])
        return jnp.sum(fired, dtype=jnp.int32) >= self.stop_after + self.earlier

    def _matters(self, carry: LockstepCarry) -> Bool[Array, ""]:
        """Whether a fault would be the first, and before the end."""
        return (carry.fault == OK) & ~self.stopped(carry)

    def state(self, carry: LockstepCarry) -> NetworkState:
        """The state of the network."""
        groups = tuple(group.y for group in carry.groups)
        return NetworkState(groups, self.layout.members, plastic=carry.plastic)

    def count_in(self, carry: LockstepCarry) -> LockstepCarry:
        """With the state of the carry in what is reduced, before the end."""
        if not any(self.reduce):
            return carry
        counts = ~self.stopped(carry)

        def one(y, how, so_far):
            new = so_far + y if how == "mean" else jnp.where(y > so_far, y, so_far)
            return jnp.where(counts, new, so_far)

        reduced = [
            {(name, how): one(group.y[name], how, x) for (name, how), x in group.reduced.items()}
            for group in carry.groups
        ]
        borders = carry.borders + counts.astype(carry.borders.dtype)
        where = lambda c: [*(group.reduced for group in c.groups), c.borders]
        return eqx.tree_at(where, carry, [*reduced, borders])

    def idle(self, carry: LockstepCarry) -> LockstepEmitted:
        """What a cell emits that is left out."""
        zero = jnp.zeros(self.layout.size, carry.groups[0].y.parts_dtype)
        nowhere = lambda tree: jax.tree.map(lambda x: jnp.full_like(x, jnp.nan), tree)
        origin = None
        if self.emit_origin:
            ys = lambda c: [group.y for group in c.groups]
            origin = _without_ring(eqx.tree_at(ys, carry, nowhere(ys(carry))))
        return LockstepEmitted(
            offsets=jnp.full_like(zero, jnp.inf),
            s=nowhere(zero) if self.emit_s else None,
            approach=self._nowhere(carry),
            kept=tuple(
                {name: nowhere(group.y[name]) for name in names}
                for group, names in zip(carry.groups, self.record, strict=False)
            ),
            origin=origin,
            amplitudes=self._silent(carry),
        )

    def _nowhere(self, carry: LockstepCarry) -> tuple[Approach | None, ...]:
        """How observed neurons come to spikes where there are none."""
        if self.observed is None:
            return (None,) * len(self.parts)
        empty = lambda s, hold: Approach.nowhere(*jax.tree.map(jnp.zeros_like, (s, hold)))
        return tuple(empty(group.y.s, group.hold) for group in carry.groups)

    def _silent(self, carry: LockstepCarry) -> dict[str, Array]:
        """How strong spikes are where there are none."""
        plastic = {name: one for name, one in carry.plastic.items() if isinstance(one, Plastic)}
        return {name: jnp.zeros_like(one.age) for name, one in plastic.items()}

    def _parts(self, cell: Int[Array, ""]) -> tuple[AbstractGroupCell, ...]:
        if self.last is None:
            return self.parts
        return where_tree(cell == self.cells - 1, self.last, self.parts)

    def __call__(self, carry: LockstepCarry, x: CellInput) -> tuple[LockstepCarry, LockstepEmitted]:
        """The carry at the start of the next cell, and the spikes on the way there."""
        carry = self.count_in(carry)
        each = self.exact is not None
        carry, came = travelled(carry, self.delayed, x.slot, x.length, self.dt0, each)
        extra = x.extra[len(self.upward) + len(self.loops) :]
        came = [with_more(a, b, x.length) for a, b in zip(came, extra, strict=True)]
        parts, time = self._parts(carry.cell), CellTime(x.length, x.late, x.clock)
        found: list[Spikes] = []
        states: list[PopulationState] = []
        # By link, how strong its spikes are, and what plasticity there is at the end.
        amplitudes: dict[str, Array] = {}
        plastic: dict[str, Plastic | Learned] = {}

        def fired(link: Link) -> Sent:
            own, held = self._fired(link, found), carry.plastic.get(link.name)
            group = own
            if isinstance(held, Learned):
                # All groups have stepped.
                group = Fired(found[link.group].hit, found[link.group].offset)
            link, strong, after = link.sent(held, own, group, x.length)
            if strong is not None:
                amplitudes[link.name] = strong
            if after is not None:
                plastic[link.name] = after
            return Sent(link, own.hit, x.length - own.offset, strong)

        for n, (part, group) in enumerate(zip(parts, carry.groups, strict=True)):
            all_of = (n, fired, came, x)
            arrivals = self._each_arrival(*all_of, carry.cell) if each else self._arrivals(*all_of)
            motion, ports = part.smooth(group.y, x.of_group(n), arrivals, time)
            spikes = self._spikes(n, part, group, motion, time, x.given[n], x.known[n])
            found.append(spikes)
            states.append(PopulationState(part.state(spikes.x), ports, spikes.s))
        received = self._within(parts, fired, x)
        states = [
            part.delivered(y, spikes, time, got)
            for part, y, spikes, got in zip(parts, states, found, received, strict=True)
        ]
        for link in self.delayed:
            fired(link)
        emitted = self._emit(carry, found, states, amplitudes)
        carry = dataclasses.replace(self._next(carry, states, found), plastic=plastic)
        return sent_off(carry, emitted, self.delayed, x.slot, self.dt0), emitted

    def _spikes(
        self, n: int, part: AbstractGroupCell, group: GroupCarry, motion, time, given, known=None
    ) -> Spikes:
        observed = None if self.observed is None else self.observed[n]
        return part.spikes(
            group,
            motion,
            time,
            observed=observed,
            given=given,
            known=known,
            free=self.free,
        )

    def _fired(self, link: Link, found: list[Spikes]) -> Fired:
        """Which neurons of a link's rows fired, and when."""
        hit = link.of_rows(joined([one.hit for one in found]))
        return Fired(hit, link.of_rows(joined([one.offset for one in found])))

    def _arrivals(
        self, n: int, fired: Callable[[Link], Sent], came: list[Any], x: CellInput
    ) -> dict[str, Array]:
        """The moments of what arrives at the ports of a group and is known before it steps."""
        arrivals = dict(x.arrivals[n])
        for number, link in enumerate(self.upward):
            if link.group != n:
                continue
            sent = fired(link)
            sums = jnp.stack(sent.delivered(moments(x.length, sent.r)))
            add_to(arrivals, link.port, with_more(sums, x.extra[number], x.length))
        for link, sums in zip(self.delayed, came, strict=True):
            if link.group == n:
                add_to(arrivals, link.port, sums)
        return arrivals

    def _each_arrival(
        self, n: int, fired: Callable[[Link], Sent], came: list[Any], x: CellInput, cell: Array
    ) -> dict[str, list[SpikeArrivals | FromSource]]:
        """The same spike by spike."""
        assert self.exact is not None
        found: dict[str, list[SpikeArrivals | FromSource]] = {}
        own = lambda link: found.setdefault(link.port, []) if link.group == n else []
        sent = ((link, fired(link).each(x.length)) for link in self.upward if link.group == n)
        for link, arrivals in (*sent, *zip(self.delayed, came, strict=True)):
            own(link).append(arrivals)
        for source in self.exact.sources:
            own(source.link).append(source.in_cell(self.dt0, self.cells, cell, x.length))
        return found

    def _within(
        self,
        parts: tuple[AbstractGroupCell, ...],
        fired: Callable[[Link], Sent],
        x: CellInput,
    ):
        """What arrives at each group, by port, from neurons of its own level."""
        found: list[dict[str, list[Array]]] = [{} for _ in parts]
        for number, link in enumerate(self.loops):
            sent, size = fired(link), self.layout.groups[link.group].size
            sums = sent.delivered(parts[link.group].responses[link.port].sources(sent.r))
            sums = [link.onto_group(each, size) for each in sums]
            extra, own = x.extra[len(self.upward) + number], found[link.group]
            if extra is not None:
                sums = [s + extra[k] for k, s in enumerate(sums)]
            if link.port in own:
                sums = [a + b for a, b in zip(own[link.port], sums, strict=True)]
            own[link.port] = made_once(list(sums), x.length >= 0)
        return [
            {port: part.responses[port].targets(sums) for port, sums in own.items()}
            for part, own in zip(parts, found, strict=True)
        ]

    def sources(self, number: int, length: Scalar, r: Array) -> list[Array]:
        """What is summed over the spikes of a link."""
        link = self.links[number]
        if number < len(self.upward) or link.delay is not None:
            return moments(length, r)
        response = self.parts[link.group].responses[link.port]
        if self.last is not None:
            whole = jnp.abs(length - self.dt0) <= 1e-6 * self.dt0
            response = where_tree(whole, response, self.last[link.group].responses[link.port])
        return response.sources(r)

    def _next(self, carry: LockstepCarry, states, found: list[Spikes]) -> LockstepCarry:
        groups = []
        for n, (old, y, spikes) in enumerate(zip(carry.groups, states, found, strict=True)):
            counts, u = old.counts + spikes.hit.astype(old.counts.dtype), old.u
            if u is not None and self.free:
                u = jnp.where(spikes.hit, self.labels[n].of_all(counts + 1, u.dtype), u)
            groups.append(GroupCarry(y, counts, u, spikes.hold, old.reduced))
        fault = jnp.max(jnp.stack([spikes.fault for spikes in found]))
        fault = jnp.where(self._matters(carry), fault, carry.fault).astype(jnp.int32)
        return dataclasses.replace(carry, cell=carry.cell + 1, groups=tuple(groups), fault=fault)

    def _emit(
        self, carry: LockstepCarry, found: list[Spikes], states, amplitudes: dict[str, Array]
    ) -> LockstepEmitted:
        zero = [jnp.zeros_like(spikes.offset) for spikes in found]
        s = [z - 1 if y.s is None else y.s for z, y in zip(zero, states, strict=True)]
        kept = tuple(
            {name: self._before_end(carry, group.y[name]) for name in names}
            for group, names in zip(carry.groups, self.record, strict=False)
        )
        return LockstepEmitted(
            offsets=joined([jnp.where(one.hit, one.offset, jnp.inf) for one in found]),
            s=joined(s) if self.emit_s else None,
            approach=tuple(spikes.approach for spikes in found),
            kept=kept,
            origin=_without_ring(carry) if self.emit_origin else None,
            amplitudes=amplitudes,
        )

    def _before_end(self, carry: LockstepCarry, x: Array) -> Array:
        """`x`, and nan behind the end."""
        return x if self.stop_after is None else jnp.where(self.stopped(carry), jnp.nan, x)

    def finish(
        self, carry: LockstepCarry, late, clock, given=None
    ) -> tuple[LockstepCarry, LockstepEmitted]:
        """The state at t1, and the spikes that are overdue there, at most `LATE` of each neuron;
        `given` are those of observed neurons for which there was no cell."""
        time = CellTime(jnp.zeros_like(late), late, clock)
        given = (None,) * len(self.parts) if given is None else given

        def again(carry, given):
            # The potential is taken as constant over the fraction of a cell in question.
            found, states = [], []
            for n, (part, group) in enumerate(zip(self.parts, carry.groups, strict=True)):
                motion = part.flat(group.y)
                spikes = self._spikes(n, part, group, motion, time, given[n])
                found.append(spikes)
                y = PopulationState(part.state(spikes.x), group.y.ports, spikes.s)
                states.append(part.delivered(y, spikes, time, {}))
            emitted = self._emit(carry, found, states, self._silent(carry))
            return self._next(carry, states, found), emitted

        carry, emitted = jax.lax.scan(again, carry, given, length=LATE)
        above = []
        for n, (group, one) in enumerate(zip(self.layout.groups, carry.groups, strict=True)):
            over = group.event(group.potential(one.y.neuron), one.y.s) > 0
            over = over if one.hold is None else over & (one.hold < 0)
            above.append(jnp.any(over if self.observed is None else over & ~self.observed[n]))
        fault = jnp.where(self._matters(carry) & jnp.any(jnp.stack(above)), CROWDED, carry.fault)
        return eqx.tree_at(lambda c: c.fault, carry, fault.astype(jnp.int32)), emitted
