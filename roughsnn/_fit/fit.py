"""The training loop."""

from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.core import Tracer
from jaxtyping import Array, Int, PyTree

from .._check import check_kind
from .._misc import check_positive_int, described, is_concrete, where_tree
from .._random import check_unmirrored
from .._step.report import StepReport
from .._types import PRNGKey
from .batches import Batches
from .blocks import run_in_blocks
from .fingerprint import mismatch, signature
from .loop import Loop
from .objective import Loss, Objective
from .step import RUNNING, Best, Problem, State, run_all
from .validation import Validation


class Fit(eqx.Module):
    """What [`roughsnn.fit`][] returns.

    **Attributes:**

    - `model`: the model after the last step whose loss and gradient were finite; with a
        [`roughsnn.Validation`][] the one with the lowest validation loss (the last one, if no
        value was finite).
    - `opt_state`: the state of the optimiser that belongs to `model`.
    - `history`: for `"loss"` and each metric an array with a value per step, taken before
        the step's update.
    - `validation`: the validation losses; entry k is of the model after (k + 1) `every` updates.
        Empty without validation.
    - `best_step`: the number of updates that made `model`; without validation all of them.
    - `steps`: how many updates were made.
    - `stopped`: why it ended early, or `None`.
    - `seconds`: wall-clock seconds of each step of this call; the first holds the compilation.
        Steps that ran without a look at the device share their time evenly.
    - `every`: that of the [`roughsnn.Validation`][], or `None`.
    - `step_reports`: what the loss is in shorter cells, at the start and at the end: two
        [`roughsnn.testing.StepReport`][]; none if the losses simulate nothing, with
        `Loop(check_step=False)`, and under a transformation.

    Under a transformation (`jax.vmap`, `jax.jit`) all are arrays: `history` and `validation` have
    as many entries as there could have been, NaN (integers: 0) after the fit has stopped;
    `stopped` is 0 if it did not, 1 if a loss or gradient was not finite, 2 if the validation loss
    no longer fell; `seconds` is empty.
    """

    model: PyTree
    opt_state: PyTree
    history: dict[str, np.ndarray] | dict[str, Array]
    validation: np.ndarray | Array
    best_step: int | Int[Array, ""]
    steps: int | Int[Array, ""]
    stopped: str | Int[Array, ""] | None
    seconds: np.ndarray | Array
    every: int | None = eqx.field(static=True)
    step_reports: tuple[StepReport, ...] = eqx.field(static=True, default=())


