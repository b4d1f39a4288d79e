"""A neuron with a filter of its own spikes: the generalised linear model of spike trains."""

import abc
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._check import as_tuple, check_kind
from .._misc import as_float_array, as_plain, check_positive_float
from .._types import Numeric, Scalar
from .domain import Bound, as_bounded
from .neuron import AbstractDiffusive, AbstractLinearNeuron, as_sigma, mix

_Basis = TypeVar("_Basis", bound="AbstractBasis")


class AbstractBasis(eqx.Module):
    """Functions of the time since a spike that solve a linear equation and are 1 at 0, and how much
    each has of a filter."""

    weights: eqx.AbstractVar[Float[Array, "*neurons basis"]]

    @abc.abstractmethod
    def drift(self, x: tuple[Scalar, ...]) -> tuple[Scalar, ...]:
        """Their derivatives, linear in their values."""

    @abc.abstractmethod
    def at(self, t: Float[np.ndarray, " times"]) -> Float[np.ndarray, "*neurons times basis"]:
        """The functions at times since a spike."""

    @abc.abstractmethod
    def bounds(self) -> tuple[Bound, ...]:
        """What the parameters must be."""

    def fitted(self: _Basis, kernel: Callable[[np.ndarray], Numeric], until: float) -> _Basis:
        r"""The same functions with those weights whose sum comes closest to a filter k.

        $$w = \operatorname{argmin} \int_0^{until} \Bigl(\sum_j w_j f_j(t) - k(t)\Bigr)^2 dt$$

        by a Gauss-Legendre rule of 400 nodes. So filters that solve no linear equation become ones
        that do, for example a raised cosine of the logarithm of time:

        ```python
        def bump(t):
            return 0.5 + 0.5 * np.cos(np.clip(3 * np.log((t + 0.005) / 0.02), -np.pi, np.pi))

        basis = rs.neurons.LaguerreBasis(tau=0.02, weights=jnp.zeros(16)).fitted(bump, until=0.3)
        ```

        **Arguments:**

        - `kernel`: a function of times since a spike, shape `(times,)`, whose values have shape
            `(times,)`, or `(neurons, times)` for filters of their own.
        - `until`: to where the filter matters. What the sum does later is not looked at: choose it
            beyond the end of a filter that ends.

        **Raises:** `ValueError` for values that are not finite or of another shape; `TypeError`
        where `tau` is not known, as under `jax.jit`.
        """
        nodes, share = np.polynomial.legendre.leggauss(400)
        t = (nodes + 1) * (check_positive_float("until", until) / 2)
        values = as_plain("kernel(t)", kernel(t))
        if values.ndim not in (1, 2) or values.shape[-1] != len(t):
            raise ValueError(
                f"`kernel(t)` must have shape (times,) or (neurons, times), got {values.shape} for "
                f"{len(t)} times."
            )
        if not np.all(np.isfinite(values)):
            raise ValueError(f"`kernel(t)` must be finite, got {values}.")
        # Functions that are nearly the same would get large weights that cancel.
        small, root = jnp.finfo(self.weights.dtype).eps, np.sqrt(share)
        inverse = np.linalg.pinv(self.at(t) * root[:, None], small)
        found = (inverse @ (values * root)[..., None])[..., 0]
        return eqx.tree_at(lambda x: x.weights, self, jnp.asarray(found, self.weights.dtype))

    def initial(self) -> tuple[Scalar, ...]:
        """Without any spike."""
        return (jnp.zeros((), self.weights.dtype),) * self.weights.shape[-1]

    def spike(self, x: tuple[Scalar, ...]) -> tuple[Scalar, ...]:
        """With one more."""
        return tuple(a + jnp.ones_like(a) for a in x)

    def value(self, x: tuple[Scalar, ...]) -> Scalar:
        """The sum with the weights."""
        total = jnp.zeros_like(x[0])
        for n, a in enumerate(x):
            total = total + self.weights[n] * a
        return total


