"""Whether a number depends on the length of the cells."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Key, PyTree

from .._check import as_tuple, check_function
from .._misc import check_positive_float, check_positive_int, static_float
from .._random import check_key, original
from .._refine import refined
from .._types import PRNGKey
from .ladder import Ladder, climb
from .report import StepLine, StepReport, Verdict

# How many samples are computed at once.
_LANES = 64


def check_step(
    fn: Callable[..., PyTree],
    params: PyTree,
    key: PRNGKey,
    *,
    dts: Sequence[float] | None = None,
    samples: int = 64,
    tolerance: float = 0.02,
    halvings: int = 5,
) -> StepReport:
    r"""Holds any random function of a simulation against itself in shorter cells.

    All that `fn` simulates by [`roughsnn.simulate`][], [`roughsnn.clamp`][],
    [`roughsnn.log_likelihood`][] or [`roughsnn.eligibility`][] is done in the cells that it asks
    for, and again in cells of half the length, with the same noise and thresholds. If the mean
    changes by more than is allowed the cells are halved again, until it does so no more. As the
    engines are of second order, the limit is extrapolated from the last two values,
    $F(0) \approx F(h/2) - \tfrac13[F(h) - F(h/2)]$.

    **Arguments:**

    - `fn`: `fn(params, key) -> pytree` of floating arrays, e.g. a loss or a mean count. With `dts`
        `fn(params, key, dt)`, for what is not simulated by the functions above.
    - `params`: passed to `fn`.
    - `key`: a `jax.random.key`, of which one is made for each sample.
    - `dts`: at least two lengths of cells, each half as long as the one before; the same key must
        mean the same noise.
    - `samples`: how many keys; more of them make the standard errors smaller.
    - `tolerance`: what a mean may be off by, relative to the largest in the same output.
    - `halvings`: at most so many.

    **Returns:** a [`roughsnn.testing.StepReport`][]; print it, or `.raise_if_failed()` in a test.
    An output is "settled" if what it is off by is within the tolerance, "depends on dt0" if it is
    not, and "unresolved" if three standard errors are larger than the tolerance, or nothing is
    finite in shorter cells. Entries that are not finite in all samples (padding) are left out.

    **Raises:** `ValueError` if `fn` simulates nothing and no `dts` are given, has no finite
        output, or for other numbers that are out of their range; `TypeError` for a key that is
        none, for an `fn` that takes other arguments, and for one that returns no floating arrays.
    """
    key = original(check_key(key))
    samples = check_positive_int("samples", samples)
    halvings = check_positive_int("halvings", halvings)
    tolerance = check_positive_float("tolerance", tolerance)
    keys = jr.split(key, samples)
    if dts is not None:
        dts = _check_dts(dts)
        halvings = min(halvings, len(dts) - 1)
    check_function("fn", fn, "fn(params, key)" if dts is None else "fn(params, key, dt)")
    example = eqx.filter_eval_shape(fn, params, key, *(() if dts is None else (dts[0],)))
    names, owner = _names(_floating(example))
    lengths: set[float] = set()

    @functools.cache
    def evaluate(level: int) -> np.ndarray:
        if dts is not None:
            return np.asarray(_values(fn, (params,), keys, 1, dts[level])[0], np.float64)
        found, met = _values(fn, (params,), keys, 2**level, None)
        lengths.update(met.lengths)
        if not lengths:
            raise ValueError(
                "`fn` simulates nothing in a roughsnn.Window: give a function of (params, key, dt) "
                "and `dts`."
            )
        return np.asarray(found, np.float64)

    finite = np.all(np.isfinite(evaluate(0)), axis=0)
    if not np.any(finite):
        raise ValueError("`fn` returns no number that is finite in all samples.")
    known, owner = np.flatnonzero(finite), owner[finite]

    def allowed(ladder: Ladder) -> np.ndarray:
        largest = np.zeros(len(names))
        np.maximum.at(largest, owner, np.where(ladder.finite, np.abs(ladder.values[-1]), 0))
        return tolerance * largest[owner]

    ladder = climb(lambda level: evaluate(level)[:, known], halvings + 1, allowed)
    used = len(ladder.values)
    dts = tuple(dts[:used]) if dts is not None else tuple(min(lengths) / 2**n for n in range(used))
    return report_of(dts, ladder, allowed(ladder), names, owner)


def report_of(
    dts: Sequence[float],
    ladder: Ladder,
    allowed: np.ndarray,
    names: Sequence[str],
    owner: np.ndarray,
) -> StepReport:
    """A line for each output: the entry that is off most."""
    lines = []
    for number, name in enumerate(names):
        own = owner == number
        if not np.any(own):
            continue
        mine = own & ladder.finite
        ratio = np.abs(ladder.error) / np.maximum(allowed, 1e-300)
        exceeds = ladder.exceeds(allowed)
        unclear = 3 * ladder.standard_error > allowed
        pool = mine & exceeds if np.any(mine & exceeds) else mine
        at = int(np.argmax(np.where(pool if np.any(pool) else own, ratio, -1)))
        verdict: Verdict = "settled"
        if np.any(mine & exceeds):
            verdict = "depends on dt0"
        elif np.any(mine & unclear) or not np.any(mine):
            verdict = "unresolved"
        lines.append(
            StepLine(
                name,
                tuple(ladder.values[:, at].tolist()),
                float(ladder.limit[at]),
                float(ladder.error[at]),
                float(ladder.standard_error[at]),
                float(allowed[at]),
                verdict,
            )
        )
    return StepReport(tuple(dts), tuple(lines))


class Met(eqx.Module):
    """The lengths of cells that were asked for; static, so that it is kept with a program."""

    lengths: tuple[float, ...] = eqx.field(static=True)


@eqx.filter_jit
def _values(
    fn: Callable, args: tuple, keys: Key[Array, " samples"], factor: int, dt: float | None
) -> tuple[Float[Array, "samples outputs"], Met]:
    """The outputs for each key, in cells that are `factor` times shorter."""
    extra = () if dt is None else (dt,)

    def one(key):
        return ravel_pytree(eqx.filter(fn(*args, key, *extra), eqx.is_inexact_array))[0]

    with refined(factor) as refinement:
        found = jax.lax.map(one, keys, batch_size=min(_LANES, keys.shape[0]))
    return found, Met(tuple(sorted(refinement.lengths)))


@eqx.filter_jit
def one_by_one(
    fn: Callable, args: tuple, keys: Key[Array, " samples"], factor: int
) -> tuple[Float[Array, " samples"], Met]:
    """A scalar function of `(*args, key)` for each key, in cells that are `factor` times shorter,
    in the memory of one."""
    with refined(factor) as refinement:
        found = jax.lax.map(lambda key: fn(*args, key), keys)
    return found, Met(tuple(sorted(refinement.lengths)))


@functools.cache
def quickly_compiled(backend: str) -> Callable:
    """`one_by_one` for a few calls: on a CPU LLVM's optimisation takes longer than it spares."""
    options: Any = {"xla_backend_optimization_level": 0} if backend == "cpu" else None
    jit: Any = eqx.filter_jit
    return jit(one_by_one, compiler_options=options)


