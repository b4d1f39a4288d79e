"""From spikes to paths with a signature: how a jump is run through."""

import abc
from typing import TYPE_CHECKING, ClassVar, TypeAlias

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PyTree

from .._misc import at_least, at_most, check_positive_float, matmul
from .._types import Scalar
from .jumps import jump_kernel
from .segments import segment_kernel, segments_workspace
from .steps import Steps
from .turns import turns_kernel, turns_workspace

if TYPE_CHECKING:
    from typing import ClassVar as AbstractClassVar
else:
    from equinox import AbstractClassVar

Spikes: TypeAlias = Float[Array, " spikes"]


class AbstractLift(eqx.Module):
    """A way to make a path of time and counts from spikes, and the kernel of its signature."""

    # How many axes a path has; whether it jumps where spikes of two neurons swap order; whether
    # cells with jumps are exact at any order.
    axes: AbstractClassVar[int]
    swaps: AbstractClassVar[bool]
    exact_jumps: AbstractClassVar[bool]

    @abc.abstractmethod
    def path(
        self,
        times: Spikes,
        heights: Spikes,
        marks: Int[Array, " spikes"],
        neurons: int,
        length: float,
    ) -> PyTree[Array]:
        """The path of jumps of `neurons` at `times`, parts of a window that is `length` long in the
        path."""

    @abc.abstractmethod
    def dilate(self, path: PyTree[Array], factor: Scalar) -> PyTree[Array]:
        """The path enlarged by a factor."""

    @abc.abstractmethod
    def inner(self, a: PyTree[Array], b: PyTree[Array], order: int) -> Float[Array, " *batch"]:
        """The signature kernel of pairs of paths; leading axes of both broadcast."""

    @abc.abstractmethod
    def workspace(self, spikes: int, order: int) -> int:
        """How many numbers a pair takes."""


class AbstractStepsLift(AbstractLift):
    """A lift that is known by gaps of time, heights and marks; paths jump where spikes swap."""

    axes: ClassVar[int] = 1
    swaps: ClassVar[bool] = True

    def path(self, times, heights, marks, neurons, length):
        """Gaps of time, heights, marks."""
        del neurons
        ends = jnp.asarray([0.0, 1.0], times.dtype)
        gaps = jnp.diff(jnp.concatenate([ends[:1], times, ends[1:]])) * length
        return Steps(gaps, heights, marks)

    def dilate(self, path, factor):
        """See [`roughsnn.AbstractLift`][]."""
        return Steps(path.gaps * factor, path.heights * factor, path.marks)

    def inner(self, a, b, order):
        """See [`roughsnn.AbstractLift`][]."""
        first = lambda z: jnp.moveaxis(z, -1, 0)
        return self.kernel(order, *map(first, a), *map(first, b))

    @abc.abstractmethod
    def kernel(self, order: int, xg, xw, xm, yg, yw, ym) -> Float[Array, " *batch"]:
        """That of pairs of paths, the batch last: gaps, heights and marks of both."""


class ItoLift(AbstractStepsLift):
    r"""A spike multiplies the signature by $1 + w e_m$: the signature in the sense of Ito.

    The cheapest, with a gradient by a second sweep. Time and the jumps of a neuron shuffle as
    increments of a jump process do, not as those of a smooth path.

    ??? cite "Reference"

        P. Friz, A. Shekhar, *General rough integration, Levy rough paths and a Levy-Kintchine-type
        formula*, Ann. Probab. 45 (2017).
    """

    exact_jumps: ClassVar[bool] = True

    def kernel(self, order, xg, xw, xm, yg, yw, ym):
        """See `jump_kernel`."""
        return jump_kernel(order, xg, xw, xm, yg, yw, ym)

    def workspace(self, spikes, order):
        """Two numbers for each pair of spikes, and one row of series."""
        return 2 * spikes**2 + (2 * order + 4) * spikes


class MarcusLift(AbstractStepsLift):
    r"""A spike multiplies the signature by $e^{w e_m}$: the path runs straight through the jump.

    The lift of Holberg & Salvi (2024, Appendix C), as [`roughsnn.marcus_lift`][] has it.

    ??? cite "Reference"

        I. Chevyrev, P. Friz, *Canonical RDEs and general semimartingales as rough paths*, Ann.
        Probab. 47 (2019).
    """

    exact_jumps: ClassVar[bool] = False

    def kernel(self, order, xg, xw, xm, yg, yw, ym):
        """See `turns_kernel`."""
        return turns_kernel(order, xg, xw, xm, yg, yw, ym)

    def workspace(self, spikes, order):
        """See [`roughsnn.AbstractLift`][]."""
        return turns_workspace(spikes, order)


class RampLift(AbstractLift):
    r"""A spike at $\tau$ becomes a straight rise over $[\tau, \tau + \varepsilon]$.

    The path, hence the kernel, is continuous in the spike times, also where spikes of two neurons
    swap order, which those of the other lifts are not; and time goes on to
    $t_1 + \varepsilon$, so that every rise is complete.

    **Arguments:**

    - `width`: $\varepsilon$, as a part of the window. Swaps matter for spikes that are closer.
    """

    width: float = eqx.field(static=True, default=0.05)

    axes: ClassVar[int] = 2
    swaps: ClassVar[bool] = False
    exact_jumps: ClassVar[bool] = False

    def __check_init__(self):
        check_positive_float("width", self.width)

    def path(self, times, heights, marks, neurons, length):
        """Segments between the starts and ends of rises."""
        dtype = times.dtype
        corners = jnp.sort(jnp.concatenate([times, times + self.width]))
        ends = jnp.asarray([0.0, 1.0 + self.width], dtype)
        corners = jnp.concatenate([ends[:1], corners, ends[1:]])
        numbers = jnp.arange(neurons, dtype=marks.dtype)
        jumps = jnp.where(marks[:, None] == numbers[None], heights[:, None], 0)
        risen = at_most(at_least((corners[:, None] - times[None]) / self.width, 0), 1)
        return jnp.diff(
            jnp.concatenate([corners[:, None] * length, matmul(risen, jumps)], 1), axis=0
        )

    def dilate(self, path, factor):
        """See [`roughsnn.AbstractLift`][]."""
        return path * factor

    def inner(self, a, b, order):
        """See [`roughsnn.AbstractLift`][]."""
        return segment_kernel(a, b, order)

    def workspace(self, spikes, order):
        """See `segments_workspace`."""
        return segments_workspace(2 * spikes + 1, order)