def fit(
    model: PyTree,
    losses: Loss | Mapping[str, Loss] | Objective,
    data: PyTree,
    optim: optax.GradientTransformation,
    *,
    steps: int,
    key: PRNGKey,
    batch_size: int | None = None,
    validation: Validation | None = None,
    opt_state: PyTree | None = None,
    loop: Loop | None = None,
) -> Fit:
    r"""Minimises a loss, or a weighted sum of losses, by stochastic gradient descent.

    Many steps (values, gradient, update) are one call of a compiled program; each step gets a key
    of its own, folded from `key` and the step's number. The program is kept: another fit compiles
    nothing if its shapes, its loss functions and its optimiser are the same. The latter two are
    told apart by identity, so define a loss once, not in the call, and keep `optax.adam(1e-2)` in a
    variable: a second `optax.adam(1e-2)` is another optimiser and compiles again.

    Several starts at once: `jax.vmap(lambda model, key: rs.fit(model, ..., key=key))(models, keys)`
    (`equinox.filter_vmap` for models with leaves that are no arrays). Under a transformation all
    steps are made, without a progress bar; a fit that has stopped goes along unchanged.

    **Arguments:**

    - `model`: any pytree.
    - `losses`: `loss(model, data, key)`, a scalar or `(scalar, {name: scalar})`; the metrics
        go to the history and the progress bar. Or several, `{name: loss}`: they all get the key of
        the step, and each one's value goes to the history under its name. Or one function that
        returns several, `{name: scalar}`: where they look at the same simulation, it is run once.
        Or a [`roughsnn.Objective`][], with weights of the losses and a choice of trainable leaves.
    - `data`: passed to the losses.
    - `optim`: an `optax` optimiser, also one that is told the loss (`reduce_on_plateau`, `lbfgs`).
    - `steps`: how many updates.
    - `key`: a `jax.random.key`.
    - `batch_size`: pass that many samples to the losses in each step. Samples are the leading axis
        of all leaves of `data`. Each epoch runs through them in a new order, drawn from `key`;
        samples that do not fill a last batch are left out of that epoch. By default all samples.
    - `validation`: a [`roughsnn.Validation`][]: return the model with the lowest loss on other
        data, and stop early.
    - `opt_state`: the state of the optimiser to begin with, e.g. of an earlier
        [`roughsnn.Fit`][]; by default a fresh one. Steps, and with them keys and batches, are
        counted from 0 in each call, so give another key.
    - `loop`: a [`roughsnn.Loop`][], with a callback, checkpoints, and whether there is a progress
        bar.

    **Warns:** with a [`roughsnn.StepWarning`][] if the loss depends on `dt0` at the start or at the
    end, saying by how much: what a fit gains from the error of its step is no gain.

    **Returns:** a [`roughsnn.Fit`][]. If a loss or a gradient is not finite, the update is
    not made, the fit ends, `stopped` says so, and `model` is the last good one.

    **Raises:** `ValueError` if nothing is trainable, a loss is not a scalar, weights name no loss,
    a metric has the name of a loss, data have not the samples of a batch, no validation would be
    made, `opt_state` is of another optimiser or model, a callback or checkpoint is given under a
    transformation, or a checkpoint is damaged, of another fit or of more steps; `OSError` for a
    checkpoint folder that cannot be written to, or in which another fit is at work; and what the
    losses raise; `TypeError` for a key, optimiser, losses, validation or loop that are none.
    """
    steps = check_positive_int("steps", steps)
    key = check_unmirrored(key)
    loop = Loop() if loop is None else loop
    check_kind("loop", loop, Loop, "a roughsnn.Loop")
    objective = losses if isinstance(losses, Objective) else Objective(losses)
    params, static = objective.partition(model)
    params = _as_arrays("model", params)
    if not all(callable(getattr(optim, name, None)) for name in ("init", "update")):
        raise TypeError(f"`optim` must be an optax optimiser, got {described(optim)}.")
    opt_state = _start(optim, params, opt_state)
    _check_validation(validation, steps)
    arrays, static_opt = eqx.partition(opt_state, eqx.is_array)
    problem = Problem(
        objective,
        optim,
        static,
        static_opt,
        _on_device("data", data),
        key,
        Batches.of(data, batch_size),
        _on_device("validation", validation),
    )
    zero = jnp.zeros((), jnp.int32)
    best = None
    if validation is not None:
        best = Best(params, arrays, zero, jnp.asarray(jnp.inf, jnp.result_type(float)), zero)
    state = State(params, arrays, zero, jnp.asarray(RUNNING, jnp.int32), best)
    run = None
    if is_concrete(problem, state) and not isinstance(jnp.zeros(()), Tracer):
        run = run_in_blocks(problem, state, steps, loop)
    if run is None:
        # Traced, if only by what a loss closes over.
        return _traced(problem, state, steps, loop)
    model, opt_state, best_step = _best(problem, run.state)
    return Fit(
        model,
        opt_state,
        run.history,
        _evaluated(validation, run.validation),
        int(best_step),
        int(run.state.step),
        run.stopped,
        run.seconds,
        None if validation is None else validation.every,
        run.reports,
    )


