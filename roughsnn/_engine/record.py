"""Which states of a lockstep simulation are kept."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree, PyTreeDef

from .._misc import as_numbers, at_most, is_concrete, where_tree
from .._model.state import NeuronState
from .._solve.step import Grid
from .._window import Window
from .cell_map import CellMap
from .cell_state import CellInput, LockstepCarry, LockstepEmitted
from .inputs import InputSpikes
from .switches import Switches

_REDUCTIONS = ("mean", "max", "last")


class Record(NamedTuple):
    """One record: of which part of the state, and at which times or how reduced."""

    name: str
    how: Any


class Plan(eqx.Module):
    """What the loop has to do for the records that were asked for."""

    records: tuple[Record, ...]
    structure: PyTreeDef = eqx.field(static=True)

    @classmethod
    def of(cls, record: PyTree) -> "Plan":
        """Of `Lockstep.record`."""
        leaves, structure = jax.tree_util.tree_flatten_with_path(record)
        return cls(tuple(Record(path[0].key, how) for path, how in leaves), structure)

    def check(self, names: tuple[str, ...], window: Window) -> None:
        """`ValueError` for names of no part of the state, and times outside of the window."""
        for name, how in self.records:
            if name not in names:
                raise ValueError(
                    f"`record` names {name!r}, which is no part of the state; there are {names}."
                )
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
        return any(not isinstance(how, str) for _, how in self.records)

    @property
    def at_cells(self) -> tuple[str, ...]:
        """The parts of the state that are wanted at the border of every cell."""
        return tuple(sorted({name for name, how in self.records if _is(how, "cells")}))

    @property
    def on_the_way(self) -> tuple[tuple[str, str], ...]:
        """The reductions that the loop carries."""
        found = {(r.name, r.how) for r in self.records if _is(r.how, "mean") or _is(r.how, "max")}
        return tuple(sorted(found))

    def states(
        self,
        cell_map: CellMap,
        inputs: CellInput,
        emitted: LockstepEmitted,
        final: LockstepCarry,
        grid: Grid,
        known: Sequence[InputSpikes | Switches],
    ) -> PyTree | None:
        """The records, with the structure in which they were asked for."""
        if not self.records:
            return None
        ended = cell_map.stopped(final)
        last = where_tree(
            ended, jax.tree.map(lambda x: jnp.full_like(x, jnp.nan), final.y), final.y
        )
        reduced = cell_map.count_in(final)

        times = [r.how for r in self.records if not isinstance(r.how, str)]
        inside: list[NeuronState] = []
        if times:
            # All at once, so that the program does not grow with the number of records.
            assert emitted.origin is not None
            at = _InsideOfCells(cell_map, inputs, emitted.origin, last, grid, tuple(known))
            ends = np.cumsum([len(ts) for ts in times])[:-1]
            found = at(jnp.concatenate(times))
            inside = [
                jax.tree.map(lambda x, n=n: jnp.split(x, ends)[n], found) for n in range(len(times))
            ]
        next_inside = iter(inside)

        def one(record: Record) -> Array:
            name, how = record
            end = getattr(last, name)
            if not isinstance(how, str):
                return getattr(next(next_inside), name)
            if how == "cells":
                return jnp.concatenate([emitted.kept[name], end[None]])
            if how == "last":
                return end
            total = reduced.reduced[(name, how)]
            return total / reduced.borders.astype(total.dtype) if how == "mean" else total

        return jax.tree.unflatten(self.structure, [one(r) for r in self.records])


def _is(how: Any, word: str) -> bool:
    return isinstance(how, str) and how == word


def check_record(record: PyTree) -> PyTree:
    """`Lockstep.record` with its times as arrays."""
    if record is None:
        return None
    if not isinstance(record, Mapping) or not all(isinstance(name, str) for name in record):
        raise TypeError(
            "`record` must be a dictionary from names of parts of the state to what to keep, e.g. "
            f'{{"v": "cells"}}, got {record!r}.'
        )

    def one(how: Any) -> Any:
        if isinstance(how, Mapping):
            return {name: one(part) for name, part in how.items()}
        if isinstance(how, tuple):
            return tuple(one(part) for part in how)
        if isinstance(how, str):
            if how in ("cells", *_REDUCTIONS):
                return how
            raise ValueError(
                f"`record` may ask for 'cells', {', '.join(map(repr, _REDUCTIONS))} or an array of "
                f"times, got {how!r}."
            )
        times = as_numbers("record", how)
        if times.ndim != 1 or not jnp.issubdtype(times.dtype, jnp.floating):
            raise ValueError(
                "Times in `record` must be a floating array of shape (times,), got "
                f"{times.dtype} of shape {times.shape}."
            )
        if is_concrete(times) and np.any(np.diff(np.asarray(times)) < 0):
            raise ValueError("Times in `record` must be in increasing order.")
        return times

    return one(record)


class _InsideOfCells(NamedTuple):
    """States at given times: the cell of each is made once more, up to there."""

    cell_map: CellMap
    inputs: CellInput
    origin: LockstepCarry
    last: NeuronState
    grid: Grid
    known: tuple[InputSpikes | Switches, ...]

    def __call__(self, ts: Float[Array, " times"]) -> NeuronState:
        dtype, grid = self.inputs.begin.dtype, self.grid
        since = ts.astype(dtype)
        held = jax.lax.stop_gradient(since)
        number = jnp.floor(held / grid.dt0 + 1e-6).astype(jnp.int32)
        beyond = held >= grid.t1 * (1 - 1e-6)
        number = jnp.clip(number, 0, grid.cells - 1)
        return jax.lax.map(lambda args: self._at(*args), (number, since, beyond))

    def _at(self, number: Array, since: Array, beyond: Array) -> NeuronState:
        row = lambda tree: jax.tree.map(lambda x: x[number], tree)
        carry, x = row(self.origin), row(self.inputs)
        r = since - number.astype(since.dtype) * self.grid.dt0
        # At the border itself nothing has happened yet.
        at_start = jax.lax.stop_gradient(r) <= 1e-6 * x.length
        r = jnp.where(at_start, x.length, at_most(r, x.length))
        part = _part(x, r)
        if self.known:
            until = [one.delivered_until(number, r) for one in self.known]
            part = dataclasses.replace(part, outside=sum(until[1:], until[0]))
        y = where_tree(at_start, carry.y, self.cell_map(carry, part)[0].y)
        return where_tree(beyond, self.last, y)


def _part(x: CellInput, r: Array) -> CellInput:
    """The first part, of length r, of what drives a cell."""
    share = r / x.length
    between = lambda a, b: jax.tree.map(lambda a, b: a + (b - a) * share, a, b)
    drive = (x.drive[0], between(*x.drive))
    noise = (x.noise[0], between(*x.noise)) if len(x.noise) > 1 else x.noise
    return dataclasses.replace(x, length=r, drive=drive, noise=noise)
