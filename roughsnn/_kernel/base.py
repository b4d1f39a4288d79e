"""What a kernel of spike trains is."""

import abc
import dataclasses
from typing import Any, Literal, TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from .._check import check_kind
from .._train.check import check_same_kind, check_trains
from .._train.spike_train import SpikeTrain
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
    def embed(self, x: SpikeTrain) -> PyTree[Array]:
        """What the kernel needs of each train of a batch."""

    @abc.abstractmethod
    def block(self, a: PyTree[Array], b: PyTree[Array]) -> Float[Array, "samples other_samples"]:
        """k of all pairs of two embedded batches."""

    @abc.abstractmethod
    def pairs(self, a: PyTree[Array], b: PyTree[Array]) -> Float[Array, "*samples"]:
        """k of each sample of a embedded batch with its partner in another; the axes of samples, of
        which there may be several, broadcast."""

    @abc.abstractmethod
    def discontinuities(self, num_neurons: int) -> frozenset[Jump]:
        """Where it jumps as a function of the spike times, and the pathwise gradient of a loss is
        not that of its mean; empty for a kernel to train with."""

    @abc.abstractmethod
    def workspace(self, spikes: int, num_neurons: int) -> int:
        """How many numbers a pair of trains takes while it is worked on."""

    def __call__(self, x: SpikeTrain, y: SpikeTrain) -> Scalar:
        """k(x, y) of two single trains."""
        for name, z in (("x", x), ("y", y)):
            check_trains(name, z)
        check_same_kind(x, y)
        batch = lambda z: jax.tree.map(lambda a: a[None], z.complete())
        return self.pairs(self.embed(batch(x)), self.embed(batch(y)))[0]


def discontinuities_of(*, swap: bool, end: bool) -> frozenset[Jump]:
    """The kinds of jumps that there are."""
    found: set[Jump] = set()
    if swap:
        found.add("swap")
    if end:
        found.add("exit")
    return frozenset(found)


def pooled(x: SpikeTrain, y: SpikeTrain) -> SpikeTrain:
    """Both batches as one, held constant: what a kernel takes its scales from, so that neither side
    is more typical of it than the other."""
    room = max(x.times.shape[-1], y.times.shape[-1])
    plain = [dataclasses.replace(z.with_room(room), boundary=None, populations=()) for z in (x, y)]
    both = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), *plain)
    return dataclasses.replace(both, times=jax.lax.stop_gradient(both.times))


def check_kernel(kernel: Any) -> None:
    """`TypeError` for what is no kernel of spike trains."""
    wanted = "a kernel of spike trains, e.g. a roughsnn.PointKernel"
    check_kind("kernel", kernel, AbstractTrainKernel, wanted)


def against(a, b):
    """Two batches whose leading axes broadcast to all pairs."""
    return jax.tree.map(lambda z: z[:, None], a), jax.tree.map(lambda z: z[None], b)
