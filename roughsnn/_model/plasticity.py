"""Short-term plasticity: how strong a spike is, by the spikes that its neuron had before."""

import abc
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PyTree

from .._check import check_kind
from .._train.spike_train import SpikeTrain
from .._types import Scalar
from .domain import Bound
from .mapped import check_size, mapped, one_of


class AbstractPlasticity(eqx.Module):
    r"""How strong the spikes of a neuron are, by its earlier ones: a state x of each neuron of
    `pre`, that a spike reads and changes.

    A spike brings a x w in place of w, with the amplitude a. Written for a single neuron, as a
    [`roughsnn.AbstractNeuron`][] is: a state that is a number or a pytree of named numbers,
    parameters that are numbers or have shape `(pre neurons,)` (annotated as `*neurons`).
    """

    @abc.abstractmethod
    def initial(self) -> PyTree[Float[Array, ""]]:
        """The state before the first spike, which `decay` should leave as it is."""

    @abc.abstractmethod
    def decay(self, x: PyTree, time: Scalar) -> PyTree:
        """The state after a time without spikes."""

    @abc.abstractmethod
    def spike(self, x: PyTree) -> tuple[Scalar, PyTree]:
        """The amplitude of a spike that finds this state, and the state just after."""

    def bounds(self) -> tuple[Bound, ...]:
        """What its parameters must be; none by default."""
        return ()

    def amplitudes(self, spikes: SpikeTrain) -> Float[Array, " spikes"]:
        """The amplitude of each spike of a train of the neurons of `pre`; 0 for padding."""
        check_plasticity("plasticity", self, spikes.num_neurons)
        start = Plastic.rest(self, spikes.num_neurons, spikes.times.dtype)
        return amplitudes_of(self, start, spikes.complete().local())[0]


class Fired(NamedTuple):
    """Which neurons fired, and when after the start of a time."""

    hit: Bool[Array, " neurons"]
    offset: Float[Array, " neurons"]


class Plastic(eqx.Module):
    """The states of the neurons of a projection with plasticity: just after the last spike of each,
    and the time since then. So nothing moves between spikes but a clock."""

    x: PyTree[Float[Array, " neurons"]]
    age: Float[Array, " neurons"]

    @classmethod
    def rest(cls, plasticity: AbstractPlasticity, neurons: int, dtype: Any) -> "Plastic":
        """Before the first spikes."""
        age = jnp.zeros(neurons, dtype)
        x = mapped(lambda p, _: p.initial(), plasticity, age)
        return cls(jax.tree.map(lambda one: one.astype(dtype), x), age)

    def drift(self) -> "Plastic":
        """Its derivative: time goes by."""
        return Plastic(jax.tree.map(jnp.zeros_like, self.x), jnp.ones_like(self.age))

    def after(self, time: Scalar) -> "Plastic":
        """After a time without spikes."""
        return Plastic(self.x, self.age + time)

    def fired(
        self, plasticity: AbstractPlasticity, spikes: Fired, length: Scalar | float
    ) -> tuple[Float[Array, " neurons"], "Plastic"]:
        """The amplitudes of spikes, at most one of each neuron, 0 where there is none; and what
        there is after this length of time."""
        hit, offset = spikes
        since = self.age + jnp.where(hit, offset, 0)
        found = mapped(lambda p, x, t: p.spike(p.decay(x, t)), plasticity, self.x, since)
        amplitude, new = jnp.where(hit, found[0], 0), found[1]
        x = jax.tree.map(lambda a, b: jnp.where(hit, a, b), new, self.x)
        return amplitude, Plastic(x, jnp.where(hit, length - offset, self.age + length))


def check_plasticity(name: str, plasticity: Any, neurons: int) -> None:
    """A clear error for what is none, or for parameters of another number of neurons."""
    check_kind(name, plasticity, AbstractPlasticity, "a roughsnn.AbstractPlasticity")
    check_size(plasticity, neurons)

    def spike(p):
        x = p.initial()
        return x, p.spike(p.decay(x, jnp.zeros(())))

    x, (amplitude, after) = jax.eval_shape(lambda: one_of(spike, plasticity))
    if jax.tree.structure(x) != jax.tree.structure(after) or not jax.tree.leaves(x):
        raise ValueError(
            f"`{name}` must have a state, and `spike` of a {type(plasticity).__name__} return "
            f"another one of the structure of `initial`, {jax.tree.structure(x)}, got "
            f"{jax.tree.structure(after)}."
        )
    shapes = [one.shape for one in (amplitude, *jax.tree.leaves((x, after)))]
    if any(shapes):
        raise ValueError(
            f"The amplitude and the state of `{name}` are those of one neuron, numbers of shape "
            f"(), got shapes {sorted(set(shapes))}."
        )


def amplitudes_of(
    plasticity: AbstractPlasticity, start: Plastic, spikes: SpikeTrain
) -> tuple[Float[Array, " spikes"], Plastic]:
    """The amplitudes of the spikes of a train, whose times are in order and count from where
    `start` is; and what there is at the end of the train."""

    def one(carry, spike):
        x, last = carry
        k, t = spike
        there, k = k >= 0, jnp.maximum(k, 0)
        t, own = jnp.where(there, t, 0), jax.tree.map(lambda x: x[k], x)
        since = jnp.where(there, t - last[k], 0)
        amplitude, new = one_of(lambda p: p.spike(p.decay(own, since)), plasticity, k)
        put = lambda old, new: old.at[k].set(jnp.where(there, new, old[k]))
        return (jax.tree.map(put, x, new), put(last, t)), jnp.where(there, amplitude, 0)

    dtype = start.age.dtype
    moving = spikes.marks, spikes.times.astype(dtype)
    (x, last), amplitudes = jax.lax.scan(one, (start.x, -start.age), moving)
    return amplitudes, Plastic(x, jnp.asarray(spikes.t1, dtype) - last)
