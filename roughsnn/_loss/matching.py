"""Matching generated trials to recorded ones by optimal transport (Sourmpis, Petersen, Gerstner &
Bellec, NeurIPS 2023)."""

import warnings
from collections.abc import Sequence
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int

from .._check import as_integers, as_times, check_choice
from .._misc import as_float_array, as_numbers, check_positive_float, described, matmul
from .._train.check import check_several, check_trains
from .._train.spike_train import SpikeTrain
from .._types import Scalar
from .missing import Missing
from .statistics import smoothed


class TrialFeatures(eqx.Module):
    r"""The activity of groups of neurons over time, standardised: what says how a trial went.

    The mean rate of each group (an area, say), [`roughsnn.losses.smoothed`][], less its mean over
    the recorded trials at each time, and divided by its standard deviation over them, one number
    for all times: what hardly varies counts little. Made from the data by `TrialFeatures.of`;
    called with a batch of trains it returns `(trials, times, groups)`.

    **Attributes:**

    - `ts`, `timescale`: as for [`roughsnn.losses.smoothed`][].
    - `groups`: the number of the group of each neuron, -1 for none (hidden neurons, say).
    - `mean`: shape `(times, groups)`.
    - `scale`: shape `(groups,)`, in 1/time.
    """

    ts: Float[Array, " times"]
    mean: Float[Array, "times groups"]
    scale: Float[Array, " groups"]
    groups: tuple[int, ...] = eqx.field(static=True)
    timescale: float = eqx.field(static=True)

    @classmethod
    def of(
        cls,
        data: SpikeTrain,
        ts: Float[Array, " times"],
        *,
        timescale: float,
        groups: Sequence[int] | np.ndarray | None = None,
    ) -> "TrialFeatures":
        """From the recorded trials.

        **Arguments:**

        - `data`: a batch of at least two trials.
        - `ts`, `timescale`: as for [`roughsnn.losses.smoothed`][].
        - `groups`: the number of the group of each neuron, from 0 on, -1 for none; by default one
            group of all neurons.

        **Raises:** `ValueError` for a single trial, and for groups that do not fit.
        """
        check_several("data", data)
        ts, timescale = as_times("ts", ts), check_positive_float("timescale", timescale)
        wanted = f"{data.num_neurons} integers, one for each neuron"
        groups = np.zeros(data.num_neurons, int) if groups is None else groups
        index = as_integers("groups", groups, wanted)
        if index.shape != (data.num_neurons,):
            raise ValueError(f"`groups` must be {wanted}, got shape {index.shape}.")
        if set(index.tolist()) - {-1} != set(range(index.max() + 1)) or index.max() < 0:
            raise ValueError(f"`groups` must be numbered 0, 1, ... without gaps, got {groups}.")
        number = int(index.max()) + 1
        mean, one = jnp.zeros((ts.shape[0], number), ts.dtype), jnp.ones(number, ts.dtype)
        plain = cls(ts, mean, one, tuple(index.tolist()), timescale)
        found = jax.lax.stop_gradient(plain(data))
        scale = jnp.sqrt(jnp.mean(jnp.var(found, 0), 0))
        # Where nothing ever varies, nothing can be said to be far.
        scale = jnp.where(scale > 0, scale, 1)
        return eqx.tree_at(lambda f: (f.mean, f.scale), plain, (jnp.mean(found, 0), scale))

    def __call__(
        self, batch: SpikeTrain, *, missing: Missing = "raise"
    ) -> Float[Array, "trials times groups"]:
        """The features of trials of the same neurons; `missing` as for
        [`roughsnn.losses.smoothed`][]."""
        check_trains("batch", batch, batch=True)
        if batch.num_neurons != len(self.groups):
            raise ValueError(
                f"`batch` must be of the {len(self.groups)} neurons of the features, got "
                f"{batch.num_neurons}."
            )
        index, number = np.array(self.groups), max(self.groups) + 1
        # Those that are in none go into one more, which is left out.
        merged = batch.merged(np.where(index < 0, number, index))
        total = smoothed(merged, self.ts, self.timescale, missing=missing)[..., :number]
        sizes = jnp.asarray(np.bincount(index[index >= 0]), total.dtype)
        return (total / sizes[None, None] - self.mean[None]) / self.scale[None, None]


def behaviour(
    batch: SpikeTrain,
    readout: Float[Array, "neurons traces"],
    ts: Float[Array, " times"],
    timescale: float,
    *,
    missing: Missing = "raise",
) -> Float[Array, "trials times traces"]:
    """Traces of behaviour as a linear readout of [`roughsnn.losses.smoothed`][] rates, to be
    matched with recorded ones; train `readout` along with the network. `ts`, `timescale` and
    `missing` as there."""
    readout = as_float_array("readout", readout)
    check_trains("batch", batch, batch=True)
    if readout.ndim != 2 or readout.shape[0] != batch.num_neurons:
        raise ValueError(
            f"`readout` must have shape ({batch.num_neurons}, traces), a row for each neuron, got "
            f"{readout.shape}."
        )
    return matmul(smoothed(batch, ts, timescale, missing=missing), readout)


def match_trials(
    x: Float[Array, "trials ..."], y: Float[Array, "other_trials ..."]
) -> tuple[Int[Array, " pairs"], Int[Array, " pairs"]]:
    """The pairs of trials with the least total squared distance of their features (the Hungarian
    algorithm, by optax): numbers in x and in y, held constant.

    Each trial is in one pair at most; with different numbers some of the larger side are in none.
    """
    cost = jax.lax.stop_gradient(_costs(*_flat(x, y)))
    with jax.numpy_dtype_promotion("standard"):
        return _assigned(cost)


