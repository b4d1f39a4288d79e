"""Multilevel Monte Carlo: means without the bias of large steps, at the cost of large steps."""

import math
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, PyTree
from tqdm.auto import tqdm

from .._check import check_function
from .._misc import check_positive_float, check_positive_int
from .._random import check_unmirrored
from .._types import PRNGKey, RealScalar


class Level(eqx.Module):
    """What was found on one level: of F at the largest step, else of differences between steps.

    **Attributes:**

    - `dt0`: the (smaller) step.
    - `samples`: how many samples.
    - `mean`, `variance`: of one sample, for each entry of the statistic (flat).
    - `cost`: cells of one sample, in units of those of the first level.
    """

    dt0: float
    samples: int
    mean: np.ndarray
    variance: np.ndarray
    cost: float


class Multilevel(eqx.Module):
    """What [`roughsnn.multilevel_mean`][] returns.

    **Attributes:**

    - `mean`: the mean of the statistic, with its structure.
    - `standard_error`: of `mean`, with the same structure.
    - `bias`: what is left of the step size, estimated from the last two levels (the largest entry).
    - `levels`: a tuple of levels, coarse first, each with `dt0`, `samples`, `mean`, `variance` and
        `cost` (cells of a sample in units of the first level's).
    - `cost`: all cells that were solved, in the same unit.
    - `plain_cost`: what samples on the last level alone would have cost for the same error.
    - `converged`: whether `bias` is below its share of the tolerance.
    """

    mean: PyTree
    standard_error: PyTree
    bias: float
    levels: tuple[Level, ...]
    cost: float
    plain_cost: float
    converged: bool


class _Sums:
    """Sums over the samples of one level."""

    def __init__(self, run: Callable, dt0: float, cost: float):
        self.run, self.dt0, self.cost = run, dt0, cost
        self.samples, self.total, self.squares, self.fine = 0, 0.0, 0.0, 0.0

    def add(self, keys: Callable, wanted: int, batch: int, bar: tqdm) -> None:
        """Draws until there are as many samples as wanted, in whole batches."""
        while self.samples < wanted:
            difference, fine = self.run(keys(self.samples))
            difference = np.asarray(difference, np.float64)
            if not np.all(np.isfinite(difference)):
                raise ValueError(
                    f"`statistic` is not finite for a sample with dt0={self.dt0}. Spikes that are "
                    "not there are at inf: use e.g. jnp.minimum(train.times[0], t1)."
                )
            self.samples += batch
            self.total = self.total + difference.sum(0)
            self.squares = self.squares + (difference**2).sum(0)
            self.fine = self.fine + np.var(np.asarray(fine, np.float64), 0) * batch
            bar.update(batch * self.cost)

    @property
    def mean(self) -> np.ndarray:
        return np.asarray(self.total / self.samples)

    @property
    def variance(self) -> np.ndarray:
        return np.asarray(np.maximum(self.squares / self.samples - self.mean**2, 0.0))

    def level(self) -> Level:
        return Level(self.dt0, self.samples, self.mean, self.variance, self.cost)


