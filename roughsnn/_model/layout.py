"""A network as the engines see it: populations of one structure are one flat array.

So a program does not grow with the number of populations and projections.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PyTree, Shaped

from .._misc import joined
from .firing import AbstractFiring, AbstractHazard, HardThreshold
from .levels import levels_of
from .mapped import can_merge, kinds_of, mapped, merged, one_of
from .network import SpikingNetwork
from .neuron import AbstractNeuron
from .population import Population
from .state import Member, PopulationState
from .synapse import AbstractSynapse


class Group(eqx.Module):
    """Populations of one structure; parameters have one entry for all neurons or one for each."""

    neuron: AbstractNeuron
    firing: AbstractFiring | None
    ports: dict[str, AbstractSynapse]
    # For how long a neuron cannot fire after a spike; `None` if that is no time at all.
    refractory: Float[Array, "*neurons"] | None
    size: int = eqx.field(static=True)
    # From where to where the numbers of the neurons in the network go, piece by piece.
    ranges: tuple[tuple[int, int], ...] = eqx.field(static=True)
    # Projections without delay lead from lower levels to higher ones, or within one.
    level: int = eqx.field(static=True)
    channels: int = eqx.field(static=True)
    drawn: tuple[int, ...] = eqx.field(static=True)

    @property
    def hazard(self) -> AbstractHazard | None:
        """The firing rule, if its thresholds are random."""
        return self.firing if isinstance(self.firing, AbstractHazard) else None

    def neurons(self, k: Int[Array, " some"]) -> "Group":
        """A group of these neurons, some of them twice, as far as their firing rules go."""
        firing = one_of(lambda part: part, self.firing, k)
        return dataclasses.replace(self, firing=firing, size=k.shape[0])

    def for_each(self) -> "Group":
        """The same with an entry for each neuron in the numbers of neurons, firing rules and ports,
        if all parameters of a part may have one."""

        def own(part):
            if part is None or not can_merge(part):
                return part
            each = merged([part], [self.size])
            return jax.tree.map(lambda a, b: b if eqx.is_inexact_array(a) else a, part, each)

        ports = {name: own(port) for name, port in self.ports.items()}
        return dataclasses.replace(
            self, neuron=own(self.neuron), firing=own(self.firing), ports=ports
        )

    @property
    def indices(self) -> Int[np.ndarray, " neurons"]:
        """The number of each neuron in the network."""
        return np.concatenate([np.arange(a, b, dtype=np.int32) for a, b in self.ranges])

    def of_network(self, x: Shaped[Array, "... all"]) -> Shaped[Array, "... neurons"]:
        """The entries of this group of an array over all neurons, on its last axis."""
        return joined([x[..., a:b] for a, b in self.ranges])

    def potential(self, neuron: PyTree) -> Float[Array, " neurons"]:
        """What the firing rule reads."""
        return mapped(lambda n, x: n.potential(x), self.neuron, neuron)

    def current(self, state: PopulationState) -> Float[Array, " neurons"] | None:
        """The sum of the currents of the ports; `None` without ports."""
        if not self.ports:
            return None
        v = mapped(lambda n, x: n.voltage(x), self.neuron, state.neuron)
        each = [
            mapped(lambda p, g, v: p.current(g, v), port, state.ports[name], v)
            for name, port in self.ports.items()
        ]
        return jnp.sum(jnp.stack(each), 0) if len(each) > 1 else each[0]

    def rate(self, t: Any, v: Float[Array, " neurons"]) -> Float[Array, " neurons"]:
        """The hazard at a potential."""
        assert self.hazard is not None
        every = jnp.broadcast_to(t, v.shape)
        return mapped(lambda f, t, v: f.hazard(t, v), self.hazard, every, v)

    def log_rate(self, t: Any, v: Float[Array, " neurons"]) -> Float[Array, " neurons"]:
        """The logarithm of the hazard."""
        assert self.hazard is not None
        every = jnp.broadcast_to(t, v.shape)
        return mapped(lambda f, t, v: f.log_hazard(t, v), self.hazard, every, v)

    def threshold(self, u: Float[Array, "*neurons"]) -> Float[Array, "..."]:
        """The hidden state after a spike whose random number is `u`."""
        assert self.hazard is not None
        return jnp.log(u) - self.hazard.alpha

    def event(
        self, v: Float[Array, " neurons"], s: Float[Array, " neurons"] | None
    ) -> Float[Array, " neurons"]:
        """The event function: a neuron fires where it rises through 0."""
        if self.firing is None:
            return jnp.full_like(v, -1.0)
        if self.hazard is not None:
            assert s is not None
            return s
        assert isinstance(self.firing, HardThreshold)
        return v - self.firing.threshold

    def spike(self, neuron: PyTree) -> PyTree:
        """All neurons just after a spike of their own."""
        return mapped(lambda n, x: n.spike(x), self.neuron, neuron)


class Layout(eqx.Module):
    """The groups of a network, and where its populations are in them."""

    groups: tuple[Group, ...]
    members: tuple[Member, ...] = eqx.field(static=True)

    @property
    def size(self) -> int:
        """The number of neurons."""
        return sum(group.size for group in self.groups)

    @property
    def indices(self) -> Int[np.ndarray, " neurons"]:
        """The number in the network of each neuron, group after group."""
        return np.concatenate([group.indices for group in self.groups])

    @property
    def in_order(self) -> bool:
        """Whether neurons are in the order of their numbers."""
        return bool(np.all(self.indices == np.arange(self.size)))

    def numbered(self, x: Array, axis: int = -1) -> Array:
        """An array over the neurons, group after group, in the order of their numbers."""
        return x if self.in_order else jnp.take(x, np.argsort(self.indices), axis=axis)

    def split(self, x: Array) -> list[Array]:
        """The parts of an array over the neurons, group after group, on its last axis."""
        ends = np.cumsum([group.size for group in self.groups])[:-1]
        return jnp.split(x, ends, axis=-1)


class _Placed(NamedTuple):
    """A population, the number of its first neuron, and the noise channels that are drawn."""

    name: str
    population: Population
    first: int
    drawn: tuple[int, ...]


def layout_of(network: SpikingNetwork, drawn: Sequence[tuple[int, ...]]) -> Layout:
    """The groups of a network: by level, and within it by structure; `drawn` are the noise channels
    of each population that are drawn."""
    levels = levels_of(network)
    found: dict[Any, list[_Placed]] = {}
    first = 0
    for (name, population), channels in zip(network.simulated.items(), drawn, strict=True):
        key = (levels[name], *_structure(name, population))
        found.setdefault(key, []).append(_Placed(name, population, first, channels))
        first += population.size
    groups, members = [], []
    for key in sorted(found, key=lambda key: (key[0], found[key][0].first)):
        start = 0
        for p in found[key]:
            stop = start + p.population.size
            ranks = tuple(x.ndim for x in jax.tree.leaves(jax.eval_shape(p.population.rest)))
            members.append(Member(p.name, len(groups), start, stop, p.first, ranks))
            start = stop
        groups.append(_group(found[key], key[0]))
    members.sort(key=lambda m: m.first)
    return Layout(tuple(groups), tuple(members))


def _structure(name: str, population: Population) -> tuple:
    """What populations of one group have in common; the name, where one is alone."""
    parts = _parts(population)
    rest = eqx.filter(parts, eqx.is_array, inverse=True)
    if not can_merge(parts):
        return (name,)
    others = tuple(map(id, jax.tree.leaves(rest)))
    return jax.tree.structure(parts), kinds_of(parts), others, population.channels


def _parts(population: Population) -> PyTree:
    return population.neuron, population.firing, population.ports, population.refractory


def _group(populations: list[_Placed], level: int) -> Group:
    first = populations[0].population
    neuron, firing, ports, refractory = _parts(first)
    if len(populations) > 1:
        parts = [_parts(p.population) for p in populations]
        neuron, firing, ports, refractory = merged(parts, [p.population.size for p in populations])
    ranges: list[tuple[int, int]] = []
    for p in populations:
        begin, end = p.first, p.first + p.population.size
        if ranges and ranges[-1][1] == begin:
            begin = ranges.pop()[0]
        ranges.append((begin, end))
    return Group(
        neuron=neuron,
        firing=firing,
        ports=ports,
        refractory=refractory,
        size=sum(p.population.size for p in populations),
        ranges=tuple(ranges),
        level=level,
        channels=first.channels,
        drawn=tuple(sorted(set().union(*(p.drawn for p in populations)))),
    )
