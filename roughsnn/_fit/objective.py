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

    losses: Mapping[str, Loss]
    weights: Mapping[str, float]
    balance: bool

    @classmethod
    def of(
        cls, losses: Loss | Mapping[str, Loss], weights: Mapping[str, float] | None, balance: bool
    ) -> "Objective":
        """From what [`roughsnn.fit`][] takes; a single loss has no name."""
        if not isinstance(losses, Mapping):
            if weights is not None or balance:
                raise ValueError(
                    "`weights` and `balance` are for several losses: give `losses` as {name: loss}."
                )
            return cls({"": losses}, {"": 1.0}, False)
        if not losses:
            raise ValueError("`losses` must hold at least one loss.")
        given = {} if weights is None else dict(weights)
        unknown = set(given) - set(losses)
        if unknown:
            raise ValueError(f"`weights` names {sorted(unknown)}, `losses` has {sorted(losses)}.")
        if "loss" in losses:
            raise ValueError('A loss must not be called "loss": that is the name of their sum.')
        known = {name: static_float(f"weights[{name!r}]", given.get(name, 1.0)) for name in losses}
        return cls(losses, known, balance)

    def __call__(
        self, params: PyTree, static: PyTree, data: PyTree, key: PRNGKey
    ) -> tuple[Scalar, dict[str, Scalar], PyTree]:
        """The sum, what goes to the history, and the gradient."""

        def values(params):
            model = eqx.combine(params, static)
            found, metrics = {}, {}
            for name, loss in self.losses.items():
                out = loss(model, data, key)
                value, more = out if isinstance(out, tuple) else (out, {})
                if jnp.shape(value) != ():
                    what = f"`losses[{name!r}]`" if name else "`loss`"
                    raise ValueError(f"{what} must return a scalar, got shape {jnp.shape(value)}.")
                prefix = f"{name}/" if name else ""
                metrics |= {prefix + metric: value for metric, value in more.items()}
                found[name] = jnp.asarray(value)
            return found, metrics

        def total(found):
            # Without a zero to start from, which would have a dtype of its own.
            return functools.reduce(operator.add, (self.weights[k] * found[k] for k in found))

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
            scale = self.weights[name] / jnp.where(norm > 0, norm, 1)
            grads.append(jax.tree.map(lambda g, scale=scale: scale.astype(g.dtype) * g, grad))
        return jax.tree.map(lambda *g: sum(g), *grads)
