"""What the length of the cells does to the loss of a fit."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

from .._misc import is_concrete, warn
from .._refine import StepWarning, too_long
from .._step.check import one_by_one, quickly_compiled, report_of
from .._step.ladder import Ladder, climb
from .._step.report import StepReport
from .._types import PRNGKey, Scalar
from .step import Problem, State

# How many keys are compared, and a number that no step has.
_SAMPLES, _CHECK = 4, 2**32 - 3
_LEVELS = 6
# What a loss may be off by, as a fraction of its size, and by how much it may come to be off, as
# a fraction of what the fit gained; less than the last one is never of interest.
_OF_SIZE, _OF_GAIN, _LEAST = 0.05, 0.1, 0.005


class StepCheck:
    """The losses at the start and at the end of a fit, on the data of its first step."""

    def __init__(self, problem: Problem, state: State):
        self.keys = jr.split(jr.fold_in(problem.key, _CHECK), _SAMPLES)
        self.problem, self.reports = problem, []
        _, met = eqx.filter_eval_shape(one_by_one, _loss, self._args(state), self.keys, 1)
        # The lengths of cells that the losses ask for.
        self.lengths = met.lengths
        self.first: Ladder | None = None

    def _args(self, state: State):
        return self.problem, state.params

    def at_start(self, state: State) -> None:
        """Warns if the loss is off by more than a fraction of its size."""
        self._look("start", state)

    def at_end(self, state: State) -> None:
        """Warns if the loss is off by more than a fraction of its size, or has come to be off by
        more than a fraction of what was gained."""
        self._look("end", state)

    def _look(self, when: str, state: State) -> None:
        if not self.lengths or not is_concrete(state, self.problem):
            return
        too_long.clear()
        run = quickly_compiled(jax.default_backend())

        def evaluate(level: int) -> np.ndarray:
            args = self._args(state)
            found, _ = run(_loss, args, self.keys, 2**level)
            return np.asarray(found, np.float64)[:, None]

        try:
            ladder = climb(evaluate, _LEVELS, self._allowed)
        except (TypeError, ValueError, RuntimeError) as e:
            message = f"Whether the loss depends on `dt0` could not be checked: {e}"
            warn(message, StepWarning)
            return
        jax.effects_barrier()
        if too_long:
            warn(max(too_long)[1], StepWarning)
        dts = [min(self.lengths) / 2**n for n in range(len(ladder.values))]
        report = report_of(dts, ladder, self._allowed(ladder), ["loss"], np.zeros(1, int))
        if report.verdict == "depends on dt0":
            gained = None
            if self.first is not None:
                gained = float(self.first.values[0, 0] - ladder.values[0, 0])
            warn(_message(when, report, gained), StepWarning)
        self.first = ladder
        self.reports.append(report)

    def _allowed(self, ladder: Ladder) -> np.ndarray:
        size = np.abs(ladder.values[0])
        if self.first is None:
            return _OF_SIZE * size
        size = np.maximum(size, np.abs(self.first.values[0]))
        gained = np.abs(ladder.values[0] - self.first.values[0])
        least = np.maximum(_OF_GAIN * gained, _LEAST * size)
        exploited = np.abs(ladder.error - self.first.error) > least
        return np.minimum(_OF_SIZE * size, np.where(exploited, least, np.inf))


def _loss(problem: Problem, params, key: PRNGKey) -> Scalar:
    """The sum of the losses on the data of the first step."""
    first = jnp.zeros((), jnp.int32)
    data, _ = problem.batch(first, problem.order(first))
    return problem.objective.value(params, problem.static, data, key)


def _message(when: str, report: StepReport, gained: float | None) -> str:
    (line,) = report.lines
    off = f"{line.error:.3g} off"
    if gained:
        off += f", {abs(line.error / gained):.0%} of what the fit gained"
    enough = next(
        (
            n
            for n, value in enumerate(line.values)
            if n and abs(value - line.limit) <= abs(line.tolerance)
        ),
        len(line.values),
    )
    return (
        f"At the {when} of the fit the loss depends on the length of the cells: it is "
        f"{line.values[0]:.5g} with dt0={report.dts[0]:.3g}, and {line.limit:.5g} as dt0 -> 0 "
        f"({off}). Take window.refined({2**enough}), or keep the time constants longer than a "
        "cell."
    )
