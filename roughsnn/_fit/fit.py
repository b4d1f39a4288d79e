"""The training loop."""

import time
from collections.abc import Callable, Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from jaxtyping import Array, PyTree
from tqdm.auto import tqdm

from .._misc import check_positive_int, where_tree
from .._types import PRNGKey
from .checkpoint import Checkpoint
from .objective import Loss, Objective


class Fit(eqx.Module):
    """What [`roughsnn.fit`][] returns.

    **Attributes:**

    - `model`: the model after the last step whose loss and gradient were finite.
    - `history`: for `"loss"` and each metric an array with a value per step, taken before
        the step's update.
    - `steps`: how many updates were made.
    - `seconds`: wall-clock seconds of each step of this call; the first holds the compilation.
    - `stopped`: why it ended early, or `None`.
    """

    model: PyTree
    history: dict[str, np.ndarray]
    steps: int
    seconds: np.ndarray
    stopped: str | None


def fit(
    model: PyTree,
    losses: Loss | Mapping[str, Loss],
    data: PyTree,
    optim: optax.GradientTransformation,
    *,
    steps: int,
    key: PRNGKey,
    weights: Mapping[str, float] | None = None,
    balance: bool = False,
    trainable: PyTree[bool] | Callable[[Any], bool] = eqx.is_inexact_array,
    callback: Callable[[int, PyTree, Mapping[str, float]], Any] | None = None,
    checkpoint: Checkpoint | None = None,
    progress: bool | None = None,
) -> Fit:
    r"""Minimises a loss, or a weighted sum of losses, by stochastic gradient descent.

    A whole step (values, gradient, update) is one compiled function; each step gets a key
    of its own, folded from `key` and the step's number.

    **Arguments:**

    - `model`: any pytree.
    - `losses`: `loss(model, data, key)`, a scalar or `(scalar, {name: scalar})`; the metrics
        go to the history and the progress bar. Or several, `{name: loss}`: they all get the key of
        the step, and each one's value goes to the history under its name. Or one function that
        returns several, `{name: scalar}`: where they look at the same simulation, it is run once.
    - `data`: passed to the losses.
    - `optim`: an `optax` optimiser.
    - `steps`: how many updates.
    - `key`: a `jax.random.key`.
    - `weights`: of several losses, by name; 1 for those that are not named.
    - `balance`: divide the gradient of each loss by its norm before they are weighted and added
        up, so that no loss drowns the others because of its scale. One backward pass for each.
    - `trainable`: which leaves are trained: a function of the leaf, or a pytree of bools
        with the structure of `model` (a prefix will do). By default all floating arrays.
    - `callback`: `callback(step, model, metrics)` after each step; ends the fit by
        returning `True`.
    - `checkpoint`: a [`roughsnn.Checkpoint`][]: go on from there if there is one, and write one
        every so many steps.
    - `progress`: show a progress bar; by default if the output is a terminal.

    **Returns:** a [`roughsnn.Fit`][]. If a loss or a gradient is not finite, the update is
    not made, the fit ends, `stopped` says so, and `model` is the last good one.

    **Raises:** `ValueError` if nothing is trainable, a loss is not a scalar, weights name no loss,
    or a checkpoint is damaged, of another fit or of more steps; `OSError` for a checkpoint folder
    that cannot be written to; and what the losses raise.
    """
    steps = check_positive_int("steps", steps)
    objective = Objective.of(losses, weights, balance)
    params, static = eqx.partition(model, trainable)
    if not jax.tree.leaves(params):
        raise ValueError(
            "`model` has no trainable leaves. Its parameters must be floating JAX arrays, "
            "e.g. jnp.asarray(0.5), and `trainable` must select some of them."
        )

    @eqx.filter_jit
    def make_step(params, static, opt_state, data, key, number):
        key = jr.fold_in(key, number)
        value, metrics, grads = objective(params, static, data, key)
        finite = jnp.stack([jnp.all(jnp.isfinite(g)) for g in jax.tree.leaves(grads)])
        ok = jnp.isfinite(value) & jnp.all(finite)
        # Optax mixes integer counts with floats, also where JAX is set not to.
        with jax.numpy_dtype_promotion("standard"):
            updates, new_state = optim.update(grads, opt_state, params)
        new_params = eqx.apply_updates(params, updates)
        params = where_tree(ok, new_params, params)
        opt_state = _keep_if(ok, new_state, opt_state)
        return params, opt_state, {"loss": value, **metrics}, ok

    opt_state = optim.init(params)
    rows: list[dict[str, float]] = []
    if checkpoint is not None:
        checkpoint.prepare()
        (params, opt_state), rows = checkpoint.load((params, opt_state), key) or (
            (params, opt_state),
            rows,
        )
    if len(rows) > steps:
        raise ValueError(
            f"The checkpoint is {len(rows)} steps far already, `steps` is {steps}: raise it, or "
            "remove the checkpoint."
        )
    seconds: list[float] = []
    stopped = None
    updates = begun = len(rows)
    hidden = None if progress is None else not progress
    with tqdm(total=steps, initial=begun, disable=hidden, desc="fit") as bar:
        for number in range(begun, steps):
            begin = time.perf_counter()
            params, opt_state, metrics, ok = make_step(
                params, static, opt_state, data, key, jnp.asarray(number)
            )
            row = {name: float(value) for name, value in metrics.items()}
            seconds.append(time.perf_counter() - begin)
            rows.append(row)
            if not bool(ok):
                stopped = (
                    f"The loss or its gradient was not finite at step {number}; the model "
                    "is the one before it."
                )
                break
            updates += 1
            bar.update()
            bar.set_postfix({name: f"{value:.4g}" for name, value in row.items()}, refresh=False)
            if checkpoint is not None and checkpoint.due(updates, steps):
                stopped = checkpoint.save((params, opt_state), rows, key)
            if callback is not None and callback(number, eqx.combine(params, static), row):
                # A checkpoint that could not be written is the more important reason.
                stopped = stopped or f"The callback ended the fit after step {number}."
            if stopped is not None:
                break
    history = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    return Fit(eqx.combine(params, static), history, updates, np.array(seconds), stopped)


def _keep_if(ok: Array, new: PyTree, old: PyTree) -> PyTree:
    """`new` where ok else `old`, on array leaves; other leaves are those of `new`."""
    arrays, rest = eqx.partition(new, eqx.is_array)
    return eqx.combine(where_tree(ok, arrays, eqx.filter(old, eqx.is_array)), rest)
