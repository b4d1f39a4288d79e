"""Kernels of two spike trains."""

import abc
import dataclasses
import functools as ft
from typing import TYPE_CHECKING

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from .._misc import as_float_array, is_concrete, static_float
from .._path.spike_train import SpikeTrain
from .._types import Numeric, Scalar
from .sweep import Steps, derivatives, enough, sweep

if TYPE_CHECKING:
    from typing import ClassVar as AbstractVar
else:
    from equinox import AbstractVar

# Beyond this arc length of time the kernel of two silent trains overflows float32 soon.
_LONGEST = 40.0


class AbstractTrainKernel(eqx.Module):
    """A positive definite function of two spike trains of one window."""

    # Whether to divide by sqrt(k(x, x) k(y, y)).
    normalized: AbstractVar[bool]

    @abc.abstractmethod
    def lift(self, x: SpikeTrain) -> PyTree[Array]:
        """What the kernel needs of one train."""

    @abc.abstractmethod
    def inner(self, a: PyTree[Array], b: PyTree[Array]) -> Scalar:
        """The kernel of two lifted trains, not normalised."""

    @abc.abstractmethod
    def fitted(self, data: SpikeTrain) -> "AbstractTrainKernel":
        """The kernel with what it takes from a batch of data filled in."""

    def __call__(self, x: SpikeTrain, y: SpikeTrain) -> Scalar:
        """k(x, y) of two single trains."""
        check_same_kind(x, y)
        a, b = self.lift(x.complete()), self.lift(y.complete())
        value = self.inner(a, b)
        if not self.normalized:
            return value
        return value / jnp.sqrt(self.inner(a, a) * self.inner(b, b))


def check_same_kind(x: SpikeTrain, y: SpikeTrain) -> None:
    """Two trains, or batches of them, of the same window and neurons."""
    kinds = [(z.t0, z.t1, z.num_neurons) for z in (x, y)]
    if kinds[0] != kinds[1]:
        raise ValueError(
            "`x` and `y` must have the same window and number of neurons, got (t0, t1, "
            f"num_neurons) = {kinds[0]} and {kinds[1]}."
        )


class SignatureKernel(AbstractTrainKernel):
    r"""The signature kernel of spike trains with time, exactly.

    $k(x, y) = \langle S(\tilde x), S(\tilde y)\rangle$ over all levels, where $\tilde x$ is the
    path of time and counts, its signature in the sense of Ito: a spike of neuron m is a factor
    $1 + w e_m$. No grid: between jumps the kernel solves a Goursat problem with a constant
    coefficient, whose solution is carried as a short power series, exact to rounding. First
    derivatives take a second sweep and no tape; higher ones, and all modes, work.

    **Arguments:**

    - `height`: $w$, what a spike adds; scalar or shape `(neurons,)`. By default
        $1/\sqrt{\text{mean count}}$ of the data, filled in by `fitted`.
    - `time_scale`: the length of the whole window in the path.
    - `taper`: the part of the window, from its end, over which the height of a spike falls to 0,
        as in [`roughsnn.marcus_lift`][]; with 0 the kernel jumps where a spike leaves the window.
    - `normalized`: divide by $\sqrt{k(x, x)\,k(y, y)}$, without which the trains with most spikes
        dominate.

    **Raises:** `ValueError` for heights that are negative, or not fitted; a taper outside of
    [0, 1]; time scales that are not positive or for which the kernel would overflow.

    !!! warning

        For several neurons the path, hence the kernel, jumps where spikes of two of them swap
        order, and the pathwise gradient of a loss misses that. Train with
        [`roughsnn.PerNeuronKernel`][].

    ??? cite "References"

        C. Salvi, T. Cass, J. Foster, T. Lyons, W. Yang, *The signature kernel is the solution of a
        Goursat PDE*, SIAM J. Math. Data Sci. 3 (2021).

        I. Chevyrev, H. Oberhauser, *Signature moments to characterize laws of stochastic
        processes*, JMLR 23 (2022): why to normalise.
    """

    height: Float[Array, "*neurons"] | None
    time_scale: float = eqx.field(static=True)
    taper: float = eqx.field(static=True)
    normalized: bool = eqx.field(static=True)

    def __init__(
        self,
        height: Numeric | None = None,
        *,
        time_scale: float = 1.0,
        taper: float = 0.1,
        normalized: bool = True,
    ):
        self.height = None if height is None else as_float_array("height", height)
        if self.height is not None and is_concrete(self.height):
            if np.any(np.asarray(self.height) < 0):
                raise ValueError(f"`height` must not be negative, got {np.asarray(self.height)}.")
        self.time_scale = static_float("time_scale", time_scale)
        if not 0 < self.time_scale <= _LONGEST:
            raise ValueError(
                f"`time_scale` must be in (0, {_LONGEST}], got {time_scale}: the kernel grows like "
                "exp(2 time_scale)."
            )
        if not 0 <= taper <= 1:
            raise ValueError(f"`taper` must be in [0, 1], a part of the window, got {taper}.")
        self.taper = float(taper)
        self.normalized = bool(normalized)

    def fitted(self, data):
        """With `height` from the mean count of `data`, if it was left open."""
        return self.with_mean_count(jnp.mean(data.count.astype(data.times.dtype)))

    def with_mean_count(self, mean: Scalar) -> "SignatureKernel":
        """With `height` from a mean number of spikes (one at least), if it was left open."""
        if self.height is not None:
            return self
        height = jax.lax.stop_gradient(1 / jnp.sqrt(jnp.maximum(mean, 1)))
        return dataclasses.replace(self, height=height)

    def lift(self, x):
        """Times in units of the path, heights and marks; padding has height 0, at the end."""
        if self.height is None:
            raise ValueError(
                "`height` is not known: give it, or call `kernel.fitted(data)` to take it from the "
                "mean count."
            )
        there = x.marks >= 0
        times = jnp.where(there, (x.times - x.t0) / (x.t1 - x.t0), 1)
        height = jnp.broadcast_to(self.height.astype(times.dtype), (x.num_neurons,))
        height = jnp.where(there, height[jnp.maximum(x.marks, 0)], 0)
        if self.taper > 0:
            height = height * jnp.clip((1 - times) / self.taper, 0, 1)
        return times * self.time_scale, height, x.marks

    def inner(self, a, b):
        """See [`roughsnn.AbstractTrainKernel`][]."""
        (s, w, m), (t, v, n) = a, b
        order = enough(self.time_scale, float(jnp.finfo(s.dtype).eps))
        return _kernel(order, self.time_scale, m, n, s, w, t, v)


