"""Populations: neurons of one kind, and spikes from outside."""

from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._check import check_kind
from .._misc import check_positive_int, is_concrete
from .._types import Numeric
from .domain import Bound, as_bounded
from .firing import AbstractFiring, AbstractHazard
from .lif import LIFState
from .mapped import check_size, mapped
from .neuron import AbstractLinearNeuron, AbstractNeuron
from .state import PopulationState, named
from .synapse import AbstractSynapse


class Population(eqx.Module):
    r"""Neurons of one kind: how they move, when they fire, and what receives spikes.

    **Arguments:**

    - `size`: how many.
    - `neuron`: a [`roughsnn.AbstractNeuron`][], e.g. [`roughsnn.neurons.LIF`][].
    - `firing`: [`roughsnn.StochasticFiring`][] or another [`roughsnn.AbstractHazard`][],
        [`roughsnn.HardThreshold`][], or `None` for read-outs that never fire.
    - `ports`: where spikes arrive: a dictionary from names to synapses, e.g.
        `{"exc": rs.synapses.Exponential(0.005)}`. The current of a neuron is the sum of those of
        its ports and of the drive.
    - `refractory`: for how long a neuron cannot fire after a spike, in time, not negative; a number
        or shape `(neurons,)`; by default 0. In that time the hazard is 0, and a hard threshold is
        not looked at; the potential goes on (one that were held would have no gradient where noise
        or arrivals act on it). A neuron that is above a hard threshold at the end fires then.

    **Raises:** `ValueError` for parameters of another number of neurons, and names of ports that
        are those of parts of the state of the neuron; `TypeError` for parts of another type.
    """

    size: int = eqx.field(static=True)
    neuron: AbstractNeuron
    firing: AbstractFiring | None
    ports: dict[str, AbstractSynapse]
    refractory: Float[Array, "*neurons"] | None

    def __init__(
        self,
        size: int,
        neuron: AbstractNeuron,
        firing: AbstractFiring | None,
        ports: Mapping[str, AbstractSynapse] | None = None,
        *,
        refractory: Numeric | None = None,
    ):
        self.size = check_positive_int("size", size)
        self.neuron = check_kind(
            "neuron", neuron, AbstractNeuron, "a roughsnn.AbstractNeuron, e.g. roughsnn.neurons.LIF"
        )
        if firing is not None:
            wanted = "a roughsnn.StochasticFiring, a roughsnn.HardThreshold or None"
            check_kind("firing", firing, AbstractFiring, wanted)
        self.firing = firing
        ports = {} if ports is None else ports
        wanted = 'a dictionary from names to synapses, e.g. {"syn": roughsnn.synapses.Exponential}'
        check_kind("ports", ports, Mapping, wanted)
        for name, synapse in ports.items():
            check_kind("a name in `ports`", name, str, "a str")
            check_kind(f"ports[{name!r}]", synapse, AbstractSynapse, "a roughsnn.AbstractSynapse")
        self.ports = {name: ports[name] for name in sorted(ports)}
        for part in (self.neuron, self.firing, *self.ports.values()):
            if part is not None:
                check_size(part, self.size)
        self.refractory = _check_refractory(refractory, firing, self.size)
        rest = jax.eval_shape(self.rest)
        _check_state("neuron", rest.neuron)
        for name in self.ports:
            _check_state(f"ports[{name!r}]", rest.ports[name])
        own = [name for name, _ in named(rest.neuron)]
        if "" in own or "s" in own:
            raise ValueError(
                f"The state of `neuron` must have named parts, none of them 's', got {own}: use a "
                'dictionary, e.g. {"v": v}, or a named tuple.'
            )
        taken = {"s", *own}
        both = {name for name in self.ports if name in taken or "." in name}
        if both:
            raise ValueError(
                f"`ports` must have names without dots that no part of the neuron's state has, got "
                f"{sorted(both)}."
            )

    @property
    def hazard(self) -> AbstractHazard | None:
        """The firing rule, if its thresholds are random."""
        return self.firing if isinstance(self.firing, AbstractHazard) else None

    @property
    def channels(self) -> int:
        """The number of noise channels of one neuron."""
        return max(self.neuron.channels, *(port.channels for port in self.ports.values()), 0)

    def channels_drawn(self) -> tuple[int, ...]:
        """The noise channels that reach the neuron or a port, as far as is known."""
        parts = (self.neuron, *self.ports.values())
        return tuple(sorted(set().union(*(part.channels_drawn() for part in parts))))

    def rest(self) -> PopulationState:
        """All neurons and ports at rest, thresholds at 0."""
        every = jnp.zeros(self.size)
        at = lambda part: mapped(lambda part, _: part.initial(), part, every)
        s = None if self.hazard is None else jnp.zeros(self.size)
        return PopulationState(at(self.neuron), {k: at(p) for k, p in self.ports.items()}, s)

    def bounds(self) -> tuple[Bound, ...]:
        """What the parameters must be."""
        firing = () if self.firing is None else self.firing.bounds()
        ports = (bound for port in self.ports.values() for bound in port.bounds())
        hold = self.refractory
        own = () if hold is None else (Bound("refractory", hold, "not negative"),)
        return (*self.neuron.bounds(), *firing, *ports, *own)


