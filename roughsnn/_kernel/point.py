"""The kernel of smoothed spike trains."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._misc import check_positive_float, matmul, static_float
from .._train.check import check_trains
from .._train.spike_train import SpikeTrain
from .._train.taper import check_taper, tapered
from .._types import Numeric
from .base import AbstractTrainKernel, discontinuities_of
from .gaussian import (
    as_bandwidth,
    gaussian_block,
    gaussian_pairs,
    known,
    lifted,
    mean_square_distance,
)

# Bumps one after another at this many widths: their sum of squares is constant to 1e-4.
_SPACING = 1.0


class PointKernel(AbstractTrainKernel):
    r"""The exponential kernel of smoothed trains, $\exp(-\|\Phi(x) - \Phi(y)\|^2/2g)$.

    $\Phi_m(c) = \sum_i \varphi(\tau_i)\,e^{-(\tau_i - c)^2/2\ell^2}$ over the spikes of neuron m,
    at centres c one width apart, so that $\langle\Phi(x), \Phi(y)\rangle$ is nearly
    $\sum_{i,j}\varphi\varphi\,A_{m_i m_j} e^{-(\tau_i - \tau_j)^2/4\ell^2}$: the distance of van
    Rossum with a symmetric filter. The neurons are joined by their sum, $A = 1 + p^2$ for spikes of
    one neuron and $p^2$ for those of two. It sees rates and what is locked to the clock, of each
    neuron and, sooner, of all together. Continuous in the spike times.

    **Arguments:**

    - `width`: $\ell$, as a part of the window; what happens faster is not seen.
    - `population`: $p$, the weight of the sum over the neurons.
    - `bandwidth`: $g$; by default the mean of $\|\Phi(x) - \Phi(y)\|^2$ over the data, filled in by
        `fitted`.
    - `taper`: the part of the window, from its end, over which $\varphi$ falls from 1 to 0. With 0
        the kernel jumps where a spike leaves the window.

    ??? cite "References"

        M. van Rossum, *A novel spike distance*, Neural Comput. 13 (2001).

        I. Park, S. Seth, A. Paiva, L. Li, J. Principe, *Kernel methods on spike train space for
        neuroscience: a tutorial*, IEEE Signal Process. Mag. 30 (2013).
    """

    bandwidth: Float[Array, ""] | None
    width: float = eqx.field(static=True)
    population: float = eqx.field(static=True)
    taper: float = eqx.field(static=True)

    def __init__(
        self,
        width: float = 0.05,
        *,
        population: float = 1.0,
        bandwidth: Numeric | None = None,
        taper: float = 0.1,
    ):
        self.width = check_positive_float("width", width)
        self.population = static_float("population", population)
        self.bandwidth = as_bandwidth(bandwidth)
        self.taper = check_taper(taper)

    def features(self, x: SpikeTrain) -> Float[Array, " features"]:
        r"""$\Phi(x)$ for all neurons and their sum, flat."""
        times, height = tapered(x, self.taper)
        step = _SPACING * self.width
        # The outer ones lie beyond the window, where a spike at its end still reaches.
        centres = np.arange(-2 * step, 1 + 2.5 * step, step)
        away = (times[:, None] - jnp.asarray(centres, times.dtype)[None]) / self.width
        bumps = height[:, None] * jnp.exp(-(away**2) / 2)
        neurons = jnp.arange(x.num_neurons, dtype=x.marks.dtype)
        own = (x.marks[:, None] == neurons[None]).astype(times.dtype)
        alone = matmul(own.T, bumps)
        together = self.population * jnp.sum(alone, 0, keepdims=True)
        return jnp.concatenate([alone, together]).reshape(-1)

    def fitted(self, data):
        """With the bandwidth."""
        check_trains("data", data, batch=True)
        if self.bandwidth is not None:
            return self
        found = mean_square_distance(jax.vmap(self.features)(data.complete()))
        return dataclasses.replace(self, bandwidth=found)

    def embed(self, x):
        """Features and half their square norms."""
        return lifted(jax.vmap(self.features)(x))

    def block(self, a, b):
        """See [`roughsnn.AbstractTrainKernel`][]."""
        return gaussian_block(a, b, known("bandwidth", self.bandwidth))

    def pairs(self, a, b):
        """See [`roughsnn.AbstractTrainKernel`][]."""
        return gaussian_pairs(a, b, known("bandwidth", self.bandwidth))

    def discontinuities(self, num_neurons):
        """At the end of the window if there is no taper."""
        del num_neurons
        return discontinuities_of(swap=False, end=self.taper == 0)

    def workspace(self, spikes, num_neurons):
        """One number."""
        del spikes, num_neurons
        return 1
