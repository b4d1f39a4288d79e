"""Which states of a lockstep simulation are kept."""

import dataclasses
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree, PyTreeDef

from .._misc import at_most, is_concrete, where_tree
from .._model.network import SpikingNetwork, find_value
from .._model.state import Member, NetworkState
from .._solve.adjoint import Scratch
from .._window import Window
from .any_cell import group_cell_of
from .cell_map import CellMap
from .cell_state import CellInput, LockstepCarry, LockstepEmitted
from .delivery import add_to
from .feed import Feed
from .linear import Affine, Matrices, equations_of
from .recent import Recent
from .switches import switches_of


class Record(NamedTuple):
    """One record: of which part of the state of a population, and at which times or how reduced."""

    member: Member
    name: str
    how: Any


class Plan(eqx.Module):
    """What the loop has to do for the records that were asked for."""

    hows: tuple[Any, ...]
    wanted: tuple[tuple[Member, str], ...] = eqx.field(static=True)
    groups: int = eqx.field(static=True)
    structure: PyTreeDef = eqx.field(static=True)

    @classmethod
    def of(cls, record: PyTree, members: tuple[Member, ...]) -> "Plan":
        """Of `Lockstep.record`."""
        leaves, structure = jax.tree_util.tree_flatten_with_path(record)
        names = {m.name: m for m in members}
        words: list[list[str]] = [[str(getattr(k, "key", "")) for k in path] for path, _ in leaves]
        by_population = len(members) > 1 or {path[0] for path in words} <= set(names)
        wanted, hows = [], []
        for path, (_, how) in zip(words, leaves, strict=True):
            if not by_population:
                wanted.append((next(iter(members)), path[0]))
            else:
                member = find_value(path[0], names, "population, in `record`")
                part = path[1] if len(path) > 1 else ""
                if not part:
                    raise ValueError(
                        f"`record[{path[0]!r}]` must be a dictionary from parts of the state "
                        'to what to keep, e.g. {"v": "cells"}.'
                    )
                wanted.append((member, part))
            hows.append(how)
        groups = 1 + max(m.group for m in members)
        return cls(tuple(hows), tuple(wanted), groups, structure)

    @property
    def records(self) -> tuple[Record, ...]:
        """All of them."""
        pairs = zip(self.wanted, self.hows, strict=True)
        return tuple(Record(member, name, how) for (member, name), how in pairs)

    def check(self, network: SpikingNetwork, window: Window) -> None:
        """`ValueError` for names of no part of the state, and times outside of the window."""
        for member, name, how in self.records:
            population = network.simulated[member.name]
            parts = jax.eval_shape(population.rest).parts()
            find_value(name, parts, f"part of the state of {member.name!r}, in `record`")
            if isinstance(how, str) or not is_concrete(how):
                continue
            times, slack = np.asarray(how), 1e-6 * (window.t1 - window.t0)
            if np.any(times < window.t0 - slack) or np.any(times > window.t1 + slack):
                raise ValueError(
                    f"The times of `record[{name!r}]` must lie in the window [{window.t0}, "
                    f"{window.t1}], got {times}."
                )

    @property
    def at_times(self) -> bool:
        """Whether states inside of cells are wanted."""
        return any(not isinstance(how, str) for how in self.hows)

    @property
    def at_cells(self) -> tuple[tuple[str, ...], ...]:
        """The parts of the state of each group that are wanted at the border of every cell."""
        own = [{r.name for r in self._of(n) if _is(r.how, "cells")} for n in range(self.groups)]
        return tuple(tuple(sorted(names)) for names in own)

    @property
    def on_the_way(self) -> tuple[tuple[tuple[str, str], ...], ...]:
        """The reductions that the loop carries, for each group."""
        reduced = lambda how: _is(how, "mean") or _is(how, "max")
        own = [{(r.name, r.how) for r in self._of(n) if reduced(r.how)} for n in range(self.groups)]
        return tuple(tuple(sorted(names)) for names in own)

    def _of(self, group: int) -> list[Record]:
        return [record for record in self.records if record.member.group == group]

    def states(
        self,
        cell_map: CellMap,
        inputs: CellInput | None,
        emitted: LockstepEmitted,
        final: LockstepCarry,
        feed: Feed,
        history: Recent | None = None,
    ) -> PyTree | None:
        """The records, with the structure in which they were asked for; `history` is the spikes of
        the cells, and of those before from which spikes are on their way."""
        if not self.hows:
            return None
        ended = cell_map.stopped(final)
        end = cell_map.state(final)
        last = where_tree(ended, jax.tree.map(lambda x: jnp.full_like(x, jnp.nan), end), end)
        reduced = cell_map.count_in(final)

        times = [how for how in self.hows if not isinstance(how, str)]
        inside: list[NetworkState] = []
        if times:
            # All at once, so that the program does not grow with the number of records.
            assert emitted.origin is not None and inputs is not None
            groups = cell_map.layout.groups
            equations = tuple(equations_of(group, feed.problem.dtype) for group in groups)
            at = _InsideOfCells(cell_map, inputs, emitted.origin, last, feed, equations, history)
            ends = np.cumsum([len(ts) for ts in times])[:-1]
            found = at(jnp.concatenate(times))
            inside = [
                jax.tree.map(lambda x, n=n: jnp.split(x, ends)[n], found) for n in range(len(times))
            ]
        next_inside = iter(inside)

        def one(record: Record) -> Array:
            m, name, how = record
            own = lambda x: x[m.start : m.stop]
            if not isinstance(how, str):
                return next(next_inside).groups[m.group][name][:, m.start : m.stop]
            end = own(last.groups[m.group][name])
            if how == "cells":
                kept = emitted.kept[m.group][name][:, m.start : m.stop]
                return jnp.concatenate([kept, end[None]])
            if how == "last":
                return end
            total = own(reduced.groups[m.group].reduced[(name, how)])
            return total / reduced.borders.astype(total.dtype) if how == "mean" else total

        return jax.tree.unflatten(self.structure, [one(r) for r in self.records])