# Compiled once: its loops are functions that are made anew at each call.
_assigned = jax.jit(optax.assignment.hungarian_algorithm)


def matched_distance(
    x: Float[Array, "trials ..."],
    y: Float[Array, "other_trials ..."],
    *,
    method: Literal["hard", "soft", "none"] = "hard",
    epsilon: float = 0.1,
) -> Scalar:
    r"""How far generated trials are from recorded ones, each from its own match; averaged over
    trials and features.

    A distance of laws: mean and variability of the trials count, which trial came when does not.

    - `"hard"`: each generated trial with the recorded one that [`roughsnn.losses.match_trials`][]
        gives it. The matches are held constant, which leaves the gradient right: the cost is the
        minimum over matches (the envelope theorem).
    - `"soft"`: the Sinkhorn divergence (Feydy et al., AISTATS 2019), by ott-jax, whose matches are
        blurred by `epsilon`: smooth in the features, and zero only for equal laws.
    - `"none"`: trials in the order in which they are.

    **Arguments:**

    - `x`, `y`: features of generated and recorded trials ([`roughsnn.losses.TrialFeatures`][],
        behaviour, ...), one row for each trial.
    - `method`: see above.
    - `epsilon`: the blur, as a part of the mean squared distance of two recorded trials.

    **Returns:** a scalar.

    **Raises:** `ValueError` for other shapes or another method; `ModuleNotFoundError` for `"soft"`
    without ott-jax.
    """
    check_choice("method", method, ("hard", "soft", "none"))
    epsilon = check_positive_float("epsilon", epsilon)
    x, y = _flat(x, y)
    if method == "hard":
        rows, columns = match_trials(x, y)
        return jnp.mean((x[rows] - y[columns]) ** 2)
    if method == "none":
        if x.shape[0] != y.shape[0]:
            raise ValueError(
                "`x` must hold as many trials as `y` with method='none', got "
                f"{x.shape[0]} and {y.shape[0]}."
            )
        return jnp.mean((x - y) ** 2)
    return _sinkhorn(x, y, epsilon)


def matched_correlation(
    x: Float[Array, "trials times groups"], y: Float[Array, "other_trials times groups"]
) -> Scalar:
    """The trial-matched Pearson correlation: that over times of the features of matched trials,
    averaged over groups and pairs (0 for a trial that is constant)."""
    rows, columns = match_trials(x, y)
    x, y = as_float_array("x", x), as_float_array("y", y)
    if x.ndim != 3:
        raise ValueError(f"`x` must have shape (trials, times, groups), got {x.shape}.")
    a, b = (z - jnp.mean(z, 1, keepdims=True) for z in (x[rows], y[columns]))
    norm = jnp.sqrt(jnp.sum(a**2, 1) * jnp.sum(b**2, 1))
    return jnp.mean(jnp.where(norm > 0, jnp.sum(a * b, 1) / jnp.where(norm > 0, norm, 1), 0))


def nearest_types(
    x: Float[Array, "trials ..."],
    y: Float[Array, "other_trials ..."],
    types: Int[Array, " other_trials"] | Bool[Array, " other_trials"],
) -> Int[Array, " trials"] | Bool[Array, " trials"]:
    """The type of each generated trial: that of the recorded trial which it is most like.

    **Arguments:**

    - `x`, `y`: features of generated and recorded trials.
    - `types`: the type of each recorded trial (hit, miss, ...): whole numbers, or whether it is of
        one type.
    """
    x, y = _flat(x, y)
    types = as_numbers("types", types)
    whole = types.dtype == bool or jnp.issubdtype(types.dtype, jnp.integer)
    if types.shape != y.shape[:1] or not whole:
        raise ValueError(
            f"`types` must be {y.shape[0]} integers, one for each trial of `y`, got "
            f"{described(types)}."
        )
    return types[jnp.argmin(_costs(x, y), axis=1)]


def _flat(x: Any, y: Any) -> tuple[Array, Array]:
    """One row of features for each trial."""
    x, y = as_float_array("x", x), as_float_array("y", y)
    if x.ndim < 2 or y.ndim < 2 or x.shape[1:] != y.shape[1:] or 0 in (*x.shape, *y.shape):
        raise ValueError(
            "`x` and `y` must be features of trials, (trials, ...) with the same shape behind and "
            f"at least one trial, got {x.shape} and {y.shape}."
        )
    return x.reshape(x.shape[0], -1), y.reshape(y.shape[0], -1)


def _costs(x: Float[Array, "trials features"], y: Float[Array, "other_trials features"]) -> Array:
    squares = jnp.sum(x**2, 1)[:, None] + jnp.sum(y**2, 1)[None]
    return squares - 2 * matmul(x, y.T)


def _sinkhorn(x: Array, y: Array, epsilon: float) -> Scalar:
    try:
        # It imports a library that says it is no longer kept.
        with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
            from ott.geometry import pointcloud
            from ott.tools import sinkhorn_divergence
    except ModuleNotFoundError as e:
        raise ModuleNotFoundError(
            "method=\"soft\" needs ott-jax: install it with `pip install 'roughsnn[transport]'`."
        ) from e
    scale = x.shape[1] ** 0.5
    x, y = x / scale, y / scale
    typical = jax.lax.stop_gradient(jnp.mean(_costs(y, y)))
    blur = epsilon * jnp.where(typical > 0, typical, 1)
    with (
        jax.numpy_dtype_promotion("standard"),
        jax.numpy_rank_promotion("allow"),
        jax.default_matmul_precision("highest"),
    ):
        value, _ = sinkhorn_divergence.sinkhorn_divergence(
            pointcloud.PointCloud, x, y, epsilon=blur
        )
    return value
