"""A gradient check for any function of a random key."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
from jaxtyping import PyTree

from .._check import as_integers, as_tuple, check_choice, check_function
from .._misc import check_positive_float, check_positive_int, static_float
from .._random import check_key, original
from .._types import PRNGKey
from .means import compare_means, growth
from .problem import Problem, check_problem
from .report import GradientReport
from .same_noise import SameNoise, as_steps
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
        (a count), a model without pathwise gradients (a hard threshold on a noisy potential);
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

    **Raises:** `TypeError`/`ValueError` for a function that takes other arguments, returns integers
    or nan, ignores its key or is constant, for parameters without floating arrays, for a key that
    is none, and for numbers that are out of their range.
    """
    key = original(check_key(key))
    check_choice("compare", compare, ("paths and means", "paths", "means"))
    samples = check_positive_int("samples", samples)
    if samples < 2 and compare != "paths":
        raise ValueError("`samples` must be at least 2 for a standard error, got 1.")
    mean_step = check_positive_float("mean_step", mean_step)
    wanted = "two positive whole numbers, (keys, directions)"
    numbers = as_integers("probes", probes, wanted)
    if numbers.shape != (2,) or np.any(numbers < 1):
        raise ValueError(f"`probes` must be {wanted}, got {numbers}.")
    num_keys, num_directions = numbers.tolist()
    dts = None if dts is None else _as_lengths(dts)
    extra = "" if dts is None else ", dt"
    check_function("fn", fn, f"fn(params, key{extra})")
    if reference is not None:
        check_function("reference", reference, f"reference(params, direction, key{extra})")
    grid = None if steps is None else as_steps(steps)
    comparisons, curves, sizes, names = [], [], [], []
    for dt in (None,) if dts is None else dts:
        problem = Problem(fn, params, dt)
        check_problem(problem, key, compare == "paths")
        same = SameNoise(problem, key, num_keys, num_directions, grid)
        comparisons.append(same.reverse_against_forward())
        if compare != "means":
            comparisons += same.against_differences()
            curves += same.curves()
        if reference is not None:
            comparisons += same.against_reference(reference, params)
        if compare != "paths":
            comparisons += compare_means(problem, key, same, samples, mean_step)
        comparisons += find_switches(problem, key, num_keys)
        names = same.names
        sizes.append(same.rms())
    if dts is not None and len(dts) > 1:
        comparisons += growth(names, dts, np.stack(sizes))
    return GradientReport(tuple(comparisons), tuple(curves))


def _as_lengths(dts: Any) -> tuple[float, ...]:
    """Step sizes of a solver, decreasing."""
    each = as_tuple("dts", dts, "decreasing step sizes")
    lengths = tuple(static_float(f"dts[{n}]", dt) for n, dt in enumerate(each))
    if not lengths or lengths[-1] <= 0 or any(b >= a for a, b in itertools.pairwise(lengths)):
        raise ValueError(f"`dts` must be decreasing positive step sizes, got {lengths}.")
    return lengths
