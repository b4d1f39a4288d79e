"""Signature kernels of spike trains."""

from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._check import check_choice, check_kind
from .._kernel.base import AbstractTrainKernel, against, discontinuities_of
from .._kernel.gaussian import known
from .._kernel.height import as_height, height_for, mean_count
from .._misc import (
    as_float_array,
    check_positive_float,
    check_positive_int,
    is_concrete,
    static_float,
)
from .._train.check import check_trains
from .._train.taper import check_taper, tapered
from .._types import Numeric, Scalar
from .cell import cheapest, enough
from .lift import AbstractLift, ItoLift
from .robust import robust_factor
from .steps import with_cuts

# Beyond this arc length of time the kernel of two silent trains overflows float32 soon.
_LONGEST = 40.0
_SCALINGS = ("none", "normalized", "robust")


class SignatureKernel(AbstractTrainKernel):
    r"""The signature kernel of spike trains with time, exactly.

    $k(x, y) = \langle S(\tilde x), S(\tilde y)\rangle$ over all levels, where $\tilde x$ is the
    path of time and counts. No grid: between jumps the kernel solves a Goursat problem with a
    constant coefficient, whose solution is carried as a short power series, exact to rounding. All
    modes of differentiation work, also twice.

    **Arguments:**

    - `height`: $w$, what a spike adds; scalar or shape `(neurons,)`. By default
        $1/\sqrt{\text{mean count}}$ of the data, filled in by `fitted`.
    - `lifting`: how a jump is run through: [`roughsnn.ItoLift`][], [`roughsnn.MarcusLift`][] or
        [`roughsnn.RampLift`][].
    - `time_scale`: the length of the whole window in the path.
    - `dilation`: enlarges the path, i.e. weights level n by its n-th power. A
        [`roughsnn.SumKernel`][] of several has any level weights that are moments of a measure
        (Cass, Lyons & Xu 2024): $\sum_q c_q \rho_q^{2n}$ for dilations $\rho_q$ and weights $c_q$.
    - `taper`: the part of the window, from its end, over which the height of a spike falls to 0,
        as in [`roughsnn.marcus_lift`][]; with 0 the kernel jumps where a spike leaves the window.
    - `scaling`: `"normalized"` divides by $\sqrt{k(x, x)\,k(y, y)}$, without which the trains with
        most spikes dominate. `"robust"` shrinks the path of each train so that the norm of its
        signature is bounded; then the kernel is characteristic for all laws (Chevyrev &
        Oberhauser 2022). Or `"none"`.
    - `order`: how many derivatives a cell carries. The default is exact to rounding for time,
        where [`roughsnn.ItoLift`][] also cuts long stretches of time, which is cheaper than a
        higher order; for [`roughsnn.MarcusLift`][] and [`roughsnn.RampLift`][] the relative error
        is about $(w V)^{p+1}/(p+1)!^2$, V the sum of one neuron's heights in the other train.
    - `longest`: what `time_scale` x `dilation` is at most, for the default order. By default it is
        the product itself; a traced `dilation` needs it, or an `order`.

    **Raises:** `ValueError` for heights that are negative, or not fitted; a taper outside of
    [0, 1]; time scales that are not positive or for which the kernel would overflow; a traced
    `dilation` without `longest`.

    !!! warning

        But for the ramp lift, the kernel of several neurons jumps where spikes of two of them swap
        order, and the pathwise gradient of a loss misses that; the losses refuse to be
        differentiated then. Train with [`roughsnn.PerNeuronKernel`][] or the ramp.

    ??? cite "References"

        C. Salvi, T. Cass, J. Foster, T. Lyons, W. Yang, *The signature kernel is the solution of a
        Goursat PDE*, SIAM J. Math. Data Sci. 3 (2021).

        I. Chevyrev, H. Oberhauser, *Signature moments to characterize laws of stochastic
        processes*, JMLR 23 (2022).

        T. Cass, T. Lyons, X. Xu, *Weighted signature kernels*, Ann. Appl. Probab. 34 (2024).
    """

    height: Float[Array, "*neurons"] | None
    lifting: AbstractLift
    dilation: Float[Array, ""]
    time_scale: float = eqx.field(static=True)
    taper: float = eqx.field(static=True)
    scaling: Literal["none", "normalized", "robust"] = eqx.field(static=True)
    order: int | None = eqx.field(static=True)
    longest: float = eqx.field(static=True)

    def __init__(
        self,
        height: Numeric | None = None,
        *,
        lifting: AbstractLift | None = None,
        time_scale: float = 1.0,
        dilation: Numeric = 1.0,
        taper: float = 0.1,
        scaling: Literal["none", "normalized", "robust"] = "normalized",
        order: int | None = None,
        longest: float | None = None,
    ):
        self.height = as_height(height)
        self.lifting = ItoLift() if lifting is None else lifting
        wanted = "a roughsnn.ItoLift, MarcusLift or RampLift"
        check_kind("lifting", self.lifting, AbstractLift, wanted)
        self.time_scale = check_positive_float("time_scale", time_scale)
        self.dilation = as_float_array("dilation", dilation)
        if self.dilation.shape != ():
            raise ValueError(f"`dilation` must be a scalar, got shape {self.dilation.shape}.")
        self.taper = check_taper(taper)
        check_choice("scaling", scaling, _SCALINGS)
        self.scaling = scaling
        self.order = None if order is None else check_positive_int("order", order)
        self.longest = self._check_longest(longest)

    def _check_longest(self, longest: float | None) -> float:
        """The given bound of `time_scale` x `dilation`, or the product."""
        if longest is None:
            longest = self.time_scale
            if is_concrete(self.dilation):
                longest *= float(self.dilation)
            elif self.order is None:
                raise ValueError(
                    "With a traced `dilation` pass `longest`, a bound of time_scale x dilation, "
                    "or an `order`."
                )
        longest = static_float("longest", longest)
        if not 0 < longest <= _LONGEST:
            raise ValueError(
                f"`time_scale` x `dilation` must be in (0, {_LONGEST}], got {longest}: the kernel "
                "grows like exp(2 time_scale)."
            )
        if is_concrete(self.dilation) and self.time_scale * float(self.dilation) > longest:
            raise ValueError(
                f"`time_scale` x `dilation` must be at most `longest`={longest}, got "
                f"{self.time_scale * float(self.dilation)}. Pass longest=None to have it found."
            )
        return longest

    def fitted(self, data):
        """With `height` from the mean count of `data`, if it was left open."""
        check_trains("data", data, batch=True)
        return self.with_mean_count(mean_count(data))

    def with_mean_count(self, mean: Scalar) -> "SignatureKernel":
        """With `height` from a mean number of spikes (one at least), if it was left open."""
        if self.height is not None:
            return self
        none = lambda x: x is None
        return eqx.tree_at(lambda k: k.height, self, height_for(mean), is_leaf=none)

    def spikes(self, x):
        """Times as parts of the window, heights and marks of a batch."""
        height = known("height", self.height)
        if height.shape not in ((), (x.num_neurons,)):
            raise ValueError(
                f"`height` must be a scalar or have shape ({x.num_neurons},), got {height.shape}."
            )
        times, taper = jax.vmap(lambda z: tapered(z, self.taper))(x)
        height = jnp.broadcast_to(height.astype(times.dtype), (x.num_neurons,))
        return times, height[jnp.maximum(x.marks, 0)] * taper, x.marks

    def paths(self, times, heights, marks, neurons: int):
        """Scaled paths, and what their kernels are divided by; axes in front of the spikes' are a
        batch."""
        order, cuts = self._resolution(times.dtype)
        times, heights, marks = with_cuts(times, heights, marks, cuts)
        path = lambda t, w, m: self.lifting.path(t, w, m, neurons, self.time_scale)
        for _ in range(times.ndim - 1):
            path = jax.vmap(path)
        paths = path(times, heights, marks)
        batch = times.shape[:-1]
        wide = lambda f: f.reshape(*batch, *(1,) * self.lifting.axes)
        dilation = jnp.broadcast_to(self.dilation.astype(times.dtype), batch)
        paths = self.lifting.dilate(paths, wide(dilation))
        if self.scaling == "none":
            return paths, None
        if self.scaling == "normalized":
            return paths, jnp.sqrt(self.lifting.inner(paths, paths, order))

        def square_of(factors):
            scaled = self.lifting.dilate(paths, wide(factors))
            return self.lifting.inner(scaled, scaled, order)

        return self.lifting.dilate(paths, wide(robust_factor(square_of, dilation))), None

    def _resolution(self, dtype) -> tuple[int, int]:
        """The order, and the number of cuts."""
        if self.order is not None:
            return self.order, 0
        area, eps = self.longest**2, float(jnp.finfo(dtype).eps)
        return cheapest(area, eps) if self.lifting.exact_jumps else (enough(area, eps), 0)

    def kernel_of(self, a, b):
        """Of paths and their norms whose batches broadcast."""
        (paths, norm), (others, other_norm) = a, b
        dtype = jax.tree.leaves(paths)[0].dtype
        value = self.lifting.inner(paths, others, self._resolution(dtype)[0])
        return value if norm is None else value / (norm * other_norm)

    def embed(self, x):
        """Paths and norms."""
        return self.paths(*self.spikes(x), x.num_neurons)

    def block(self, a, b):
        """See [`roughsnn.AbstractTrainKernel`][]."""
        return self.kernel_of(*against(a, b))

    def pairs(self, a, b):
        """See [`roughsnn.AbstractTrainKernel`][]."""
        return self.kernel_of(a, b)

    def discontinuities(self, num_neurons):
        """At swaps but for the ramp lift, and at the end of the window if there is no taper."""
        return discontinuities_of(swap=num_neurons > 1 and self.lifting.swaps, end=self.taper == 0)

    def workspace(self, spikes, num_neurons):
        """See [`roughsnn.AbstractTrainKernel`][]."""
        del num_neurons
        order, cuts = self._resolution(jnp.result_type(float))
        return self.lifting.workspace(spikes + cuts, order)
