"""Signature kernels of each neuron's own train, joined."""

import dataclasses
import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._check import check_kind
from .._kernel.base import AbstractTrainKernel, against
from .._kernel.height import mean_count
from .._misc import check_positive_int
from .._train.check import check_trains
from .._train.marks import find_first
from .kernel import SignatureKernel


class PerNeuronKernel(AbstractTrainKernel):
    r"""The product over neurons of the signature kernels of their own trains.

    Continuous where spikes of two neurons swap order, so its pathwise gradient is right. It sees
    all joint laws, as products of characteristic kernels do. Costs as many sweeps as there are
    neurons, of all spikes each unless `max_spikes` says how few a neuron has.

    The product of many kernels is close to 0 but for trains that are much alike. With
    `interactions` q the kernel is the mean of the products over all sets of q neurons, the ANOVA
    kernel $\binom{d}{q}^{-1} \sum_{i_1 < \dots < i_q} k_{i_1} \cdots k_{i_q}$, by the same sweeps;
    it sees the joint laws of any q neurons.

    **Arguments:**

    - `kernel`: a [`roughsnn.SignatureKernel`][].
    - `max_spikes`: room for the spikes of one neuron. With d neurons and room for n spikes in all a
        pair of trains takes d n² steps; with this, m, only d m².
    - `interactions`: of how many neurons the trains are compared jointly, at most as many as there
        are; by default of all.

    **Raises:** `ValueError` for a `max_spikes` or `interactions` that is not positive, and for
    fewer neurons than `interactions`; a runtime error for trains of which a neuron has more spikes.

    ??? cite "Reference"

        M. Stitson, A. Gammerman, V. Vapnik, V. Vovk, C. Watkins, J. Weston, *Support vector
        regression with ANOVA decomposition kernels*, Advances in Kernel Methods (1999).
    """

    kernel: SignatureKernel
    max_spikes: int | None = eqx.field(static=True, default=None)
    interactions: int | None = eqx.field(static=True, default=None)

    def __check_init__(self):
        check_kind("kernel", self.kernel, SignatureKernel, "a roughsnn.SignatureKernel")
        for name in ("max_spikes", "interactions"):
            if getattr(self, name) is not None:
                check_positive_int(name, getattr(self, name))

    def fitted(self, data):
        """With the height that `kernel` takes from the mean count of one neuron."""
        check_trains("data", data, batch=True)
        mean = mean_count(data) / data.num_neurons
        return dataclasses.replace(self, kernel=self.kernel.with_mean_count(mean))

    def embed(self, x):
        """One path for each neuron."""
        if self.interactions is not None and self.interactions > x.num_neurons:
            raise ValueError(
                f"`interactions` must be at most the number of neurons, got {self.interactions} "
                f"for {x.num_neurons}."
            )
        times, heights, marks = self.kernel.spikes(x)
        neurons = jnp.arange(x.num_neurons, dtype=marks.dtype)
        mine = marks[:, None] == neurons[None, :, None]
        times, own = (jnp.broadcast_to(z[:, None], mine.shape) for z in (times, heights))
        if self._room(marks.shape[-1]) == marks.shape[-1]:
            own = jnp.where(mine, own, 0)
        else:
            times, own = self._gathered(times, own, mine)
        return self.kernel.paths(times, own, jnp.zeros(own.shape, jnp.int32), 1)

    def _room(self, spikes: int) -> int:
        return spikes if self.max_spikes is None else min(self.max_spikes, spikes)

    def _gathered(self, times, heights, mine):
        """The spikes of each neuron in front; behind them, jumps of height 0 at the end."""
        room = self._room(mine.shape[-1])
        index, there = find_first(mine, room)
        message = (
            f"A neuron has more spikes than the `max_spikes`={self.max_spikes} of this "
            "PerNeuronKernel: raise it, or leave it out."
        )
        index = eqx.error_if(index, jnp.any(jnp.sum(mine, -1) > room), message)
        times, heights = (jnp.take_along_axis(z, index, -1) for z in (times, heights))
        return jnp.where(there, times, 1), jnp.where(there, heights, 0)

    def _joined(self, kernels: Float[Array, "*batch neurons"]) -> Float[Array, " *batch"]:
        """The mean of the products over sets of neurons: elementary symmetric polynomials."""
        size = kernels.shape[-1]
        if self.interactions is None or self.interactions == size:
            return jnp.prod(kernels, -1)
        start = jnp.zeros((self.interactions, *kernels.shape[:-1]), kernels.dtype)

        def add(sums, k):
            # Row q - 1 holds the sum over sets of q of the neurons so far.
            fewer = jnp.concatenate([jnp.ones_like(sums[:1]), sums[:-1]])
            return sums + k[None] * fewer, None

        sums, _ = jax.lax.scan(add, start, jnp.moveaxis(kernels, -1, 0))
        return sums[-1] / math.comb(size, self.interactions)

    def block(self, a, b):
        """See [`roughsnn.AbstractTrainKernel`][]."""
        return self._joined(self.kernel.kernel_of(*against(a, b)))

    def pairs(self, a, b):
        """See [`roughsnn.AbstractTrainKernel`][]."""
        return self._joined(self.kernel.kernel_of(a, b))

    def discontinuities(self, num_neurons):
        """At the end of the window if there is no taper."""
        del num_neurons
        return self.kernel.discontinuities(1)

    def workspace(self, spikes, num_neurons):
        """That of all neurons."""
        return num_neurons * self.kernel.workspace(self._room(spikes), 1)
