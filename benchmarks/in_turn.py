"""Processor time of programs that are run in turn, so that a busy machine slows all alike."""

import time
from collections.abc import Callable, Mapping
from typing import TypeVar

import jax

ROUNDS = 5
Name = TypeVar("Name")


def least_times(programs: Mapping[Name, Callable[[], object]]) -> dict[Name, float]:
    """The least time of each, in seconds, once it is compiled."""
    for run in programs.values():
        jax.block_until_ready(run())
    spent: dict[Name, list[float]] = {name: [] for name in programs}
    for _ in range(ROUNDS):
        for name, run in programs.items():
            start = time.process_time()
            jax.block_until_ready(run())
            spent[name].append(time.process_time() - start)
    return {name: min(times) for name, times in spent.items()}