def _traced(problem: Problem, state: State, steps: int, loop: Loop) -> Fit:
    """The fit under a transformation."""
    if loop.callback is not None or loop.checkpoint is not None:
        raise ValueError(
            "`loop` has a callback or a checkpoint, but `fit` is inside of a transformation "
            "(`jax.vmap`, `jax.jit`, ...), where it cannot call Python. Leave them out, or call "
            "`fit` outside."
        )
    state, rows = run_all(problem, state, steps)
    model, opt_state, best_step = _best(problem, state)
    history = {"loss": rows.loss, **rows.metrics}
    evaluated = _evaluated(problem.validation, rows.validation)
    every = None if problem.validation is None else problem.validation.every
    return Fit(
        *(model, opt_state, history, evaluated, best_step),
        *(state.step, state.status, jnp.zeros(0), every),
    )


def _evaluated(validation: Validation | None, values: Any) -> Any:
    """The validation losses of the steps after which there was an evaluation."""
    return jnp.zeros(0) if validation is None else values[validation.every - 1 :: validation.every]


def _on_device(name: str, tree: PyTree) -> PyTree:
    """With the arrays on the device: once, not at each call of a program."""

    def move(path, x):
        try:
            return jnp.asarray(x) if eqx.is_array(x) else x
        except TypeError as e:
            where = f"{name}{jax.tree_util.keystr(path)}"
            raise TypeError(f"`{where}` must be an array of numbers, got {described(x)}.") from e

    return jax.tree_util.tree_map_with_path(move, tree)


def _as_arrays(name: str, tree: PyTree) -> PyTree:
    """With numbers as arrays, all of a dtype that does not depend on what they meet."""
    number = lambda x: eqx.is_array(x) or isinstance(x, (bool, int, float, complex))

    def convert(given):
        if not number(given):
            return given
        try:
            x = jnp.asarray(given)
        except TypeError as e:
            raise TypeError(f"`{name}` must hold numbers, got {described(given)} in it.") from e
        return x if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else jnp.asarray(x, x.dtype)

    return jax.tree.map(convert, tree)


def _start(optim: optax.GradientTransformation, params: PyTree, opt_state: PyTree) -> PyTree:
    """The state of the optimiser to begin with."""
    start = lambda params: _as_arrays("opt_state", optim.init(params))
    if opt_state is None:
        return start(params)
    opt_state = _as_arrays("opt_state", opt_state)
    fresh = eqx.filter_eval_shape(start, params)
    other = mismatch(signature(fresh), signature(opt_state))
    if other is None and jax.tree.structure(fresh) != jax.tree.structure(opt_state):
        other = f"the structure is {described(opt_state)}, not {described(fresh)}"
    if other is not None:
        raise ValueError(
            f"`opt_state` is of another optimiser or model: in it {other}. Give what "
            "`optim.init` returns for the trainable leaves, or the `opt_state` of a roughsnn.Fit "
            "with this optimiser and model."
        )
    return opt_state


def _check_validation(validation: Validation | None, steps: int) -> None:
    if validation is None:
        return
    if not isinstance(validation, Validation):
        raise TypeError(
            f"`validation` must be a roughsnn.Validation, got {described(validation)}. For "
            "data: rs.Validation(data)."
        )
    if validation.every > steps:
        raise ValueError(
            f"`validation` is every {validation.every} steps, `steps` is {steps}: no model would "
            "be evaluated. Lower `every`, or raise `steps`."
        )


def _best(problem: Problem, state: State) -> tuple[PyTree, PyTree, Int[Array, ""]]:
    """The model to return, its optimiser state, and the number of updates that made it."""
    params, opt_state, step = state.params, state.opt_state, state.step
    if state.best is not None:
        found = state.best.step > 0
        best = (state.best.params, state.best.opt_state, state.best.step)
        params, opt_state, step = where_tree(found, best, (params, opt_state, step))
    model = eqx.combine(params, problem.static)
    return model, eqx.combine(opt_state, problem.static_opt), step
