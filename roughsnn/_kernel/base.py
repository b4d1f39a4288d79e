"""What a kernel of spike trains is."""

import abc
import dataclasses
from typing import Any, Literal, TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from .._misc import is_concrete
from .._path.spike_train import SpikeTrain
from .._types import Scalar

# Where a function of spike trains may jump: two neurons' spikes swap order, one leaves the window.
Jump: TypeAlias = Literal["swap", "exit"]


class AbstractTrainKernel(eqx.Module):
    """A positive definite function of two spike trains of one window.

    What depends on one train only is done once for each train, by `lift`. Batches have the samples
    first.
    """

    @abc.abstractmethod
    def fitted(self, data: SpikeTrain) -> "AbstractTrainKernel":
        """The kernel with the scales that were left open taken from a batch of data."""

    @abc.abstractmethod
    def lift(self, x: SpikeTrain) -> PyTree[Array]:
        """What the kernel needs of each train of a batch."""

    @abc.abstractmethod
    def block(self, a: PyTree[Array], b: PyTree[Array]) -> Float[Array, "samples other_samples"]:
        """k of all pairs of two lifted batches."""

    @abc.abstractmethod
    def pairs(self, a: PyTree[Array], b: PyTree[Array]) -> Float[Array, "*samples"]:
        """k of each sample of a lifted batch with its partner in another; the axes of samples, of
        which there may be several, broadcast."""

    @abc.abstractmethod
    def jumps(self, num_neurons: int) -> frozenset[Jump]:
        """Where it jumps as a function of the spike times, and the pathwise gradient of a loss is
        not that of its mean; empty for a kernel to train with."""

    @abc.abstractmethod
    def workspace(self, spikes: int, num_neurons: int) -> int:
        """How many numbers a pair of trains takes while it is worked on."""

    def __call__(self, x: SpikeTrain, y: SpikeTrain) -> Scalar:
        """k(x, y) of two single trains."""
        check_same_kind(x, y)
        for name, z in (("x", x), ("y", y)):
            check_trains(name, z)
        batch = lambda z: jax.tree.map(lambda a: a[None], z.complete())  # noqa: E731
        return self.pairs(self.lift(batch(x)), self.lift(batch(y)))[0]


def jumps_of(*, swap: bool, end: bool) -> frozenset[Jump]:
    """The kinds of jumps that there are."""
    found: set[Jump] = set()
    if swap:
        found.add("swap")
    if end:
        found.add("exit")
    return frozenset(found)


def check_same_kind(x: Any, y: Any) -> None:
    """Two trains, or batches of them, of the same window and neurons."""
    kinds = [(z.t0, z.t1, z.num_neurons) for z in (x, y)]
    if kinds[0] != kinds[1]:
        raise ValueError(
            "`x` and `y` must have the same window and number of neurons, got (t0, t1, "
            f"num_neurons) = {kinds[0]} and {kinds[1]}."
        )


def check_trains(name: str, x: Any, *, batch: bool = False) -> None:
    """A train, or a batch, whose spikes (where they are known) are in order, in the window and
    of neurons that there are."""
    if not isinstance(x, SpikeTrain):
        raise TypeError(f"`{name}` must be a roughsnn.SpikeTrain, got {type(x).__name__}.")
    if x.times.ndim != 1 + batch:
        wanted = (
            "a batch of trains with times of shape (samples, spikes)"
            if batch
            else "one train with times of shape (spikes,)"
        )
        raise ValueError(
            f"`{name}` must be {wanted}, got {x.times.shape}. Use jax.vmap over keys, or "
            "SpikeTrain.stack."
        )
    if not is_concrete(x.times, x.marks):
        return
    times, marks = np.asarray(x.times), np.asarray(x.marks)
    there = marks >= 0
    if np.any(marks >= x.num_neurons) or np.any(marks < -1):
        raise ValueError(
            f"`{name}` has marks from {marks.min()} to {marks.max()}; neurons are 0 ... "
            f"{x.num_neurons - 1}, and -1 is padding."
        )
    if np.any(there[..., 1:] & ~there[..., :-1]):
        raise ValueError(f"`{name}` has padding (mark -1) before a spike; it must come last.")
    known = times[there]
    # One rounding more than the window: the last spike of a cell may lie on its end.
    slack = 1e-6 * (x.t1 - x.t0)
    if not np.all((known >= x.t0 - slack) & (known <= x.t1 + slack)):
        raise ValueError(
            f"`{name}` has spikes outside of its window [{x.t0}, {x.t1}], or times that are not "
            "finite."
        )
    if np.any(there[..., 1:] & (times[..., 1:] < times[..., :-1])):
        raise ValueError(f"`{name}` has spike times that are not in increasing order.")


def pooled(x: SpikeTrain, y: SpikeTrain) -> SpikeTrain:
    """Both batches as one, held constant: what a kernel takes its scales from, so that neither side
    is more typical of it than the other."""
    room = max(x.times.shape[-1], y.times.shape[-1])
    plain = [dataclasses.replace(z.with_room(room), boundary=None) for z in (x, y)]
    both = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), *plain)
    return dataclasses.replace(both, times=jax.lax.stop_gradient(both.times))


def against(a, b):
    """Two batches whose leading axes broadcast to all pairs."""
    return jax.tree.map(lambda z: z[:, None], a), jax.tree.map(lambda z: z[None], b)