def _is(how: Any, word: str) -> bool:
    return isinstance(how, str) and how == word


class _InsideOfCells(NamedTuple):
    """States at given times: the cell of each is made once more, up to there."""

    cell_map: CellMap
    inputs: CellInput
    origin: LockstepCarry
    last: NetworkState
    feed: Feed
    equations: tuple[Matrices | dict[str, Affine], ...]
    history: Recent | None

    def __call__(self, ts: Float[Array, " times"]) -> NetworkState:
        dtype, grid = self.inputs.begin.dtype, self.feed.problem.grid
        since = ts.astype(dtype)
        held = jax.lax.stop_gradient(since)
        number = jnp.floor(held / grid.dt0 + 1e-6).astype(jnp.int32)
        beyond = held >= grid.t1 * (1 - 1e-6)
        number = jnp.clip(number, 0, grid.cells - 1)
        return jax.lax.map(lambda args: self._at(*args), (number, since, beyond))

    def _at(self, number: Array, since: Array, beyond: Array) -> NetworkState:
        row = lambda tree: jax.tree.map(lambda x: x[number], tree)
        carry, x, dt0 = row(self.origin), row(self.inputs), self.cell_map.dt0
        r = since - number.astype(since.dtype) * dt0
        # At the border itself nothing has happened yet.
        at_start = jax.lax.stop_gradient(r) <= 1e-6 * x.length
        r = jnp.where(at_start, x.length, at_most(r, x.length))
        groups = self.cell_map.layout.groups
        pairs = zip(groups, self.equations, strict=True)
        how = self.cell_map.hurst, self.cell_map.exact
        parts = tuple(group_cell_of(group, m, r, dt0, *how) for group, m in pairs)
        cell_map = dataclasses.replace(self.cell_map, parts=parts, last=None)
        if cell_map.slots:
            assert self.history is not None
            # As the loop has it there.
            ring = self.history.cells(number, cell_map.slots).turned(number % cell_map.slots)
            carry = dataclasses.replace(carry, ring=Scratch(ring))
        after = cell_map.state(cell_map(carry, self._part(x, number, r))[0])
        y = where_tree(at_start, cell_map.state(carry), after)
        return where_tree(beyond, self.last, y)

    def _part(self, x: CellInput, number: Array, r: Array) -> CellInput:
        """The first part, of length r, of what drives a cell."""
        problem, layout, lengths = self.feed.problem, self.cell_map.layout, self.inputs.length
        share = r / x.length
        drive = tuple((a, a + (b - a) * share) for a, b in x.drive)
        switches = switches_of(problem.drive, problem.grid, lengths)
        if switches is not None:
            line = switches.line_until(number, r)
            drive = tuple((g.of_network(line[0]), g.of_network(line[1])) for g in layout.groups)
        arrivals: tuple[dict[str, Array], ...] = tuple({} for _ in layout.groups)
        for one in () if self.feed.each else self.feed.arriving:
            came = one.moments_until(problem.grid, lengths, number, r)
            add_to(arrivals[one.link.group], one.link.port, came)
        change = jax.tree.map(lambda d: d * share, x.change)
        return dataclasses.replace(x, length=r, drive=drive, change=change, arrivals=arrivals)
