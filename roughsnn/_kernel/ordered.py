"""The ordered kernel of spikes with their times as marks."""

import dataclasses
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._check import check_choice
from .._misc import check_positive_float
from .._train.check import check_trains
from .._train.taper import check_taper, tapered
from .._types import Numeric
from .base import AbstractTrainKernel, against, discontinuities_of
from .gaussian import known
from .height import as_height, height_for, mean_count


@jax.checkpoint
def ordered(matches: Float[Array, "spikes other_spikes *batch"]) -> Float[Array, " *batch"]:
    r"""$\sum \prod_l A_{i_l j_l}$ over all chains $i_1 < i_2 < \dots$, $j_1 < j_2 < \dots$, the
    empty one too: $k_{i+1,j+1} = k_{i+1,j} + k_{i,j+1} - k_{ij} + A_{ij} k_{ij}$."""

    def row(k, a):
        def cell(rise, column):
            a, before, behind = column
            rise = rise + a * before
            return rise, behind + rise

        _, behind = jax.lax.scan(cell, jnp.zeros_like(k[0]), (a, k[:-1], k[1:]))
        return jnp.concatenate([k[:1], behind]), None

    start = jnp.ones((matches.shape[1] + 1, *matches.shape[2:]), matches.dtype)
    return jax.lax.scan(row, start, matches)[0][-1]


class OrderedKernel(AbstractTrainKernel):
    r"""$\sum \prod_l w^2\,e^{-(\tau_{i_l} - \sigma_{j_l})^2/2\ell^2}$ over chains of matched
    spikes.

    A chain takes spikes $i_1 < i_2 < \dots$ of x and $j_1 < j_2 < \dots$ of y of the same neurons,
    in order: the signature kernel of the pure-jump path in the space of marks (neuron, time),
    without time as a coordinate of its own (Toth & Oberhauser, ICML 2020, for sequences). It sees
    what is locked to the clock and the order of spikes, which the signature of counts with time
    hardly does.

    **Arguments:**

    - `width`: $\ell$, as a part of the window.
    - `height`: $w$; by default $1/\sqrt{\text{mean count}}$ of the data, filled in by `fitted`.
    - `taper`: see [`roughsnn.PointKernel`][].
    - `scaling`: `"normalized"` or `"none"`, see [`roughsnn.SignatureKernel`][].

    !!! warning

        For several neurons it jumps where their spikes swap order: for evaluation.
    """

    height: Float[Array, ""] | None
    width: float = eqx.field(static=True)
    taper: float = eqx.field(static=True)
    scaling: Literal["none", "normalized"] = eqx.field(static=True)

    def __init__(
        self,
        width: float = 0.05,
        *,
        height: Numeric | None = None,
        taper: float = 0.1,
        scaling: Literal["none", "normalized"] = "normalized",
    ):
        self.width = check_positive_float("width", width)
        self.height = as_height(height)
        self.taper = check_taper(taper)
        check_choice("scaling", scaling, ("none", "normalized"))
        self.scaling = scaling

    def fitted(self, data):
        """With the height."""
        check_trains("data", data, batch=True)
        if self.height is not None:
            return self
        return dataclasses.replace(self, height=height_for(mean_count(data)))

    def _plain(self, a, b):
        first = lambda z: jnp.moveaxis(z, -1, 0)
        (s, w, m), (t, v, n) = (tuple(map(first, z)) for z in (a, b))
        away = (s[:, None] - t[None]) / self.width
        weight = w[:, None] * v[None] * jnp.exp(-(away**2) / 2)
        return ordered(jnp.where(m[:, None] == n[None], weight, 0))

    def embed(self, x):
        """Times as parts of the window, heights, marks, and norms."""
        height = known("height", self.height)
        times, taper = jax.vmap(lambda z: tapered(z, self.taper))(x)
        spikes = (times, height.astype(times.dtype) * taper, x.marks)
        norm = jnp.sqrt(self._plain(spikes, spikes)) if self.scaling == "normalized" else None
        return spikes, norm

    def block(self, a, b):
        """See [`roughsnn.AbstractTrainKernel`][]."""
        return self.pairs(*against(a, b))

    def pairs(self, a, b):
        """See [`roughsnn.AbstractTrainKernel`][]."""
        (spikes, norm), (others, other_norm) = a, b
        value = self._plain(spikes, others)
        return value if norm is None else value / (norm * other_norm)

    def discontinuities(self, num_neurons):
        """At swaps, and at the end of the window if there is no taper."""
        return discontinuities_of(swap=num_neurons > 1, end=self.taper == 0)

    def workspace(self, spikes, num_neurons):
        """Some numbers for each pair of spikes."""
        del num_neurons
        return 4 * spikes**2 + 16
