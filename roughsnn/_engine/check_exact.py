"""Which networks the lockstep engine can move exactly."""

from .._model.drive import Constant, Rows
from .._model.firing import HardThreshold
from .._model.levels import levels_of
from .._model.population import ConstantRate, Population
from .._model.stdp import PairSTDP
from .._path.step import StepPath
from .._types import DriveFunction
from .linear import is_linear
from .problem import Problem
from .switches import jumps_inside

_OTHER = "Use roughsnn.Lockstep() or roughsnn.EventByEvent()."


def bends(drive: DriveFunction) -> bool:
    """Whether a drive may change within a step."""
    return not isinstance(drive, Constant | Rows | StepPath)


def check_exact(problem: Problem) -> None:
    """`ValueError` for what has no exact motion from arrival to arrival."""
    network = problem.network
    if problem.noisy:
        _refuse("needs a network without noise: set each `sigma` to None or 0")
    for name, population in network.simulated.items():
        _check_population(name, population)
    for n, p in enumerate(network.projections):
        if isinstance(p.plasticity, PairSTDP):
            _refuse(f"takes no weights that learn, got a PairSTDP in `projections[{n}]`")
    levels = levels_of(network)
    for p in network.projections:
        if p.delay is None and p.pre in levels and levels[p.pre] == levels[p.post]:
            _refuse(
                "needs a delay of at least `dt0` in each loop, got none in that from "
                f"{p.pre!r} onto {p.post!r}"
            )
    drive, zero = problem.drive, problem.clock.zero
    if isinstance(drive, StepPath) and jumps_inside(drive, zero, problem.window.dt0):
        _refuse("takes a drive that jumps between cells only")


def _check_population(name: str, population: Population) -> None:
    if not is_linear(population):
        _refuse(f"needs linear neurons and synapses, which those of {name!r} are not")
    if isinstance(population.firing, ConstantRate):
        # Its second spike in a cell is found by the next one.
        _refuse(
            f"takes no Poisson population, got {name!r}: draw spikes with "
            "roughsnn.poisson_spikes, and give them to a roughsnn.Source"
        )
    if not isinstance(population.firing, HardThreshold | type(None)):
        got = type(population.firing).__name__
        _refuse(f"needs a HardThreshold, got a {got} for {name!r}")


def _refuse(what: str) -> None:
    raise ValueError(f"`Lockstep(exact=True)` {what}. {_OTHER}")
