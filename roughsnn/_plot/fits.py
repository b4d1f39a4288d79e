"""Pictures of how good a fit is."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Array, Float

from .._check import as_tuple
from .._misc import as_plain, check_positive_float, described
from .axes import BLUE, GREY, ORANGE, make_axes


def matrix(
    values: Float[Array, "rows columns"] | np.ndarray,
    *,
    ax: Any = None,
    label: str = "",
    limit=None,
) -> Any:
    """A matrix (weights, noise correlations) in colours that are white at 0.

    **Arguments:**

    - `values`: a matrix; [pre, post] for weights. An entry that is nan stays white.
    - `ax`: `matplotlib` axes; by default new ones.
    - `label`: of the colour bar.
    - `limit`: the value of the fullest colours; by default the largest size of an entry.

    **Returns:** the axes.
    """
    values = _as_matrix("values", values)
    if limit is None:
        limit = float(np.nanmax(np.abs(values))) or 1.0
    limit = check_positive_float("limit", limit)
    ax = make_axes(ax)
    picture = ax.imshow(values, cmap="RdBu_r", vmin=-limit, vmax=limit, interpolation="nearest")
    ax.figure.colorbar(picture, ax=ax, label=label)
    return ax


def ks(quantiles: Sequence[float] | np.ndarray | Array, *, ax: Any = None, label="model") -> Any:
    r"""The Kolmogorov-Smirnov plot of the time-rescaling test, with its 95 % band.

    The distribution of $1 - e^{\alpha - \Lambda}$ over the spikes
    ([`roughsnn.scores.rescaled_quantiles`][], or the `quantiles` of
    [`roughsnn.testing.time_rescaling_test`][]) against the uniform one: on the diagonal if the
    model is right (Brown et al., Neural Computation 14 (2002)).

    **Arguments:**

    - `quantiles`: in [0, 1], in any order.
    - `ax`: `matplotlib` axes; by default new ones.
    - `label`: of the curve.

    **Returns:** the axes.
    """
    sorted_, ax = _sorted(quantiles), make_axes(ax)
    uniform = (np.arange(len(sorted_)) + 0.5) / len(sorted_)
    band = 1.36 / len(sorted_) ** 0.5
    ends = np.array([0.0, 1.0])
    ax.fill_between(ends, ends - band, ends + band, color=GREY, alpha=0.4, lw=0, label="95 % band")
    ax.plot(uniform, sorted_, color=ORANGE, label=label)
    ax.set(xlabel="uniform", ylabel="rescaled", xlim=(0, 1), ylim=(0, 1), aspect="equal")
    ax.legend(frameon=False)
    return ax


def qq(quantiles: Sequence[float] | np.ndarray | Array, *, ax: Any = None, label="model") -> Any:
    r"""The quantiles of the rescaled intervals $\Lambda - \alpha$ against those of the exponential
    law; arguments as for [`roughsnn.plot.ks`][]. Shows long intervals, where that one is blind."""
    sorted_, ax = _sorted(quantiles), make_axes(ax)
    uniform = (np.arange(len(sorted_)) + 0.5) / len(sorted_)
    expected, found = -np.log1p(-uniform), -np.log1p(-np.minimum(sorted_, 1 - 1e-12))
    ax.axline((0, 0), slope=1, color=GREY)
    ax.plot(expected, found, ".", color=ORANGE, ms=3, label=label)
    ax.set(xlabel="exponential", ylabel="rescaled interval")
    ax.legend(frameon=False)
    return ax


def training(fit: Any, *, ax: Any = None, names: tuple[str, ...] | None = None) -> Any:
    """The losses and metrics of a [`roughsnn.Fit`][] over its steps, and the validation losses with
    the step that was the best.

    **Arguments:**

    - `fit`: what [`roughsnn.fit`][] returned.
    - `ax`: `matplotlib` axes; by default new ones.
    - `names`: of the history; by default all, and the validation losses.

    **Returns:** the axes.
    """
    if not hasattr(fit, "history") or not hasattr(fit, "validation"):
        raise TypeError(f"`fit` must be a roughsnn.Fit, got {described(fit)}.")
    shown = fit.history if names is None else as_tuple("names", names, "names of the history")
    unknown = [name for name in shown if not isinstance(name, str) or name not in fit.history]
    if unknown:
        raise ValueError(
            f"`names` must be in the history, {sorted(fit.history)}, got {described(unknown)}."
        )
    ax = make_axes(ax)
    for name in shown:
        ax.plot(fit.history[name], label=name)
    if fit.every is not None and names is None:
        made = fit.every * (1 + np.arange(len(fit.validation)))
        ax.plot(made, fit.validation, "o-", ms=3, color=GREY, label="validation")
        ax.axvline(fit.best_step, color=GREY, lw=0.8, ls=":")
    ax.set(xlabel="step", xlim=(0, max(len(fit.history["loss"]) - 1, 1)))
    ax.legend(frameon=False)
    return ax


def weights(estimate: np.ndarray | Array, truth: np.ndarray | Array, *, ax: Any = None) -> Any:
    """Estimated against true weights.

    **Arguments:**

    - `estimate`, `truth`: matrices `[pre, post]`; of square ones the diagonal is left out.
    - `ax`: `matplotlib` axes; by default new ones.

    **Returns:** the axes.
    """
    found, true = _as_matrix("estimate", estimate), _as_matrix("truth", truth)
    if found.shape != true.shape:
        raise ValueError(
            f"`estimate` and `truth` must be matrices of one shape, got {found.shape} and "
            f"{true.shape}."
        )
    if np.any(np.isnan(found)) or np.any(np.isnan(true)):
        raise ValueError("`estimate` and `truth` must not hold nan.")
    ax = make_axes(ax)
    square = true.shape[0] == true.shape[1]
    shown = ~np.eye(len(true), dtype=bool) if square else np.ones(true.shape, bool)
    ax.axline((0, 0), slope=1, color=GREY)
    ax.plot(true[shown], found[shown], ".", color=BLUE, ms=4, alpha=0.6)
    ax.set(xlabel="true weight", ylabel="estimate")
    return ax


def _as_matrix(name: str, values) -> np.ndarray:
    matrix = as_plain(name, values)
    if matrix.ndim != 2 or not matrix.size:
        raise ValueError(f"`{name}` must be a matrix, got shape {matrix.shape}.")
    if np.all(np.isnan(matrix)):
        raise ValueError(f"`{name}` must hold a number, got nan only.")
    return matrix


def _sorted(quantiles) -> np.ndarray:
    values = np.sort(as_plain("quantiles", quantiles).ravel())
    if len(values) == 0 or values[0] < 0 or values[-1] > 1 or not np.all(np.isfinite(values)):
        raise ValueError("`quantiles` must be numbers in [0, 1], at least one.")
    return values