def _floating(example: PyTree) -> PyTree:
    """The outputs that are compared; a `TypeError` for complex ones, and if there is none."""
    leaves = [x for x in jax.tree.leaves(example) if isinstance(x, jax.ShapeDtypeStruct)]
    kinds = [x.dtype for x in leaves if jnp.issubdtype(x.dtype, jnp.inexact)]
    if not kinds or not all(jnp.issubdtype(kind, jnp.floating) for kind in kinds):
        got = sorted({str(x.dtype) for x in leaves}) or "no array"
        raise TypeError(f"`fn` must return floating arrays, got {got}.")
    is_output = lambda x: isinstance(x, jax.ShapeDtypeStruct) and x.dtype in kinds
    return eqx.filter(example, is_output)


def _names(example: PyTree) -> tuple[list[str], np.ndarray]:
    """A name for each output, and for each entry the number of its output."""
    found = jax.tree_util.tree_leaves_with_path(example)
    names = [jax.tree_util.keystr(path) or "output" for path, _ in found]
    return names, np.repeat(np.arange(len(found)), [int(np.prod(x.shape)) for _, x in found])


def _check_dts(dts: Any) -> tuple[float, ...]:
    each = as_tuple("dts", dts, "lengths of cells, each half as long as the one before")
    found = tuple(static_float(f"dts[{n}]", dt) for n, dt in enumerate(each))
    halves = all(abs(b - a / 2) <= 1e-6 * a for a, b in zip(found, found[1:], strict=False))
    if len(found) < 2 or min(found) <= 0 or not halves:
        raise ValueError(
            "`dts` must be at least two positive lengths, each half as long as the one before, "
            f"got {found}."
        )
    return found