class ExponentialBasis(AbstractBasis):
    r"""A filter $h(t) = \sum_j w_j\,e^{-t/\tau_j}$, for [`roughsnn.neurons.HistoryFilter`][].

    **Arguments:**

    - `tau`: $\tau_j$, positive.
    - `weights`: $w_j$, in the unit of the potential; negative ones inhibit.

    Each has shape `(basis,)` or `(neurons, basis)`; a number is one function.

    **Raises:** `ValueError` for numbers of functions that differ, values that are not finite and
    time constants that are not positive.
    """

    tau: Float[Array, "*neurons basis"]
    weights: Float[Array, "*neurons basis"]

    def __init__(self, tau: Numeric, weights: Numeric):
        self.tau, self.weights = _as_row("tau", tau), _as_row("weights", weights)
        as_bounded("tau", self.tau, "positive")
        if self.tau.shape[-1] != self.weights.shape[-1]:
            raise ValueError(
                "`tau` and `weights` must have an entry for each function, got "
                f"{self.tau.shape[-1]} and {self.weights.shape[-1]}."
            )

    def at(self, t):
        """See `AbstractBasis`."""
        return np.exp(-t[:, None] / as_plain("tau", self.tau)[..., None, :])

    def drift(self, x):
        """Each decays by itself."""
        return tuple(-a / self.tau[n] for n, a in enumerate(x))

    def bounds(self):
        """Time constants are positive."""
        return (Bound("tau", self.tau, "positive"),)


class LaguerreBasis(AbstractBasis):
    r"""A filter $h(t) = \sum_n w_n\,\ell_n(t)$ of Laguerre functions, for
    [`roughsnn.neurons.HistoryFilter`][].

    $$\ell_n(t) = e^{-t/\tau} L_n(2t/\tau), \qquad
      \dot\ell_n = -\frac1\tau\Bigl(\ell_n + 2\sum_{m<n}\ell_m\Bigr), \qquad \ell_n(0) = 1,$$

    with the Laguerre polynomials $L_n$. They are orthogonal on $[0, \infty)$, with
    $\int\ell_n^2\,dt = \tau/2$, and span what exponentials of one time constant and polynomials
    do: filters of any smooth shape from one number of time.

    **Arguments:**

    - `tau`: $\tau$, positive; scalar or shape `(neurons,)`.
    - `weights`: $w_n$, n = 0, 1, ..., in the unit of the potential; shape `(basis,)` or
        `(neurons, basis)`, a number is one function.

    **Raises:** `ValueError` for values that are not finite and time constants that are not
    positive.
    """

    tau: Float[Array, "*neurons"]
    weights: Float[Array, "*neurons basis"]

    def __init__(self, tau: Numeric, weights: Numeric):
        self.tau = as_bounded("tau", tau, "positive")
        self.weights = _as_row("weights", weights)

    def at(self, t):
        r"""By the recursion $(n + 1)\,L_{n+1}(z) = (2n + 1 - z)\,L_n(z) - n\,L_{n-1}(z)$."""
        z = 2 * t / as_plain("tau", self.tau)[..., None]
        found = [np.exp(-z / 2), (1 - z) * np.exp(-z / 2)]
        for n in range(1, self.weights.shape[-1]):
            found.append(((2 * n + 1 - z) * found[n] - n * found[n - 1]) / (n + 1))
        return np.stack(found[: self.weights.shape[-1]], -1)

    def drift(self, x):
        """A chain: each is moved by those before it."""
        found, before = [], jnp.zeros_like(x[0])
        for a in x:
            found.append(-(a + before) / self.tau)
            before = before + 2 * a
        return tuple(found)

    def bounds(self):
        """The time constant is positive."""
        return (Bound("tau", self.tau, "positive"),)


class HistoryState(NamedTuple):
    """The filtered input, and the functions of each basis, summed over past spikes."""

    v: Scalar
    history: tuple[tuple[Scalar, ...], ...]


