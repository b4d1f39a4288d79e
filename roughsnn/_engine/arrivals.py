"""What arrives in a cell, spike by spike, where its targets move exactly."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from .._misc import einsum
from .._model.connectivity import SparseWeights, at_targets, onto_targets
from .._model.links import Weights


class SpikeArrivals(NamedTuple):
    """What arrives at the neurons of a group by one link.

    `times` count from the start of the cell, inf where nothing arrives; a row of weights may come
    in several ways. They have shape `(ways, rows)`, or `(ways, rows, synapses)` where each synapse
    has a delay of its own; `strong` says how much of the weights arrives.
    """

    weights: Weights
    times: Float[Array, "..."]
    strong: Float[Array, "..."] | None = None

    def next_after(self, t: Float[Array, " neurons"]) -> Float[Array, " neurons"]:
        """When something arrives next at each neuron, later than t."""
        own, times = self._of_targets(t), self._by_synapse()
        times = jnp.where((times > own) & (self._values != 0)[None], times, jnp.inf)
        earliest = jnp.min(times, axis=0)
        if isinstance(self.weights, SparseWeights):
            own = jnp.full_like(t, jnp.inf).at[self.weights.targets]
            return own.min(earliest, mode="drop", wrap_negative_indices=False)
        return jnp.min(earliest, axis=0)

    def sums(
        self,
        after: Float[Array, " neurons"] | None,
        until: Float[Array, " neurons"] | None,
        sources: Callable[[Array], Sequence[Array]],
    ) -> list[Float[Array, " neurons"]]:
        """The sums over what arrives after a time and until another one, of weights times each of
        the functions `sources` of the time of arrival."""
        there = jnp.isfinite(self.times)
        each = [jnp.where(there, x, 0) for x in sources(jnp.where(there, self.times, 0))]
        each = each if self.strong is None else [self.strong * x for x in each]
        if after is None and until is None and self.times.ndim == 2:
            each, values = [jnp.sum(x, 0, keepdims=True) for x in each], self._values[None]
        else:
            values = jnp.where(self._between(after, until), self._values[None], 0)
        if isinstance(self.weights, SparseWeights):
            zero, targets = jnp.zeros(self.weights.size, values.dtype), self.weights.targets
            each = [x[..., None] if self.times.ndim == 2 else x for x in each]
            return [onto_targets(zero, targets, jnp.sum(x * values, 0)) for x in each]
        if self.times.ndim == 2:
            return list(einsum("khr,hrs->ks", jnp.stack(each), values))
        return [jnp.sum(x * values, (0, 1)) for x in each]

    @property
    def _values(self) -> Float[Array, "rows synapses"]:
        weights = self.weights
        return weights.values if isinstance(weights, SparseWeights) else weights

    def _by_synapse(self) -> Float[Array, "ways rows #synapses"]:
        return self.times[..., None] if self.times.ndim == 2 else self.times

    def _of_targets(self, t: Float[Array, " neurons"]) -> Float[Array, "1 #rows synapses"]:
        """The numbers of the targets, by synapse."""
        weights = self.weights
        if isinstance(weights, SparseWeights):
            return at_targets(t, weights.targets)[None]
        return t[None, None]

    def _between(self, after: Array | None, until: Array | None) -> Bool[Array, "..."]:
        times = self._by_synapse()
        found = jnp.isfinite(times)
        found = found if after is None else found & (times > self._of_targets(after))
        return found if until is None else found & (times <= self._of_targets(until))


class Landing(NamedTuple):
    """Spikes of a source: by which rows they come (any, where none comes), when, and how strong
    they are."""

    rows: Int[Array, " spikes"]
    times: Float[Array, " spikes"]
    strong: Float[Array, " spikes"] | None

    def by(self, weights: Weights) -> SpikeArrivals:
        """What they bring."""
        strong = None if self.strong is None else self.strong[None]
        own = jax.tree.map(lambda x: x[self.rows], weights)
        return SpikeArrivals(own, self.times[None], strong)


class FromSource(NamedTuple):
    """The same of a source with a long train: of `few` spikes if those of the cell `fit` there,
    else of every one is looked at."""

    weights: Weights
    few: Landing
    every: Landing
    fit: Bool[Array, ""]

    def next_after(self, t: Float[Array, " neurons"]) -> Float[Array, " neurons"]:
        """See `SpikeArrivals`."""
        return self._either(lambda one: one.next_after(t))

    def sums(self, after, until, sources) -> list[Float[Array, " neurons"]]:
        """See `SpikeArrivals`."""
        return self._either(lambda one: one.sums(after, until, sources))

    def _either(self, fn: Callable[[SpikeArrivals], Any]) -> Any:
        few, every = (lambda one=one: fn(one.by(self.weights)) for one in (self.few, self.every))
        return jax.lax.cond(self.fit, few, every)
