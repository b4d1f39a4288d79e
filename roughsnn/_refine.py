"""Simulations in shorter cells than they ask for, to see what their length does."""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from typing import NamedTuple

from jax.experimental.xla_metadata import set_xla_metadata

from ._window import Window


class StepWarning(UserWarning):
    """The cells of a simulation are so long that a number depends on their length."""


class Refinement(NamedTuple):
    """How many cells become of one, and the cell lengths that were asked for."""

    factor: int
    lengths: set[float]


_active: ContextVar[Refinement | None] = ContextVar("refinement", default=None)
_numbers = itertools.count()
# By how much cells that were asked for are too long for the time constants of networks, and the
# warning, from programs that were traced inside. One list for all, as a program that is kept does
# not know for whom it runs.
too_long: list[tuple[float, str]] = []


@contextmanager
def refined(factor: int, *, traced: bool = True) -> Iterator[Refinement]:
    """Inside, each [`roughsnn.simulate`][] and its kin runs in cells that are `factor` times
    shorter, whatever window it is given.

    To be entered while a function is traced, unless `traced=False`. JAX keeps traces by what is
    written on operations, so a number of its own keeps those made here from being taken for others.
    """
    refinement = Refinement(factor, set())
    token = _active.set(refinement)
    number = f"{factor}_{next(_numbers)}"
    try:
        with set_xla_metadata(roughsnn_refined=number) if traced else nullcontext():
            yield refinement
    finally:
        _active.reset(token)


def refinement() -> Refinement | None:
    """The one that is active."""
    return _active.get()


def refined_window(window: Window) -> Window:
    """The window in the cells of the refinement that is active."""
    active = refinement()
    if active is None:
        return window
    active.lengths.add(window.dt0)
    return window.refined(active.factor)