class HistoryFilter(AbstractDiffusive, AbstractLinearNeuron):
    r"""A neuron that its own spikes act on by a filter h, as in generalised linear models
    (Truccolo et al. 2005, Pillow et al. 2008).

    $$\tau\,dv = (v_0 + I - v)\,dt + \tau\,\sigma\cdot dB, \qquad
      \text{potential} = v + \sum_{t_k < t} h(t - t_k).$$

    A spike resets nothing: refractoriness and bursts are the shape of h, a sum of basis functions
    whose weights are learnt. The model of the papers is this neuron with
    [`roughsnn.StochasticFiring`][] of an [`roughsnn.ExponentialIntensity`][] and `alpha=0`;
    the ports of the population are its coupling filters. Each function is a part of the state that
    solves a linear equation, so that steps are exact. Raised cosines of the logarithm of time,
    which Pillow et al. take, solve no linear equation of a fixed size. `fitted` finds what comes
    closest to them: five that cover 0.1 s are matched within 2.2 % (of their root mean square) by
    12 Laguerre functions of 0.02 s, within 0.5 % by 24.

    With [`roughsnn.HardThreshold`][] the potential must be below the threshold after a spike:
    choose weights with a negative sum, which is h(0).

    **Arguments:**

    - `tau`: the membrane time constant, positive; scalar or shape `(neurons,)`.
    - `bases`: [`roughsnn.neurons.ExponentialBasis`][] and [`roughsnn.neurons.LaguerreBasis`][],
        one or several, of which h is the sum.
    - `sigma`, `rest`: as for [`roughsnn.neurons.LIF`][].

    **Raises:** `ValueError` for values that are not finite and time constants that are not
    positive, and for no basis; `TypeError` for parts of another type.

    ??? cite "References"

        W. Truccolo, U. T. Eden, M. R. Fellows, J. P. Donoghue, E. N. Brown, *A point process
        framework for relating neural spiking activity to spiking history, neural ensemble, and
        extrinsic covariate effects*, J. Neurophysiol. 93 (2005).

        J. W. Pillow et al., *Spatio-temporal correlations and visual signalling in a complete
        neuronal population*, Nature 454 (2008).
    """

    tau: Float[Array, "*neurons"]
    bases: tuple[AbstractBasis, ...]
    sigma: Float[Array, "*neurons channels"]
    rest: Float[Array, "*neurons"]

    def __init__(
        self,
        tau: Numeric,
        bases: Sequence[AbstractBasis],
        sigma: Numeric | None = None,
        rest: Numeric = 0.0,
    ):
        self.tau = as_bounded("tau", tau, "positive")
        self.bases = as_tuple("bases", bases, "a list of ExponentialBasis and LaguerreBasis")
        if not self.bases:
            raise ValueError("`bases` must hold at least one; without a history there is LIF.")
        for n, basis in enumerate(self.bases):
            wanted = "an ExponentialBasis or a LaguerreBasis"
            check_kind(f"bases[{n}]", basis, AbstractBasis, wanted)
        self.sigma = as_sigma("sigma", sigma, self.tau.dtype)
        self.rest = as_float_array("rest", rest)

    def initial(self):
        """See [`roughsnn.AbstractNeuron`][]."""
        return HistoryState(self.rest, tuple(basis.initial() for basis in self.bases))

    def drift(self, t, x, current):
        """See [`roughsnn.AbstractNeuron`][]."""
        del t
        pairs = zip(self.bases, x.history, strict=True)
        moved = tuple(basis.drift(own) for basis, own in pairs)
        return HistoryState((self.rest + current - x.v) / self.tau, moved)

    def noise(self, x, dw):
        """See [`roughsnn.AbstractNeuron`][]."""
        still = tuple(tuple(jnp.zeros_like(a) for a in own) for own in x.history)
        return HistoryState(mix(self.sigma, dw), still)

    def spike(self, x):
        """See [`roughsnn.AbstractNeuron`][]."""
        pairs = zip(self.bases, x.history, strict=True)
        return HistoryState(x.v, tuple(basis.spike(own) for basis, own in pairs))

    def potential(self, x):
        """See [`roughsnn.AbstractNeuron`][]."""
        v = x.v
        for basis, own in zip(self.bases, x.history, strict=True):
            v = v + basis.value(own)
        return v

    def voltage(self, x):
        """See [`roughsnn.AbstractNeuron`][]."""
        return x.v

    def bounds(self):
        """Time constants are positive."""
        own = (bound for basis in self.bases for bound in basis.bounds())
        return (Bound("tau", self.tau, "positive"), *own)


def _as_row(name: str, value: Numeric) -> Float[Array, "*neurons basis"]:
    array = as_float_array(name, value)
    array = array[None] if array.ndim == 0 else array
    if array.ndim > 2 or array.shape[-1] == 0:
        raise ValueError(
            f"`{name}` must be a number, or have shape (basis,) or (neurons, basis) with at least "
            f"one function, got {array.shape}."
        )
    return array
