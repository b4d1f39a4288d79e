"""The loop of a fit on the host, which looks at the device as seldom as it may."""

import contextlib
import time
from collections.abc import Mapping
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from tqdm.auto import tqdm

from .._misc import is_concrete
from .._step.report import StepReport
from .check import StepCheck
from .fingerprint import fingerprint
from .loop import Loop
from .step import (
    CAPACITY,
    NO_PATIENCE,
    NOT_FINITE,
    RUNNING,
    Problem,
    Row,
    State,
    on_trace,
    row_of_step,
    run_block,
)

# How long the device works before the loop looks at it, in seconds.
_LATENCY = 0.25


class Run(NamedTuple):
    """What came of the loop."""

    state: State
    history: dict[str, np.ndarray]
    validation: np.ndarray | None
    seconds: np.ndarray
    stopped: str | None
    reports: tuple[StepReport, ...] = ()


class _Table:
    """The history: columns of which as many entries are filled as steps were made."""

    def __init__(self, row: Row, steps: int):
        columns = {"loss": row.loss, **row.metrics}
        self.columns = {name: np.zeros(steps, x.dtype) for name, x in columns.items()}
        self.validation = None
        if row.validation is not None:
            self.validation = np.zeros(steps, row.validation.dtype)
        self.filled = 0

    def add(self, rows: Row, number: int) -> None:
        """Adds the first `number` rows of a block."""
        part = slice(self.filled, self.filled + number)
        for name, new in {"loss": rows.loss, **rows.metrics}.items():
            self.columns[name][part] = new[:number]
        if self.validation is not None and rows.validation is not None:
            self.validation[part] = rows.validation[:number]
        self.filled += number

    def row(self, index: int) -> dict[str, float]:
        """The losses and metrics of one step."""
        return {name: float(column[index]) for name, column in self.columns.items()}

    def so_far(self) -> tuple[dict[str, np.ndarray], np.ndarray | None]:
        """What is filled."""
        columns = {name: column[: self.filled] for name, column in self.columns.items()}
        return columns, None if self.validation is None else self.validation[: self.filled]

    def saved(self) -> dict[str, np.ndarray]:
        """What is filled, for a checkpoint."""
        columns, validation = self.so_far()
        named = {f"history/{name}": column for name, column in columns.items()}
        return named if validation is None else {**named, "validation": validation}

    def load(self, saved: Mapping[str, np.ndarray]) -> None:
        """The inverse of `saved`; the fit is known to be the same."""
        self.filled = len(saved["history/loss"])
        for name, column in self.columns.items():
            column[: self.filled] = saved[f"history/{name}"]
        if self.validation is not None:
            self.validation[: self.filled] = saved["validation"]


class _Pace:
    """How many steps a block may have."""

    def __init__(self, *, single: bool):
        self.size, self.single, self.compiled = 1, single, False

    def learn(self, made: int, seconds: float) -> None:
        """From a block; the first one may have been compiled in its time."""
        if self.compiled and not self.single:
            fitting = int(_LATENCY * made / seconds)
            self.size = min(max(fitting, 1), 4 * self.size, CAPACITY)
        self.compiled = True


class _Saver:
    """The checkpoint, if there is one."""

    def __init__(self, loop: Loop, problem: Problem, state: State, row: Row):
        self.checkpoint = loop.checkpoint
        if self.checkpoint is not None:
            self.fit = fingerprint(problem, state, row)

    def load(self, state: State, table: _Table, steps: int) -> State:
        """Where the fit goes on."""
        if self.checkpoint is None:
            return state
        loaded = self.checkpoint.load(self.fit, state)
        if loaded is None:
            return state
        state, saved = loaded
        done = int(state.step)
        if done > steps:
            raise ValueError(
                f"The checkpoint is {done} steps far already, `steps` is {steps}: raise it, or "
                "remove the checkpoint."
            )
        table.load(saved)
        return state

    def next(self, done: int, steps: int) -> int:
        """How many steps may be done before the loop must look at the state."""
        return steps if self.checkpoint is None else min(steps, self.checkpoint.next(done))

    def save(self, state: State, table: _Table, done: int, steps: int) -> str | None:
        """Writes it if it is due; what went wrong."""
        if self.checkpoint is None or (done % self.checkpoint.every and done != steps):
            return None
        return self.checkpoint.save(self.fit, state, table.saved())