def _check_state(what: str, state: Any) -> None:
    """`ValueError` for states that are not of floating numbers, or that have nothing in a place."""
    is_empty = lambda x: isinstance(x, tuple | list | dict) and not x
    for leaf in jax.tree.leaves(state, is_leaf=is_empty):
        if is_empty(leaf):
            raise ValueError(
                f"The state of `{what}` has a part {leaf!r} that holds nothing, which solvers do "
                "not take: leave it out, or let it be None."
            )
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            raise ValueError(
                f"The state of `{what}` must be of floating numbers, as it moves along an "
                f"equation, got {leaf.dtype}."
            )


def _check_refractory(refractory: Numeric | None, firing: Any, size: int) -> Array | None:
    """The refractory times; `None` if there are none."""
    hold = as_bounded("refractory", 0.0 if refractory is None else refractory, "not negative")
    if is_concrete(hold) and not np.any(np.asarray(hold)):
        return None
    if hold.shape not in ((), (size,)):
        raise ValueError(
            f"`refractory` must be a number or have shape ({size},), got {hold.shape}."
        )
    if firing is None:
        raise ValueError("`refractory` goes with a firing rule: these neurons never fire.")
    return hold


class Source(eqx.Module):
    """Spikes from outside, as a population: recorded ones, or those of another network.

    A train for it is given to [`roughsnn.simulate`][] by `inputs={"name": train}`.

    **Arguments:**

    - `size`: how many spike trains there are.
    """

    size: int = eqx.field(static=True)

    def __init__(self, size: int):
        self.size = check_positive_int("size", size)


class Still(AbstractLinearNeuron):
    """A neuron that does not move."""

    def initial(self):
        """See [`roughsnn.AbstractNeuron`][]."""
        return LIFState(jnp.zeros(()))

    def drift(self, t, x, current):
        """See [`roughsnn.AbstractNeuron`][]."""
        del t, current
        return LIFState(jnp.zeros_like(x.v))

    def spike(self, x):
        """See [`roughsnn.AbstractNeuron`][]."""
        return x

    def potential(self, x):
        """See [`roughsnn.AbstractNeuron`][]."""
        return x.v


class ConstantRate(AbstractHazard):
    """Spikes at a rate that does not depend on the potential."""

    rate: Float[Array, "*neurons"]
    alpha: Float[Array, "*neurons"]

    def hazard(self, t, v):
        """See [`roughsnn.AbstractHazard`][]."""
        del t
        return self.rate + jnp.zeros_like(v)

    def log_hazard(self, t, v):
        """See [`roughsnn.AbstractHazard`][]."""
        return jnp.log(self.hazard(t, v))

    def check(self, neuron, size):
        """Every neuron will do."""
        del size
        return neuron

    def bounds(self):
        """The rate is positive."""
        return (Bound("rate", self.rate, "positive"),)


def Poisson(size: int, rate: Numeric) -> Population:
    r"""A population of independent Poisson processes, with exact gradients in their rates.

    Their spikes come from the key of the simulation, as random thresholds of neurons with a
    constant hazard.

    **Arguments:**

    - `size`: how many.
    - `rate`: spikes per time, positive; a number or shape `(neurons,)`.
    """
    rate = as_bounded("rate", rate, "positive")
    firing = ConstantRate(rate, jnp.zeros((), rate.dtype))
    return Population(size, Still(), firing)
