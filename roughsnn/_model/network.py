"""A network of spiking neurons."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import equinox as eqx

from .._check import as_tuple, check_choice, check_kind
from .._train.neurons import ONLY, Sizes
from .._types import Numeric
from .connectivity import SparseWeights
from .dale import DaleWeights
from .domain import Bound
from .population import Population, Source
from .projection import Projection
from .state import find
from .stdp import PairSTDP


class SpikingNetwork(eqx.Module):
    r"""Populations of neurons, coupled by projections.

    When a neuron fires, its own state jumps, its next threshold is drawn, and the weights of its
    synapses arrive at the ports of their targets (Holberg & Salvi 2024, eq. 1-3).

    **Arguments:**

    - `populations`: a dictionary from names to [`roughsnn.Population`][] and
        [`roughsnn.Source`][]; or one population, whose name then is `"neurons"`.
    - `projections`: [`roughsnn.Projection`][]s between them.
    - `weights`, `mask`: for a single population, instead of a projection of it onto itself.
    - `conditions`: `"check"` refuses models without exact gradients (see
        [`roughsnn.check_event`][]); `"waive"` does not, and marks their solutions.

    `network["exc"]` is a population. Neurons are numbered in the order of the populations; sources
    are not counted.

    **Raises:** `ValueError` for names that do not exist, weights that do not fit, and models
    without exact gradients; `TypeError` for parts of another type.
    """

    parts: tuple[Population | Source, ...]
    projections: tuple[Projection, ...]
    names: tuple[str, ...] = eqx.field(static=True)
    conditions: Literal["check", "waive"] = eqx.field(static=True)

    def __init__(
        self,
        populations: Population | Mapping[str, Population | Source],
        projections: Sequence[Projection] = (),
        *,
        weights: Numeric | SparseWeights | DaleWeights | None = None,
        mask: Numeric | None = None,
        conditions: Literal["check", "waive"] = "check",
    ):
        check_choice("conditions", conditions, ("check", "waive"))
        self.conditions = conditions
        wanted = "a roughsnn.Population, or a dictionary from names to populations"
        check_kind("populations", populations, (Population, Mapping), wanted)
        single = isinstance(populations, Population)
        by_name = {ONLY: populations} if single else dict(populations)
        for name, part in by_name.items():
            check_kind("a name in `populations`", name, str, "a str")
            kinds = (Population, Source)
            check_kind(f"populations[{name!r}]", part, kinds, "a roughsnn.Population or a Source")
        if not any(isinstance(part, Population) for part in by_name.values()):
            raise ValueError("`populations` must hold at least one roughsnn.Population.")
        self.names = tuple(by_name)
        self.parts = tuple(_checked(part, conditions) for part in by_name.values())
        found = list(as_tuple("projections", projections, "a list of roughsnn.Projection"))
        if weights is not None:
            if not single:
                raise ValueError(
                    "`weights` goes with a single population; use roughsnn.Projection(pre, post, "
                    "weights)."
                )
            found.append(Projection(ONLY, ONLY, weights, mask=mask))
        elif mask is not None:
            raise ValueError("`mask` was given without `weights`.")
        self.projections = tuple(self._fitting(n, p) for n, p in enumerate(found))

    def _fitting(self, number: int, projection: Any) -> Projection:
        """A projection with the name of its port, if there is such a one."""
        what = f"projections[{number}]"
        check_kind(what, projection, Projection, "a roughsnn.Projection")
        pre, post = (
            find_value(name, self.populations, f"population, in `{what}`")
            for name in (projection.pre, projection.post)
        )
        if isinstance(post, Source):
            raise ValueError(f"`{what}` is onto {projection.post!r}, a Source: it takes no spikes.")
        if not post.ports:
            raise ValueError(
                f"`{what}` is onto {projection.post!r}, which has no ports. Give it one: "
                'Population(..., ports={"syn": roughsnn.synapses.Exponential(tau)}).'
            )
        port = projection.port
        if port is None and len(post.ports) > 1:
            raise ValueError(
                f"`{what}` must name a port of {projection.post!r}: one of {sorted(post.ports)}."
            )
        port = next(iter(post.ports)) if port is None else port
        find_value(port, post.ports, f"port of {projection.post!r}, in `{what}`")
        if projection.weights.shape != (pre.size, post.size):
            raise ValueError(
                f"The weights of `{what}` must have shape ({pre.size}, {post.size}), from "
                f"{projection.pre!r} onto {projection.post!r}, got {projection.weights.shape}."
            )
        if isinstance(projection.plasticity, PairSTDP) and isinstance(pre, Source):
            raise ValueError(
                f"`{what}` learns by a PairSTDP, and is from {projection.pre!r}, a Source: only "
                "populations that are simulated may, e.g. a roughsnn.Poisson."
            )
        return dataclasses.replace(projection, port=port)

    @property
    def populations(self) -> dict[str, Population | Source]:
        """All parts by their names."""
        return dict(zip(self.names, self.parts, strict=True))

    @property
    def simulated(self) -> dict[str, Population]:
        """The populations that are no sources."""
        return {k: p for k, p in self.populations.items() if isinstance(p, Population)}

    def __getitem__(self, name: str) -> Any:
        return find(name, self.populations, "population")

    @property
    def num_neurons(self) -> int:
        """The number of neurons, without sources."""
        return sum(p.size for p in self.simulated.values())

    @property
    def waits(self) -> bool:
        """Whether spikes travel, or neurons are refractory, for a time."""
        travel = any(p.delay is not None for p in self.projections)
        return travel or any(p.refractory is not None for p in self.simulated.values())

    @property
    def plastic(self) -> bool:
        """Whether what spikes bring depends on earlier ones."""
        return any(p.plasticity is not None for p in self.projections)

    @property
    def sizes(self) -> Sizes:
        """The names and sizes of the populations, in the order of neurons and without sources; none
        if there is only one that has no name of its own."""
        if self.names == (ONLY,):
            return ()
        return tuple((name, population.size) for name, population in self.simulated.items())

    def bounds(self) -> tuple[Bound, ...]:
        """What the parameters must be."""
        parts = (*self.simulated.values(), *self.projections)
        return tuple(bound for p in parts for bound in p.bounds())


def find_value(name: str, things: dict, what: str) -> Any:
    """The thing of a name, or a `ValueError` that says which there are."""
    try:
        return find(name, things, what)
    except KeyError as e:
        raise ValueError(e.args[0]) from None


def _checked(part: Population | Source, conditions: str) -> Population | Source:
    """The part; raises, or does so at run time, if its firing has no exact gradients with it."""
    if isinstance(part, Source) or conditions == "waive" or part.firing is None:
        return part
    neuron = part.firing.check(part.neuron, part.size)
    return part if neuron is part.neuron else eqx.tree_at(lambda p: p.neuron, part, neuron)