def run_in_blocks(problem: Problem, state: State, steps: int, loop: Loop) -> Run | None:
    """Makes the steps; `None` if it turns out that the losses depend on a traced value."""
    hidden = None if loop.progress is None else not loop.progress
    alone = contextlib.nullcontext() if loop.checkpoint is None else loop.checkpoint.held()
    with alone, tqdm(total=steps, disable=hidden, desc="fit") as bar:
        token = on_trace.set(lambda: bar.set_description("compiling"))
        try:
            return _checked_run(problem, state, steps, loop, bar)
        finally:
            on_trace.reset(token)


def _checked_run(problem: Problem, state: State, steps: int, loop: Loop, bar: tqdm) -> Run | None:
    """The run, between two looks at what the length of the cells does."""
    if not loop.check_step:
        return _run(problem, state, steps, loop, bar)
    bar.set_description("checking dt0")
    check = StepCheck(problem, state)
    check.at_start(state)
    run = _run(problem, state, steps, loop, bar)
    if run is None:
        return None
    bar.set_description("checking dt0")
    check.at_end(run.state)
    bar.set_description("fit")
    return run._replace(reports=tuple(check.reports))


def _run(problem: Problem, state: State, steps: int, loop: Loop, bar: tqdm) -> Run | None:
    begin = time.perf_counter()
    row = row_of_step(problem, state)
    table, pace = _Table(row, steps), _Pace(single=loop.callback is not None)
    saver = _Saver(loop, problem, state, row)
    state = saver.load(state, table, steps)
    done, status, stopped = table.filled, int(state.status), None
    seconds = np.zeros(steps + 1 - done)
    bar.update(done)
    begun = done
    while done < steps and status == RUNNING and stopped is None:
        count = min(pace.size, saver.next(done, steps) - done)
        state, rows, made = run_block(problem, state, jnp.asarray(count, jnp.int32))
        if not is_concrete(state, rows):
            return None
        rows, made, status, after = jax.device_get((rows, made, state.status, state.step))
        made, status, after = int(made), int(status), int(after)
        elapsed = time.perf_counter() - begin
        begin = time.perf_counter()
        pace.learn(made, elapsed)
        seconds[table.filled - begun :][:made] = elapsed / made
        table.add(rows, made)
        _show(bar, table, after - done)
        done = after
        if status == NOT_FINITE:
            break
        stopped = saver.save(state, table, done, steps)
        if loop.callback is not None:
            model = eqx.combine(state.params, problem.static)
            if loop.callback(done - 1, model, table.row(done - 1)):
                # A checkpoint that could not be written is the more important reason.
                stopped = stopped or f"The callback ended the fit after step {done - 1}."
    stopped = stopped or _reason(problem, status, done)
    history, validation = table.so_far()
    return Run(state, history, validation, seconds[: table.filled - begun], stopped)


def _show(bar: tqdm, table: _Table, made: int) -> None:
    if bar.disable:
        return
    bar.set_description("fit", refresh=False)
    last = table.row(table.filled - 1)
    bar.set_postfix({name: f"{value:.4g}" for name, value in last.items()}, refresh=False)
    bar.update(made)


def _reason(problem: Problem, status: int, done: int) -> str | None:
    """Why the program made no more steps."""
    if status == NOT_FINITE:
        which = "the one before it" if problem.validation is None else "the best one before it"
        return f"The loss or its gradient was not finite at step {done}; the model is {which}."
    if status == NO_PATIENCE:
        assert problem.validation is not None
        return (
            f"The validation loss reached no new lowest value in {problem.validation.patience} "
            f"evaluations, up to step {done}; the model is the best one."
        )
    return None
