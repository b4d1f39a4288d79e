"""How the flat loop is run, and how it is differentiated."""

import abc
import math
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, PyTree

from .._misc import any_in_batch, check_positive_float, check_positive_int, where_tree

_Carry = TypeVar("_Carry")


class AbstractAdjoint(eqx.Module):
    """A way to run `length` iterations of a body so that they can be differentiated."""

    @abc.abstractmethod
    def loop(
        self,
        body: Callable[[_Carry, PyTree[Array]], tuple[_Carry, PyTree[Array]]],
        carry: _Carry,
        length: int,
        live: Callable[[_Carry], Bool[Array, ""]] | None,
        idle: PyTree[Array],
        xs: PyTree[Array] = None,
    ) -> tuple[_Carry, PyTree[Array]]:
        """The last carry, and what the iterations emitted, stacked.

        `body(carry, x)` with the rows x of `xs`, if there are any. An iteration of a carry that
        is not `live` emits `idle` and changes nothing that matters, so it may be left out; `None`
        if all are wanted.
        """


def _block_size(length: int, divides: bool) -> int:
    """About the square root, if need be and if there is one a divisor of `length`."""
    root = max(1, math.isqrt(length - 1) + 1)
    if divides:
        near = [n for n in range(-(-root // 2), 2 * root) if length % n == 0]
        return min(near, key=lambda n: abs(math.log(n / root)), default=root)
    return root


def _bytes(tree: PyTree) -> int:
    """What arrays take."""
    return sum(math.prod(x.shape) * x.dtype.itemsize for x in jax.tree.leaves(tree))


def _needs(body, carry, xs) -> tuple[int, int]:
    """The bytes of a state, and at most of what one iteration keeps for its derivative."""

    def kept(carry, x):
        moving, fixed = eqx.partition((carry, x), eqx.is_inexact_array)

        def run(moving):
            out = body(*eqx.combine(moving, fixed))
            return eqx.filter(out, eqx.is_inexact_array)

        return jax.vjp(run, moving)[1]

    carry = eqx.filter(carry, eqx.is_array)
    jaxpr = jax.make_jaxpr(kept)(carry, jax.tree.map(lambda x: x[0], xs)).jaxpr
    # The weights, and what goes into each iteration, are there in any case.
    others = {id(v) for v in (*jaxpr.constvars, *jaxpr.invars[len(jax.tree.leaves(carry)) :])}
    own = {id(v): v.aval for v in jaxpr.outvars if id(v) not in others}
    return _bytes(carry), _bytes(list(own.values()))


def _budgeted(length: int, state: int, iteration: int, megabytes: float) -> tuple[int, ...]:
    """Sizes of blocks, the outer ones first, with as few levels as fit.

    With blocks of b and within them of c iterations, memory is length/b + b/c states and c times
    what an iteration keeps.
    """
    least = math.inf
    candidates = sorted({round(length ** (k / 48)) for k in range(49)})
    plans = [[(c,) for c in candidates], [(b, c) for c in candidates for b in candidates if b > c]]
    for plans_of_level in plans:

        def memory(sizes):
            numbers = [-(-n // b) for n, b in zip((length, *sizes), sizes, strict=False)]
            return sum(numbers) * state + sizes[-1] * iteration

        best = min(plans_of_level, key=memory, default=None)
        if best is not None:
            least = min(least, memory(best))
            if memory(best) <= megabytes * 2**20:
                return best
    raise ValueError(
        f"{megabytes} MiB are not enough to differentiate {length} iterations: one sample needs "
        f"{least / 2**20:.3g} MiB at least, {state} bytes for a state and {iteration} for an "
        "iteration. Give more `megabytes`, or make the network, or the time, smaller."
    )


def within_budget(
    body, carry, x: PyTree[Array], length: int, blocks: Sequence[int], megabytes: float
) -> tuple[int, AbstractAdjoint]:
    """The first of these sizes of blocks that is within the budget, and how a block is
    differentiated; `x` is what goes into a single iteration.

    What goes into an iteration, with the numbers it is made of, what the iteration sends on, and
    the derivatives of all that, is measured to be 16 times as much.
    """
    state, iteration = _needs(body, carry, x)
    least = math.inf
    for block in blocks:
        outer = 0 if block >= length else -(-length // block) * state
        around = outer + 16 * block * _bytes(x)
        least = min(least, around + block * state + iteration)
        left = megabytes - around / 2**20
        try:
            _budgeted(block, state, iteration, left)
        except ValueError:
            continue
        return block, CheckpointAdjoint(megabytes=left)
    raise ValueError(
        f"{megabytes} MiB are not enough to differentiate {length} cells: one sample needs "
        f"{1.01 * least / 2**20:.3g} MiB. Give more `megabytes`, or make the network, or the time, "
        "smaller."
    )


class Scratch(eqx.Module):
    """A part of a carry that nothing reads behind the last iteration: it may be large."""

    value: Any


class CheckpointAdjoint(AbstractAdjoint):
    r"""Checkpointed differentiation: memory $O(\sqrt{n})$ states for n iterations.

    The loop is cut into blocks. Reverse mode stores the state at the start of each block
    and recomputes the inside. A block that no sample of a batch needs is skipped, so a
    solve ends early where all samples are done. Forward mode works as well, and stores
    nothing.

    **Arguments:**

    - `block_size`: iterations per block; by default $\lceil\sqrt n\rceil$. Memory is
        n / block_size states and the intermediate values of one block.
    - `megabytes`: instead, how much of that there may be for each sample (with `jax.vmap`: the
        budget by the number of samples). Blocks are cut into blocks once more where need be,
        $O(\sqrt[3]{n})$ states, which computes the inside twice. In [`roughsnn.Lockstep`][] noise
        and input are made by blocks, and in it; in others what goes into the loop and comes out of
        it, the noise and the spikes of all cells, is not.

    - `early`: whether most of the iterations are usually left out, as by adaptive steps that may be
        `max_steps` and are few: blocks in blocks of 8, so that they cost next to nothing. Chosen by
        the engine unless `block_size` or `megabytes` are given.

    **Raises:** `ValueError` if `megabytes` is not enough, with the number that is.
    """

    block_size: int | None = None
    megabytes: float | None = None
    early: bool = eqx.field(static=True, default=False)

    def __check_init__(self):
        if self.block_size is not None:
            check_positive_int("block_size", self.block_size)
        if self.megabytes is not None:
            check_positive_float("megabytes", self.megabytes)
            if self.block_size is not None:
                raise ValueError("Give `block_size` or `megabytes`, not both.")

    def _sizes(self, body, carry, length, xs) -> tuple[int, ...]:
        if self.megabytes is not None:
            return _budgeted(length, *_needs(body, carry, xs), self.megabytes)
        if self.early and self.block_size is None:
            return tuple(8**n for n in range(20, 0, -1) if 8**n < length) or (length,)
        return (min(self.block_size or _block_size(length, xs is not None), length),)

    def loop(self, body, carry, length, live, idle, xs=None):
        """See [`roughsnn.AbstractAdjoint`][]."""
        sizes = self._sizes(body, carry, length, xs)
        # From the inside out, each block is a whole number of the next smaller ones.
        shape, left = [], length
        for size in sizes:
            shape.append(-(-left // size))
            left = size
        shape.append(left)
        padding = math.prod(shape) - length

        def row(carry, number_and_x):
            number, x = number_and_x
            new, out = body(carry, x)
            if padding == 0 or xs is None:
                return new, out
            # Behind the last row nothing happens.
            there = number < length
            return chosen(there, new, carry), where_tree(there, out, idle)

        def blocked(x):
            x = jnp.pad(x, [(0, padding)] + [(0, 0)] * (x.ndim - 1), mode="edge")
            return x.reshape(*shape, *x.shape[1:])

        rows = jnp.arange(math.prod(shape), dtype=jnp.int32).reshape(shape)
        carry, out = _nested(row, carry, (rows, jax.tree.map(blocked, xs)), shape, live, idle)
        flatten = lambda x: x.reshape(math.prod(shape), *x.shape[len(shape) :])
        return carry, jax.tree.map(flatten, out)


def chosen(there, new, old):
    """The new carry, or the old one; of what is of no use any more always the new one."""
    scratch = lambda x: isinstance(x, Scratch)
    one = lambda a, b: a if scratch(a) else jnp.where(there, a, b)
    return jax.tree.map(one, new, old, is_leaf=scratch)


def _nested(row, carry, rows, shape, live, idle):
    """The scan of `row` over the axes `shape` of `rows`, checkpointed but for the last."""
    if len(shape) == 1:
        return jax.lax.scan(row, carry, rows, length=shape[0])

    def skip(carry, rows):
        del rows
        fill = lambda x: jnp.broadcast_to(x, (*shape[1:], *jnp.shape(x)))
        return carry, jax.tree.map(fill, idle)

    def run(carry, rows):
        return _nested(row, carry, rows, shape[1:], live, idle)

    # The branch is inside of the checkpoint: outside of it, `cond` would store the
    # constants of the loop (the driving path) once for every block. Inside, it copies them.
    @jax.checkpoint
    def block(carry, rows):
        if live is None:
            return run(carry, rows)
        return jax.lax.cond(any_in_batch(live(carry)), run, skip, carry, rows)

    return jax.lax.scan(block, carry, rows, length=shape[0])


class DirectAdjoint(AbstractAdjoint):
    """Plain differentiation of the loop: everything stored, nothing recomputed.

    Somewhat faster in reverse mode than [`roughsnn.CheckpointAdjoint`][] where all
    iterations are needed and memory, which grows linearly in them, is plentiful.
    """

    def loop(self, body, carry, length, live, idle, xs=None):
        """See [`roughsnn.AbstractAdjoint`][]."""
        del live, idle
        return jax.lax.scan(lambda c, x: body(c, x), carry, xs, length=length)
