"""Wrong arguments of every public function end in one of the package's own sentences."""

import collections
import inspect
import warnings
from collections.abc import Callable

import jax
import matplotlib
import matplotlib.pyplot as plt
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import roughsnn as rs

from .fuzzing.calls import CALLS
from .fuzzing.outcome import outcome_of
from .fuzzing.replacements import replacements_of

NOT_CALLED = {
    "a base class": {name for name in vars(rs) if name.startswith("Abstract")},
    "a function returns it": {
        *("Boundary", "Clamped", "ConditionReport", "Eligibility", "FinalState", "Fit"),
        *("LogLikelihood", "Multilevel", "OnlineGradient", "OnlineSimulation", "Saved"),
        *("Simulation", "Solution"),
        *("losses.TwoSampleTest", "scores.ConnectivityRecovery", "scores.Explosions"),
        *("testing.GradientReport", "testing.RescalingTest", "testing.StepLine"),
        *("testing.StepReport", "io.Finding", "io.Recording", "io.Report"),
        *("NetworkState", "PopulationState", "neurons.LIFState", "neurons.AdaptiveState"),
        *("neurons.GLIFState", "neurons.HistoryState", "neurons.ResonatorState"),
        *("neurons.AdExState", "neurons.IzhikevichState"),
        *("tasks.Episodes", "tasks.Splits"),
        *("synapses.AlphaState", "synapses.DoubleState", "synapses.TsodyksMarkramState"),
    },
    "no function": {
        *("RESULTS", "CheckpointWarning", "SelectionWarning", "StepWarning", "io.DataWarning"),
    },
}
# What must look like a mistake to no function: any replacement of an argument, or one.
ALLOWED = {
    ("eventsolve", "args"): "anything is passed on to the functions of the caller",
    ("reference_solve", "args"): "anything is passed on to the functions of the caller",
    ("fit", "data"): "anything is passed on to the losses",
    ("Validation", "data"): "anything is passed on to the losses",
    ("io.split_trials", "batch"): "any pytree with a leading axis",
    ("save", "model"): "any pytree of what a file can hold",
    ("load", "path", "nonsense"): "any text will do",
    ("save", "path", "nonsense"): "any text will do",
    ("io.read_nwb", "path", "nonsense"): "any text will do",
    ("io.write_nwb", "path", "nonsense"): "any text will do",
    ("Checkpoint", "folder", "nonsense"): "any text will do",
    ("Bound", "name"): "any text will do",
    ("Projection", "pre", "nonsense"): "any text will do",
    ("Projection", "post", "nonsense"): "any text will do",
    ("Projection", "port", "nonsense"): "any text will do",
    ("save", "names", "words"): "these are names",
    ("io.Session", "names", "words"): "these are names",
    ("online_gradient", "params"): "what nan does to them is a matter of the problem",
    ("online_gradient", "direction"): "nan has a derivative of nan",
    ("simulate_online", "params"): "what nan does to them is a matter of the model",
    ("simulate_online", "direction"): "nan has a derivative of nan",
    ("CadlagPath", "ys"): "a path that was saved may be nan behind its end",
    ("losses.kernel_score", "y"): "it may be one train",
    ("tasks.Labelled", "inputs"): "any pytree of arrays with a leading axis",
    ("plot.matrix", "values"): "entries that are nan stay white",
}
# What reads its results, so that it has to run; all else is only traced.
RUN = (
    *("scores.", "plot.", "io.", "tasks.", "testing.", "fit", "multilevel_mean", "check", "Bound"),
    *("drop_failed", "save", "load"),
)
EXAMPLES_OF_AN_ARGUMENT = 4


def public_names():
    for prefix, module in (
        ("", rs),
        ("connectors.", rs.connectors),
        ("neurons.", rs.neurons),
        ("synapses.", rs.synapses),
        ("losses.", rs.losses),
        ("scores.", rs.scores),
        ("testing.", rs.testing),
        ("io.", rs.io),
        ("plot.", rs.plot),
        ("tasks.", rs.tasks),
    ):
        for name, thing in vars(module).items():
            if not name.startswith("_") and callable(thing):
                yield f"{prefix}{name}"


def test_every_public_name_is_called():
    called = set(CALLS) | {name.rpartition(".")[0] for name in CALLS}
    known = called.union(*NOT_CALLED.values())
    assert not set(public_names()) - known
    # Nothing is left out that is gone.
    assert not set().union(*NOT_CALLED.values()) - set(public_names())


def test_every_parameter_is_replaced():
    """But for flags, what may be left out, and looks."""
    looks = {"ax", "label", "color", "description"}
    for name, call in CALLS.items():
        for parameter in inspect.signature(call.fn).parameters.values():
            optional = parameter.default is None or parameter.default is inspect.Signature.empty
            number = isinstance(parameter.default, float | int) and parameter.default not in (0, 1)
            if number or (optional and parameter.default is not None and parameter.kind < 2):
                assert parameter.name in {*call.arguments, *looks}, f"{name}: {parameter}"


def attempt(name: str, changed: dict):
    """What becomes of a call with some arguments replaced, under JAX's default promotion."""

    def call():
        CALLS[name](**changed)

    traced = name.startswith(RUN)
    # What compiles takes most of the time, and what goes wrong there is not the arguments'.
    run = call if traced else lambda: jax.eval_shape(call)
    with (
        warnings.catch_warnings(action="ignore"),
        jax.numpy_dtype_promotion("standard"),
        jax.numpy_rank_promotion("allow"),
    ):
        return outcome_of(run)


@pytest.fixture
def no_windows():
    before = matplotlib.get_backend()
    matplotlib.use("agg")
    yield
    plt.close("all")
    matplotlib.use(before)


def changes_of(name: str):
    """An argument of a call with what to put in its place, and often another one."""
    each = {a: replacements_of(good) for a, good in CALLS[name].arguments.items()}
    one = st.sampled_from(sorted(each)).flatmap(
        lambda argument: st.tuples(st.just(argument), st.sampled_from(each[argument]))
    )
    return st.tuples(one, st.none() | one)


def run_examples(name: str, number: int, judge: Callable) -> None:
    """So many wrong calls of one function, the same in each run."""

    @settings(
        max_examples=number,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
    )
    @given(changes_of(name))
    def one(changes):
        judge(name, changes)

    one()


@pytest.mark.slow
def test_wrong_arguments_are_refused_in_a_sentence(no_windows, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    seen, obscure, silent = [], collections.defaultdict(list), []

    def judge(name, changes):
        (argument, replacement), second = changes
        changed = {argument: replacement.value}
        if second is not None:
            changed = {second[0]: second[1].value} | changed
        outcome = attempt(name, changed)
        seen.append(name)
        what = f"{name}({argument}: {replacement.name})"
        if outcome.kind == "obscure":
            obscure[outcome.place].append(f"{what}: {outcome.error}")
        elif outcome.kind == "accepted" and replacement.refused:
            if not {(name, argument), (name, argument, replacement.name)} & set(ALLOWED):
                silent.append(what)

    for name, call in CALLS.items():
        if call.arguments:
            run_examples(name, EXAMPLES_OF_AN_ARGUMENT * len(call.arguments), judge)
    number = sum(map(len, obscure.values()))
    for place, lines in sorted(obscure.items(), key=lambda item: -len(item[1])):
        print(f"{len(lines)} at {place}", *lines[:5], sep="\n    ")
    print(f"{number} of {len(seen)} calls end in a foreign error")
    assert not silent, "\n".join(silent)
    assert number <= 0.02 * len(seen)
