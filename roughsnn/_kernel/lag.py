"""The kernel of lags between spikes."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._misc import check_positive_float, check_positive_int, matmul
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
from .whitening import Whitening


class LagKernel(AbstractTrainKernel):
    r"""The Gaussian kernel of correlograms, $\exp(-\|\Psi(x) - \Psi(y)\|^2/2g)$.

    $\Psi_{mn}(c) = \sum_{i\ne j} \varphi_i\varphi_j\,b_c(\tau_j - \tau_i)$ over the pairs of a
    spike i of neuron m and a spike j of n: a soft histogram of lags with bumps $b_c$ that are
    Gaussian in $u = \operatorname{arsinh}(\text{lag}/\delta)$, so short lags are resolved finely
    and long ones coarsely. Auto-correlograms see the regularity of intervals, cross-correlograms
    see synchrony and delays, whenever they happen. Continuous in the spike times, also where the
    spikes of two neurons swap order.

    Correlograms of one train fluctuate together, mostly with its number of spikes. Their covariance
    C over the data is taken out, $\Psi \mapsto (C + \rho\bar c)^{-1/2}\Psi$ with $\bar c$ the mean
    variance, after each feature was divided by its spread: what is unusual for the data counts, as
    in the statistic of Hotelling.

    **Arguments:**

    - `resolution`: $\delta$, the finest lag that is resolved, as a part of the window.
    - `reach`: the longest lag, as a part of the window.
    - `bumps`: the number of bumps for lags of one sign.
    - `directions`: with more neurons than this, cross-correlograms are those of so many fixed
        random mixtures of the neurons (Johnson & Lindenstrauss) instead of one for each pair.
    - `shrinkage`: $\rho$.
    - `bandwidth`: $g$; by default the mean of $\|\Psi(x) - \Psi(y)\|^2$ over the data. It and the
        covariance are filled in by `fitted`.
    - `taper`: see [`roughsnn.PointKernel`][].
    """

    bandwidth: Float[Array, ""] | None
    whitening: Whitening | None
    resolution: float = eqx.field(static=True)
    reach: float = eqx.field(static=True)
    bumps: int = eqx.field(static=True)
    directions: int = eqx.field(static=True)
    shrinkage: float = eqx.field(static=True)
    taper: float = eqx.field(static=True)

    def __init__(
        self,
        resolution: float = 0.005,
        reach: float = 0.25,
        *,
        bumps: int = 6,
        directions: int = 12,
        shrinkage: float = 1.0,
        bandwidth: Numeric | None = None,
        taper: float = 0.1,
    ):
        self.resolution = check_positive_float("resolution", resolution)
        self.reach = check_positive_float("reach", reach)
        if self.reach <= self.resolution:
            raise ValueError(
                f"`reach` must be larger than `resolution`, got {reach} and {resolution}."
            )
        self.bumps = check_positive_int("bumps", bumps)
        self.directions = check_positive_int("directions", directions)
        self.bandwidth = as_bandwidth(bandwidth)
        self.shrinkage = check_positive_float("shrinkage", shrinkage)
        self.whitening = None
        self.taper = check_taper(taper)

    def features(self, x: SpikeTrain) -> Float[Array, " features"]:
        r"""$\Psi(x)$, flat, not scaled: auto-correlograms, then cross-correlograms."""
        return _features(self, x)

    def mixtures(self, neurons: int, dtype) -> Array | None:
        """Random mixtures of the neurons, where there are more than `directions`."""
        if neurons <= self.directions:
            return None
        rng = np.random.default_rng(0)
        mix = rng.choice([-1.0, 1.0], (neurons, self.directions)) / np.sqrt(neurons)
        return jnp.asarray(mix, dtype)

    def fitted(self, data):
        """With the covariance and the bandwidth."""
        check_trains("data", data, batch=True)
        if self.whitening is not None:
            return self
        features = jax.lax.stop_gradient(jax.vmap(self.features)(data.complete()))
        whitening = Whitening.of(features, self.shrinkage)
        bandwidth = self.bandwidth
        if bandwidth is None:
            bandwidth = mean_square_distance(whitening(features))
        with_both = lambda k: (k.whitening, k.bandwidth)
        none = lambda x: x is None
        return eqx.tree_at(with_both, self, (whitening, bandwidth), is_leaf=none)

    def embed(self, x):
        """Whitened features and half their square norms."""
        whitening = known("whitening", self.whitening)
        return lifted(whitening(jax.vmap(self.features)(x)))

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


@eqx.filter_jit
def _features(kernel: LagKernel, x: SpikeTrain) -> Float[Array, " features"]:
    """The features of one train, compiled once; as a loop made in the method it would not be."""
    times, height = tapered(x, kernel.taper)
    dtype = times.dtype
    u = jnp.arcsinh((times[None] - times[:, None]) / kernel.resolution)
    furthest = float(np.arcsinh(kernel.reach / kernel.resolution))
    spacing = furthest / kernel.bumps
    centres = jnp.asarray(spacing * np.arange(-kernel.bumps, kernel.bumps + 1), dtype)
    # A sum over the pairs of spikes for each bump, without an array of (bumps, spikes, spikes).
    neurons = jnp.arange(x.num_neurons, dtype=x.marks.dtype)
    own = jnp.where(x.marks[:, None] == neurons[None], height[:, None], 0)
    mix = kernel.mixtures(x.num_neurons, dtype)
    mixed = own if mix is None else matmul(own, mix)
    apart = 1 - jnp.eye(times.shape[0], dtype=dtype)
    other = (x.marks[:, None] != x.marks[None]).astype(dtype)

    # Made again for the derivative, so that one bump at a time is kept.
    @jax.checkpoint
    def one(centre):
        bump = apart * jnp.exp(-(((u - centre) / spacing) ** 2) / 2)
        auto = jnp.sum(own * matmul(bump, own), 0)
        cross = matmul(mixed.T, matmul(bump * other, mixed))
        return auto, cross

    auto, cross = jax.lax.map(one, centres)
    # Lags of one neuron come with both signs: one half says all.
    upper = np.triu_indices(mixed.shape[1], 1 if mix is None else 0)
    crossed = cross[:, *upper]
    return jnp.concatenate([auto[kernel.bumps :].reshape(-1), crossed.reshape(-1)])
