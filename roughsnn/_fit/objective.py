"""What a fit minimises: one loss, or several, weighed against one another."""

import functools
import operator
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import PyTree

from .._misc import static_float
from .._types import PRNGKey, Scalar

Loss: TypeAlias = Callable[..., Any]


class Objective(NamedTuple):
    """The weighted sum of losses `loss(model, data, key)`."""

    losses: Loss | Mapping[str, Loss]
    weights: Mapping[str, float]
    balance: bool

    @classmethod
    def of(
        cls, losses: Loss | Mapping[str, Loss], weights: Mapping[str, float] | None, balance: bool
    ) -> "Objective":
        """From what [`roughsnn.fit`][] takes."""
        given = {} if weights is None else weights
        return cls(losses, {k: static_float(f"weights[{k!r}]", given[k]) for k in given}, balance)

    def _values(self, model: PyTree, data: PyTree, key: PRNGKey) -> tuple[dict, dict]:
        """The losses by name (a single one has the name ""), and the metrics."""
        metrics: dict[str, Any] = {}
        if isinstance(self.losses, Mapping):
            found = {}
            for name, loss in self.losses.items():
                found[name], more = _with_metrics(loss(model, data, key))
                metrics |= {f"{name}/{metric}": value for metric, value in more.items()}
        else:
            found, more = _with_metrics(self.losses(model, data, key))
            metrics |= more
            found = dict(found) if isinstance(found, Mapping) else {"": found}
        self._check(found)
        return {name: jnp.asarray(value) for name, value in found.items()}, metrics

    def _check(self, found: Mapping[str, Any]) -> None:
        if not found:
            raise ValueError("`losses` must hold at least one loss.")
        if "loss" in found:
            raise ValueError('A loss must not be called "loss": that is the name of their sum.')
        if list(found) == [""] and (self.weights or self.balance):
            raise ValueError(
                "`weights` and `balance` are for several losses: give `losses` as {name: loss}, or "
                "as a function that returns {name: value}."
            )
        unknown = set(self.weights) - set(found)
        if unknown:
            raise ValueError(f"`weights` names {sorted(unknown)}, `losses` has {sorted(found)}.")
        for name, value in found.items():
            what = f"`losses[{name!r}]`" if name else "`loss`"
            if isinstance(value, Mapping):
                raise ValueError(f"{what} must return a scalar, got several: {sorted(value)}.")
            if jnp.shape(value) != ():
                raise ValueError(f"{what} must return a scalar, got shape {jnp.shape(value)}.")

    def _weight(self, name: str) -> float:
        return self.weights.get(name, 1.0)

    def __call__(
        self, params: PyTree, static: PyTree, data: PyTree, key: PRNGKey
    ) -> tuple[Scalar, dict[str, Scalar], PyTree]:
        """The sum, what goes to the history, and the gradient."""

        def values(params):
            return self._values(eqx.combine(params, static), data, key)

        def total(found):
            # Without a zero to start from, which would have a dtype of its own.
            return functools.reduce(operator.add, (self._weight(k) * found[k] for k in found))

        if self.balance:
            found, pull, metrics = eqx.filter_vjp(values, params, has_aux=True)
            grads = self._balanced(found, pull)
        else:

            def summed(params):
                found, metrics = values(params)
                return total(found), (found, metrics)

            value_and_grad = eqx.filter_value_and_grad(summed, has_aux=True)
            (_, (found, metrics)), grads = value_and_grad(params)
        named = {name: value for name, value in found.items() if name}
        return total(found), {**named, **metrics}, grads

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


def _with_metrics(out: Any) -> tuple[Any, Mapping[str, Any]]:
    return out if isinstance(out, tuple) else (out, {})
