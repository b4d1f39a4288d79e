"""What drives the cells of the lockstep engine, made for some of them at a time."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from .._model.drive import Rows, evaluate_drive
from .._model.layout import Group
from .._path.base import AbstractJumpPath
from .._path.grid import GridPath
from .cell_map import CellMap
from .cell_state import CellInput, Slopes
from .delivery import add_to
from .group_cell import LATE
from .linear import slopes_of
from .problem import Problem
from .sources import Arriving
from .switches import switches_of


class Given(eqx.Module):
    """What there is for all cells before any of them is made, with a row for each."""

    # Rows of the drive at the start and the end of a cell.
    drive: tuple[Array, Array] | None
    # Increments and areas of noise that was given.
    noise: tuple[Array, Array | None] | None
    # The moments of the spikes of sources, by port, for each group.
    arrivals: tuple[dict[str, Array], ...]

    def blocked(self, blocks: int, size: int) -> "Given":
        """In so many blocks of so many cells; behind the last cell it comes again."""

        def cut(x: Array) -> Array:
            padding = blocks * size - x.shape[0]
            x = jnp.pad(x, [(0, padding)] + [(0, 0)] * (x.ndim - 1), mode="edge")
            return x.reshape(blocks, size, *x.shape[1:])

        return jax.tree.map(cut, self)


class Feed(eqx.Module):
    """Makes what drives so many cells, `size`, at a time."""

    problem: Problem
    path: GridPath | None
    # The spikes of sources.
    arriving: tuple[Arriving, ...]
    links: int = eqx.field(static=True)
    slots: int = eqx.field(static=True)
    # Whether the spikes of sources are looked at one by one in each cell.
    each: bool = eqx.field(static=True)

    @classmethod
    def of(cls, problem: Problem, arriving: tuple[Arriving, ...], cell_map: CellMap) -> "Feed":
        """Of a problem with these spikes of sources; noise is drawn block by block if it is not
        given."""
        links = len(cell_map.links)
        return cls(
            problem,
            problem.given_noise(),
            arriving,
            links,
            cell_map.slots,
            cell_map.exact is not None,
        )

    def given(self) -> Given:
        """What there is for all cells."""
        problem, grid, layout = self.problem, self.problem.grid, self.problem.layout
        dtype = problem.dtype
        numbers = jnp.arange(grid.cells, dtype=jnp.int32)
        lengths = jax.vmap(lambda n: grid.length(n, dtype))(numbers)
        drive, switches = None, switches_of(problem.drive, grid, lengths)
        if switches is not None:
            drive = switches.lines()
        elif isinstance(problem.drive, Rows):
            values = problem.drive.values.astype(dtype)
            drive = values, values
        arrivals: tuple[dict[str, Array], ...] = tuple({} for _ in layout.groups)
        for one in () if self.each else self.arriving:
            add_to(arrivals[one.link.group], one.link.port, one.moments(grid, lengths))
        return Given(drive, None if self.path is None else self.path.arrays(), arrivals)

    def cells(self, first: int | Int[Array, ""], size: int, given: Given) -> CellInput:
        """What drives `size` cells from `first` on, given the rows of these; behind the last cell
        that of the last one, with noise of its own."""
        problem, grid, layout = self.problem, self.problem.grid, self.problem.layout
        drive, dtype = problem.drive, problem.dtype
        local = jnp.arange(size, dtype=jnp.int32)
        numbers = jnp.minimum(first + local, grid.cells - 1)
        starts = jax.vmap(lambda n: grid.start(n, dtype))(numbers)
        clock = jax.vmap(lambda n: grid.clock.start(n, dtype))(numbers)
        lengths = jax.vmap(lambda n: grid.length(n, dtype))(numbers)
        drives = given.drive
        if drives is None:
            # Off the border of the cell if the drive may jump there, by more than times are
            # rounded.
            inwards = 0.0
            if isinstance(drive, AbstractJumpPath):
                begin = grid.clock.start(0, dtype)
                rounding = float(jnp.finfo(dtype).eps) * (abs(begin) + grid.t1)
                inwards = jnp.maximum(1e-4 * grid.dt0, 8 * rounding)
            at = jax.vmap(lambda t: evaluate_drive(drive, t).astype(dtype))
            drives = at(clock + inwards), at(clock + lengths - inwards)
        noise, change = self._slopes(first, local, lengths, given)
        # Nothing was before the first window.
        late = jnp.minimum(grid.clock.cells + numbers, LATE).astype(dtype) * grid.dt0
        return CellInput(
            begin=starts,
            slot=local % max(self.slots, 1),
            length=lengths,
            clock=clock,
            late=late,
            drive=tuple(_of_group(group, *drives) for group in layout.groups),
            noise=noise,
            change=change,
            arrivals=given.arrivals,
            extra=(None,) * self.links,
            given=(None,) * len(layout.groups),
            known=(None,) * len(layout.groups),
        )

    def _slopes(self, first, local: Array, lengths: Array, given: Given):
        """The slopes of the noise at the start of each cell, and their change along it."""
        problem, layout = self.problem, self.problem.layout
        nothing: tuple[Slopes | None, ...] = (None,) * len(layout.groups)
        if not problem.noisy:
            return nothing, nothing
        size, dt0 = lengths.shape[0], problem.grid.dt0
        if given.noise is None:
            path = problem.drawn(first, size)
        else:
            increments, areas = given.noise
            path = GridPath(increments, t0=0.0, t1=size * dt0, dt=dt0, areas=areas)
        slope = jax.vmap(lambda n, r: slopes_of(layout, path.cell(n).derivative(r)))
        start = slope(local, jnp.zeros_like(lengths))
        if path.arrays()[1] is None:
            return start, nothing
        return start, jax.tree.map(jnp.subtract, slope(local, lengths), start)


def _of_group(group: Group, start: Array, end: Array) -> tuple[Array, Array]:
    """The drive of a group."""
    return group.of_network(start), group.of_network(end)
