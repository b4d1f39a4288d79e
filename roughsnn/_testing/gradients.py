"""A gradient check for any function of a random key."""

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
from jaxtyping import PyTree

from .._misc import check_positive_int
from .._random import check_key, original
from .._types import PRNGKey
from .means import compare_means, growth
from .problem import Problem, check_function
from .report import GradientReport
from .same_noise import SameNoise
from .switches import find_switches


def check_gradients(
    fn: Callable[..., PyTree],
    params: PyTree,
    key: PRNGKey,
    *,
    dts: Sequence[float] | None = None,
    samples: int = 1024,
    probes: tuple[int, int] = (8, 2),
    steps: Sequence[float] | None = None,
    mean_step: float = 0.02,
    compare: Literal["paths and means", "paths", "means"] = "paths and means",
    reference: Callable[..., PyTree] | None = None,
) -> GradientReport:
    r"""Holds the gradient of any random function against what it should be.

    Along random directions in parameter space, for each leaf of the output:

    - *reverse = forward*: vector-Jacobian and Jacobian-vector products agree;
    - *same noise*: automatic differentiation against central differences with the same
        key, over a ladder of steps;
    - *reference*: against tangents of your own, e.g. of
        [`roughsnn.online_gradient`][], if given;
    - *mean*: the mean of the gradient against the difference of the means over `samples`
        keys, by standard errors. This sees what the others cannot: a functional that jumps
        (a count), a model without pathwise gradients (a hard threshold on a noisy membrane);
    - *switch*: only where there is one: a parameter in which the derivative is exactly 0, for all
        keys, although the function changes when that parameter moves by about a twentieth;
        e.g. the time `ts` in `lambda t: jnp.where(t < ts, 0., 1.)`, for which there is
        [`roughsnn.StepPath`][];
    - *dt → 0*: with `dts`, all of it at each dt, and whether the derivative stays bounded.

    Verdicts: *agrees*; *kink* (the differences do not settle: something jumps inside of
    them); *disagrees*; *diverges* (as dt → 0); *unresolved* (rounding leaves nothing to
    compare with, no entry is finite in every sample, or the samples are so few that a mean
    derivative that is wrong by half of itself could not be told from the right one).

    **Arguments:**

    - `fn`: `fn(params, key) -> pytree`, with `dts` `fn(params, key, dt) -> pytree`. Any JAX
        function, of this package or not. Entries that are infinite (padding) are left out.
    - `params`: a pytree; its floating arrays are varied.
    - `key`: a `jax.random.key`.
    - `dts`: step sizes of the solver, decreasing; the same key should mean the same noise.
    - `samples`: keys for the mean.
    - `probes`: how many keys and how many directions for the comparisons on the same noise.
    - `steps`: of the differences, relative to the size of the parameters; decreasing. By
        default 1e-2 ... 1e-6 in float64, 1e-1 ... 1e-3 in float32.
    - `mean_step`: the step of the difference of means.
    - `compare`: `"paths"` where `fn` has no noise, so that there is no mean to look at. `"means"`
        where the derivative is not meant to be that of the sample path, for functionals corrected
        by [`roughsnn.losses.with_boundary`][], whose derivative is right on average only: then the
        difference on the same noise is skipped. By default both.
    - `reference`: `reference(params, direction, key[, dt])`, the derivative of `fn` along
        `direction` from elsewhere, with the structure of the output.

    **Returns:** a [`roughsnn.testing.GradientReport`][]; print it, `.plot()` it, or
    `.raise_if_failed()` in a test.

    **Raises:** `TypeError`/`ValueError` for a function that returns integers or nan, ignores
    its key or is constant, for parameters without floating arrays, and for a key that is
    none.
    """
    key = original(check_key(key))
    samples = check_positive_int("samples", samples)
    if compare not in ("paths and means", "paths", "means"):
        raise ValueError(
            f"`compare` must be 'paths and means', 'paths' or 'means', got {compare!r}."
        )
    if not isinstance(probes, tuple) or len(probes) != 2:
        raise ValueError(f"`probes` must be two numbers, (keys, directions), got {probes!r}.")
    if dts is not None and (len(dts) == 0 or any(b >= a for a, b in zip(dts, dts[1:]))):  # noqa: B905
        raise ValueError(f"`dts` must be decreasing step sizes, got {tuple(dts)}.")
    comparisons, curves, sizes, names = [], [], [], []
    for dt in (None,) if dts is None else dts:
        problem = Problem(fn, params, dt)
        check_function(problem, key, compare == "paths")
        same = SameNoise(problem, key, *probes, steps)
        comparisons.append(same.reverse_against_forward())
        if compare != "means":
            comparisons += same.against_differences()
            curves += same.curves()
        if reference is not None:
            comparisons += same.against_reference(reference, params)
        if compare != "paths":
            comparisons += compare_means(problem, key, same, samples, mean_step)
        comparisons += find_switches(problem, key, probes[0])
        names = same.names
        sizes.append(same.rms())
    if dts is not None and len(dts) > 1:
        comparisons += growth(names, dts, np.stack(sizes))
    return GradientReport(tuple(comparisons), tuple(curves))
