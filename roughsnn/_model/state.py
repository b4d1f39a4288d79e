"""The state of a population, and of a network."""

import dataclasses
from collections.abc import Iterable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from .plasticity import Plastic
from .stdp import Learned


class PopulationState(eqx.Module):
    """What evolves in a population; all arrays have the neurons first.

    `state["v"]` is a part of it by name: that of a leaf of the state of the neuron; the name of a
    port, or `"port.leaf"` where its state has several; `"s"`.

    **Attributes:**

    - `neuron`: the states of the neurons, see [`roughsnn.AbstractNeuron`][].
    - `ports`: those of the ports, by name.
    - `s`: integrated hazard minus the threshold log u - alpha drawn for the next spike, negative;
        `None` without random thresholds.
    """

    neuron: PyTree[Float[Array, "neurons ..."]]
    ports: dict[str, PyTree[Float[Array, "neurons ..."]]]
    s: Float[Array, " neurons"] | None

    def parts(self) -> dict[str, Any]:
        """All parts of the state by their names."""
        found = dict(named(self.neuron))
        for port, g in self.ports.items():
            leaves = named(g)
            for name, leaf in leaves:
                found[port if len(leaves) == 1 else f"{port}.{name}"] = leaf
        if self.s is not None:
            found["s"] = self.s
        return found

    def __getitem__(self, name: str) -> Array:
        return find(name, self.parts(), "part of the state")

    @property
    def parts_dtype(self) -> Any:
        """The dtype of the state."""
        return jax.numpy.result_type(*jax.tree.leaves(self))

    def replaced(self, parts: dict[str, Any]) -> "PopulationState":
        """The same with other values for some parts."""
        values = list((self.parts() | parts).values())
        return jax.tree.unflatten(jax.tree.structure(self), values)


def named(tree: PyTree) -> list[tuple[str, Any]]:
    """The leaves with the words that lead to them."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return [(".".join(map(_word, path)), leaf) for path, leaf in leaves]


def _word(key: Any) -> str:
    for attribute in ("key", "name", "idx"):
        if hasattr(key, attribute):
            return str(getattr(key, attribute))
    return str(key)


def find(name: Any, things: dict[str, Any], what: str) -> Any:
    """The thing of a name, or a `KeyError` that says which there are."""
    if name not in things:
        raise KeyError(f"{name!r} is no {what}; there are {', '.join(map(repr, things))}.")
    return things[name]


class Member(NamedTuple):
    """Where a population is: which entries of which group, and the number of its first neuron."""

    name: str
    group: int
    start: int
    stop: int
    first: int
    # The ranks of the arrays of its state.
    ranks: tuple[int, ...]


class Waiting(eqx.Module):
    """What is still to come, of spikes that were: see `waiting`."""

    # For each place the time until then, and whether it is in use: 1, or 0.
    left: Float[Array, " places"]
    used: Float[Array, " places"]
    # What it is, a whole number.
    what: Float[Array, " places"]
    # How much there was no place for.
    lost: Float[Array, ""]
    # How strong it is; `None` without plasticity.
    scale: Float[Array, " places"] | None = None

    def drift(self) -> "Waiting":
        """Its derivative: time goes by."""
        still = jax.tree.map(jnp.zeros_like, self)
        return dataclasses.replace(still, left=-self.used)

    def held(self, neurons: int) -> Array:
        """Which of so many neurons are refractory, in a network in which some are at times."""
        return self.used[:neurons] > 0

    def after(self, time: Array) -> "Waiting":
        """Once this time is over."""
        return dataclasses.replace(self, left=self.left - self.used * time)


class NetworkState(eqx.Module):
    """What evolves in a network.

    `state["exc"]` is the [`roughsnn.PopulationState`][] of a population; where there is only one,
    `state["v"]` is a part of it.
    """

    groups: tuple[PopulationState, ...]
    members: tuple[Member, ...] = eqx.field(static=True)
    # With delays and refractory times, event by event.
    waiting: Waiting | None = None
    # Of projections with plasticity, and of those that learn, by the name of their link.
    plastic: dict[str, Plastic | Learned] = eqx.field(default_factory=dict)

    def with_groups(self, groups: Iterable[PopulationState]) -> "NetworkState":
        """The same with other states of the groups."""
        return dataclasses.replace(self, groups=tuple(groups))

    def moved(self, groups: Iterable[PopulationState], time: Array) -> "NetworkState":
        """With these states of the groups, and all clocks after this time."""
        waiting = None if self.waiting is None else self.waiting.after(time)
        plastic = {name: one.after(time) for name, one in self.plastic.items()}
        return NetworkState(tuple(groups), self.members, waiting, plastic)

    def drift(self, groups: Iterable[PopulationState]) -> "NetworkState":
        """The derivative of the state, with these of the groups."""
        waiting = None if self.waiting is None else self.waiting.drift()
        plastic = {name: one.drift() for name, one in self.plastic.items()}
        return NetworkState(tuple(groups), self.members, waiting, plastic)

    def __getitem__(self, name: str) -> Any:
        members = {m.name: m for m in self.members}
        if len(members) == 1 and name not in members:
            return self.groups[0][name]
        m = find(name, members, "population")
        leaves, structure = jax.tree.flatten(self.groups[m.group])
        own = [
            # Leading axes may be those of times.
            jax.lax.slice_in_dim(x, m.start, m.stop, axis=x.ndim - rank)
            for x, rank in zip(leaves, m.ranks, strict=True)
        ]
        return jax.tree.unflatten(structure, own)