class PerNeuronKernel(AbstractTrainKernel):
    r"""The product over neurons of the signature kernels of their own trains.

    Continuous where spikes of two neurons swap order, so its pathwise gradient is right: the
    kernel to train networks with. It sees all joint laws, as products of characteristic
    kernels do. Costs as many sweeps as there are neurons.

    **Arguments:**

    - `kernel`: a [`roughsnn.SignatureKernel`][].
    """

    kernel: SignatureKernel

    @property
    def normalized(self) -> bool:
        """Whether the factors are."""
        return self.kernel.normalized

    def fitted(self, data):
        """With the height that `kernel` takes from the mean count of one neuron."""
        mean = jnp.mean(data.count.astype(data.times.dtype)) / data.num_neurons
        return PerNeuronKernel(self.kernel.with_mean_count(mean))

    def lift(self, x):
        """One train for each neuron: its own heights, 0 where others spike."""
        times, height, marks = self.kernel.lift(x)
        neurons = jnp.arange(x.num_neurons, dtype=marks.dtype)
        return times, jnp.where(marks[None] == neurons[:, None], height[None], 0)

    def inner(self, a, b):
        """See [`roughsnn.AbstractTrainKernel`][]."""
        (s, w), (t, v) = a, b
        mark = lambda z: jnp.zeros(z.shape, jnp.int32)  # noqa: E731
        one = lambda w, v: self.kernel.inner((s, w, mark(s)), (t, v, mark(t)))  # noqa: E731
        return jnp.prod(jax.vmap(one)(w, v))


def _steps(length: float, times: Array, heights: Array, marks: Array) -> Steps:
    ends = jnp.asarray([0.0, length], times.dtype)
    return Steps(jnp.diff(jnp.concatenate([ends[:1], times, ends[1:]])), heights, marks)


@ft.partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def _kernel(order: int, length: float, m, n, s, w, t, v) -> Scalar:
    """Of jumps of neurons m, n at s, t by w, v."""
    return sweep(_steps(length, s, w, m), _steps(length, t, v, n), order)[0]


@_kernel.defjvp
def _kernel_jvp(order, length, primals, tangents):
    m, n, s, w, t, v = primals
    x, y = _steps(length, s, w, m), _steps(length, t, v, n)
    value, gradients = derivatives(x, y, order)
    parts = zip(gradients, tangents[2:], strict=True)
    return value, sum((jnp.vdot(g, d) for g, d in parts), jnp.zeros_like(value))
