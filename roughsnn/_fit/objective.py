"""What a fit minimises: one loss, or several, weighed against one another."""

import functools
import operator
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
import paramax
from jaxtyping import PyTree

from .._check import check_flag, check_function, check_kind
from .._misc import described, static_float
from .._types import PRNGKey, Scalar

Loss: TypeAlias = Callable[..., Any]


class Objective(eqx.Module):
    r"""A weighted sum of losses, and the leaves of the model that it is minimised over.

    $$L(\theta) = \sum_n w_n L_n(\theta), \qquad
      g = \nabla L \quad\text{or, balanced,}\quad g = \sum_n w_n \nabla L_n/|\nabla L_n|.$$

    The losses get the model unwrapped: parameters that were wrapped in constraints of
    [paramax](https://github.com/danielward27/paramax), e.g. by [`roughsnn.constrained`][], stay
    within them.

    **Arguments:**

    - `losses`: as for [`roughsnn.fit`][].
    - `weights`: $w_n$ of several losses, by name; 1 for those that are not named.
    - `balance`: divide the gradient of each loss by its norm before they are weighted and added
        up, so that no loss drowns the others because of its scale. One backward pass for each.
    - `trainable`: which leaves are trained: a function of the leaf, or a pytree of bools
        with the structure of the model (a prefix will do). By default all floating arrays.

    **Raises:** `ValueError` for no losses, and for weights that are not finite or name no loss;
    `TypeError` for losses that are no functions.
    """

    names: tuple[str, ...] | None
    losses: tuple[Loss, ...]
    weights: dict[str, float]
    balance: bool
    trainable: PyTree[bool] | Callable[[Any], bool]

    def __init__(
        self,
        losses: Loss | Mapping[str, Loss],
        *,
        weights: Mapping[str, float] | None = None,
        balance: bool = False,
        trainable: PyTree[bool] | Callable[[Any], bool] = eqx.is_inexact_array,
    ):
        # Names apart from losses: as a dict they would be sorted on the way into a program.
        self.names = tuple(losses) if isinstance(losses, Mapping) else None
        self.losses = tuple(losses.values()) if isinstance(losses, Mapping) else (losses,)
        for name, loss in zip(self.names or [None], self.losses, strict=False):
            called = "losses" if name is None else f"losses[{name!r}]"
            check_function(called, loss, "loss(model, data, key)")
        wanted = "a mapping {name: number}"
        given = check_kind("weights", {} if weights is None else weights, Mapping, wanted)
        self.weights = {k: static_float(f"weights[{k!r}]", given[k]) for k in given}
        self.balance = check_flag("balance", balance)
        if not all(callable(x) or isinstance(x, bool) for x in jax.tree.leaves(trainable)):
            raise TypeError(_no_choice(trainable))
        self.trainable = trainable
        if self.names is not None:
            self._check_names(self.names)

    def partition(self, model: PyTree) -> tuple[PyTree, PyTree]:
        """What is trained, and the rest of the model.

        **Raises:** `ValueError` if nothing is trained.
        """
        try:
            params, static = eqx.partition(model, self.trainable)
        except (TypeError, ValueError) as e:
            if callable(self.trainable):
                raise
            raise ValueError(_no_choice(self.trainable)) from e
        if not jax.tree.leaves(params):
            raise ValueError(
                "`model` has no trainable leaves. Its parameters must be floating JAX arrays, "
                "e.g. jnp.asarray(0.5), and `trainable` must select some of them."
            )
        return params, static

    def value(self, params: PyTree, static: PyTree, data: PyTree, key: PRNGKey) -> Scalar:
        """The sum alone."""
        return self._total(self._values(params, static, data, key)[0])

    def __call__(
        self, params: PyTree, static: PyTree, data: PyTree, key: PRNGKey
    ) -> tuple[Scalar, dict[str, Scalar], PyTree]:
        """The sum, what else goes to the history, and the gradient."""
        if self.balance:
            values = lambda params: self._values(params, static, data, key)
            found, pull, metrics = eqx.filter_vjp(values, params, has_aux=True)
            grads = self._balanced(found, pull)
        else:

            def summed(params):
                found, metrics = self._values(params, static, data, key)
                return self._total(found), (found, metrics)

            value_and_grad = eqx.filter_value_and_grad(summed, has_aux=True)
            (_, (found, metrics)), grads = value_and_grad(params)
        return self._total(found), _history(found, metrics), grads

    def _values(
        self, params: PyTree, static: PyTree, data: PyTree, key: PRNGKey
    ) -> tuple[dict[str, Scalar], dict[str, Any]]:
        """The losses by name (a single one has the name ""), and the metrics."""
        model = paramax.unwrap(eqx.combine(params, static))
        outs = [_with_metrics(loss(model, data, key)) for loss in self.losses]
        if self.names is None:
            ((value, metrics),) = outs
            found = dict(value) if isinstance(value, Mapping) else {"": value}
            self._check_names(tuple(found))
        else:
            found = {name: value for name, (value, _) in zip(self.names, outs, strict=True)}
            metrics = {
                f"{name}/{metric}": value
                for name, (_, more) in zip(self.names, outs, strict=True)
                for metric, value in more.items()
            }
        for name, value in found.items():
            _check_scalar(f"`losses[{name!r}]`" if name else "`loss`", value)
        found = {name: jnp.asarray(value) for name, value in found.items()}
        dtype = jnp.result_type(*found.values())
        if not jnp.issubdtype(dtype, jnp.floating):
            raise ValueError(f"`losses` must return real floating numbers, got {dtype}.")
        return found, dict(metrics)

    def _check_names(self, names: tuple[str, ...]) -> None:
        if not names:
            raise ValueError("`losses` must hold at least one loss, got none.")
        if "loss" in names:
            raise ValueError(
                'A loss must not be called "loss": that is the name of their sum. Rename it.'
            )
        if names == ("",) and (self.weights or self.balance):
            raise ValueError(
                "`weights` and `balance` are for several losses: give `losses` as {name: loss}, or "
                "as a function that returns {name: value}."
            )
        unknown = set(self.weights) - set(names)
        if unknown:
            raise ValueError(f"`weights` names {sorted(unknown)}, `losses` has {sorted(names)}.")

    def _weight(self, name: str) -> float:
        return self.weights.get(name, 1.0)

    def _total(self, found: dict[str, Scalar]) -> Scalar:
        # Without a zero to start from, which would have a dtype of its own.
        return functools.reduce(operator.add, (self._weight(k) * found[k] for k in found))

    def _balanced(self, found: dict[str, Scalar], pull: Callable) -> PyTree:
        """The gradients, each divided by its norm, weighted and added up."""
        grads = []
        for name in found:
            one = {other: jnp.full_like(x, other == name) for other, x in found.items()}
            (grad,) = pull(one)
            norm = optax.tree.norm(grad)
            scale = self._weight(name) / jnp.where(norm > 0, norm, 1)
            grads.append(jax.tree.map(lambda g, scale=scale: scale.astype(g.dtype) * g, grad))
        return jax.tree.map(lambda *g: sum(g), *grads)


def _no_choice(trainable: Any) -> str:
    return (
        "`trainable` must be a function of a leaf, or a pytree of bools with the structure of the "
        f"model, got {described(trainable)}."
    )


def _with_metrics(out: Any) -> tuple[Any, Mapping[str, Any]]:
    return out if isinstance(out, tuple) else (out, {})


def _history(found: dict[str, Scalar], metrics: Mapping[str, Any]) -> dict[str, Scalar]:
    """The losses that have a name, and the metrics."""
    named = {name: value for name, value in found.items() if name}
    twice = (set(named) | {"loss"}) & set(metrics)
    if twice:
        raise ValueError(
            f"A metric must not be called {sorted(twice)[0]!r}: the history has a loss of that "
            "name. Rename the metric."
        )
    for name, value in metrics.items():
        _check_scalar(f"The metric {name!r}", value)
    return {**named, **{name: jnp.asarray(value) for name, value in metrics.items()}}


def _check_scalar(what: str, value: Any) -> None:
    if isinstance(value, Mapping):
        raise ValueError(f"{what} must return a scalar, got several: {sorted(value)}.")
    if jnp.shape(value) != ():
        raise ValueError(f"{what} must return a scalar, got shape {jnp.shape(value)}.")