def multilevel_mean(
    statistic: Callable[[PRNGKey, float], PyTree],
    *,
    dt0: RealScalar,
    tolerance: RealScalar,
    key: PRNGKey,
    weak_order: RealScalar = 1.0,
    pilot: int = 512,
    batch_size: int = 256,
    max_levels: int = 8,
    throw: bool = True,
    progress: bool | None = None,
) -> Multilevel:
    r"""The mean of a statistic of samples, to a given accuracy in the limit of small steps.

    $$E[F] \approx E[F_0] + \sum_{l=1}^{L} E[F_l - F_{l-1}], \qquad dt_l = dt_0/2^l,$$

    where the two terms of a difference are solved on the same noise: a key is the same Brownian
    motion and the same thresholds at every step size. The variance of the differences falls with
    the step, so most samples are needed where they are cheap, and the cost for a root mean square
    error of $\varepsilon$ is some $\varepsilon^{-2}$ instead of $\varepsilon^{-2-1/a}$, $a$ the
    weak order. Samples are shared out as in Giles (2008): $N_l \propto \sqrt{V_l/C_l}$.

    For a *gradient* let the statistic be the derivative of a sample, e.g.
    `lambda key, dt0: jax.jacfwd(lambda c: sample(c, key, dt0))(c)`. A statistic must be continuous
    as spikes swap or leave (see [`roughsnn.losses.mmd`][] and its kin), or differences between
    levels have a large variance.

    **Arguments:**

    - `statistic`: `statistic(key, dt0)`, a pytree of floating arrays, for one sample; e.g. from
        [`roughsnn.simulate`][] with this `dt0`. `key` may be mirrored inside
        ([`roughsnn.antithetic`][]).
    - `dt0`: the largest step, a concrete number.
    - `tolerance`: $\varepsilon$, the root mean square error that every entry of the mean may have;
        half of its square each for the samples and for the bias.
    - `key`: a `jax.random.key`.
    - `weak_order`: $a$, with which the bias is estimated, $\max(|Y_L|, 2^{-a}|Y_{L-1}|)/(2^a - 1)$
        with $Y_l$ the mean difference; larger than the true one it is too small. The default
        solver has order two where the model is smooth.
    - `pilot`: how many samples a level has at least; from them variances are estimated.
    - `batch_size`: samples at a time.
    - `max_levels`: the most levels, at least 3.
    - `throw`: whether to raise if the bias is too large at the last level.
    - `progress`: show a progress bar (in cells); by default if the output is a terminal.

    **Returns:** a [`roughsnn.Multilevel`][].

    **Raises:** `ValueError` for a statistic that is not floating or not finite or has different
        shapes at different steps; `TypeError` for what is no function or no key; `RuntimeError` if
        `max_levels` are not enough.

    ??? cite "References"

        M. B. Giles, *Multilevel Monte Carlo path simulation*, Oper. Res. 56 (2008); *Multilevel
        Monte Carlo methods*, Acta Numerica 24 (2015).
    """
    check_function("statistic", statistic, "statistic(key, dt0)")
    key = check_unmirrored(key)
    dt0 = check_positive_float("dt0", dt0)
    tolerance = check_positive_float("tolerance", tolerance)
    order = check_positive_float("weak_order", weak_order)
    batch = check_positive_int("batch_size", batch_size)
    if check_positive_int("max_levels", max_levels) < 3:
        raise ValueError(
            f"`max_levels` must be at least 3, got {max_levels}: the bias is estimated from the "
            "last two differences."
        )
    pilot = check_positive_int("pilot", pilot)
    _, unravel = ravel_pytree(_example(statistic, key, dt0))
    sums: list[_Sums] = []
    budget = tolerance**2 / 2

    def keys_of(level: int) -> Callable[[int], Array]:
        key_of_level = jr.fold_in(key, level)
        fold = jax.jit(jax.vmap(lambda n: jr.fold_in(key_of_level, n)))
        return lambda start: fold(start + jnp.arange(batch, dtype=jnp.int32))

    draws = [keys_of(level) for level in range(max_levels)]
    with tqdm(disable=None if progress is None else not progress, unit="cell") as bar:
        while True:
            number = len(sums)
            sums.append(_level(statistic, dt0, number))
            sums[-1].add(draws[number], pilot, batch, bar)
            bar.set_description(f"level {number}")
            if number < 2:
                continue
            # Twice: the variances are known better once there are more samples.
            for _ in range(2):
                for level, wanted in enumerate(_wanted(sums, budget)):
                    sums[level].add(draws[level], wanted, batch, bar)
            steps = [np.abs(s.mean) for s in sums[-2:]]
            left = np.maximum(steps[1], steps[0] / 2**order) / (2**order - 1)
            bias = float(np.max(left))
            converged = bias <= budget**0.5
            if converged or len(sums) == max_levels:
                break
    if throw and not converged:
        raise RuntimeError(
            f"With {max_levels} levels, down to dt0={sums[-1].dt0}, the bias is still about "
            f"{bias:.2g}, more than {budget**0.5:.2g}. Raise `max_levels` or `tolerance`, or start "
            "from a smaller `dt0`."
        )
    mean = sum(s.mean for s in sums)
    square = sum(s.variance / s.samples for s in sums)
    cost = sum(s.cost * s.samples for s in sums)
    last = sums[-1]
    plain = float(np.max(last.fine / last.samples / np.maximum(square, 1e-300))) * 2**number
    as_tree = lambda x: unravel(jnp.asarray(x))
    return Multilevel(
        mean=as_tree(mean),
        standard_error=as_tree(np.sqrt(square)),
        bias=bias,
        levels=tuple(s.level() for s in sums),
        cost=cost,
        plain_cost=plain,
        converged=converged,
    )


def _example(statistic, key, dt0: float) -> PyTree:
    shapes = [eqx.filter_eval_shape(statistic, key, dt) for dt in (dt0, dt0 / 2)]
    for leaf in jax.tree.leaves(shapes[0]):
        if not jnp.issubdtype(getattr(leaf, "dtype", jnp.int32), jnp.floating):
            raise ValueError(f"`statistic` must return floating arrays, got {leaf}.")
    if not jax.tree.leaves(shapes[0]) or shapes[0] != shapes[1]:
        raise ValueError(
            "`statistic` must return at least one array, of the same shape for every dt0, got "
            f"{shapes[0]} for {dt0} and {shapes[1]} for {dt0 / 2}."
        )
    return jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes[0])


def _level(statistic, dt0: float, number: int) -> _Sums:
    """The sampler of a level: differences, and the statistic at the smaller step."""
    step = dt0 / 2**number

    @jax.jit
    @jax.vmap
    def run(key):
        fine = ravel_pytree(statistic(key, step))[0]
        if number == 0:
            return fine, fine
        return fine - ravel_pytree(statistic(key, 2 * step))[0], fine

    return _Sums(run, step, float(2**number + (2 ** (number - 1) if number else 0)))


def _wanted(sums: list[_Sums], budget: float) -> list[int]:
    """How many samples of each level make the variance of every entry small enough."""
    variances = np.stack([s.variance for s in sums])
    costs = np.array([s.cost for s in sums])[:, None]
    total = np.sum(np.sqrt(variances * costs), 0)
    numbers = np.max(np.sqrt(variances / costs) * total / budget, 1)
    return [math.ceil(n) for n in numbers]
