"""How the flat loop is run, and how it is differentiated."""

import abc
import math
from collections.abc import Callable
from typing import TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, PyTree

from .._misc import any_in_batch, check_positive_int, where_tree

_Carry = TypeVar("_Carry")


class AbstractAdjoint(eqx.Module):
    """A way to run `length` iterations of a body so that they can be differentiated."""

    @abc.abstractmethod
    def loop(
        self,
        body: Callable[[_Carry, PyTree[Array]], tuple[_Carry, PyTree[Array]]],
        carry: _Carry,
        length: int,
        live: Callable[[_Carry], Bool[Array, ""]],
        idle: PyTree[Array],
        xs: PyTree[Array] = None,
    ) -> tuple[_Carry, PyTree[Array]]:
        """The last carry, and what the iterations emitted, stacked.

        `body(carry, x)` with the rows x of `xs`, if there are any. An iteration of a carry that
        is not `live` emits `idle` and changes nothing that matters, so it may be left out.
        """


def _block_size(length: int, divides: bool) -> int:
    """About the square root, if need be and if there is one a divisor of `length`."""
    root = max(1, math.isqrt(length - 1) + 1)
    if divides:
        near = [n for n in range(-(-root // 2), 2 * root) if length % n == 0]
        return min(near, key=lambda n: abs(math.log(n / root)), default=root)
    return root


class CheckpointAdjoint(AbstractAdjoint):
    r"""Checkpointed differentiation: memory $O(\sqrt{n})$ states for n iterations.

    The loop is cut into blocks. Reverse mode stores the state at the start of each block
    and recomputes the inside. A block that no sample of a batch needs is skipped, so a
    solve ends early where all samples are done. Forward mode works as well, and stores
    nothing.

    **Arguments:**

    - `block_size`: iterations per block; by default $\lceil\sqrt n\rceil$. Memory is
        n / block_size states and the intermediate values of one block.
    """

    block_size: int | None = None

    def __check_init__(self):
        if self.block_size is not None:
            check_positive_int("block_size", self.block_size)

    def loop(self, body, carry, length, live, idle, xs=None):
        """See [`roughsnn.AbstractAdjoint`][]."""
        size = min(self.block_size or _block_size(length, xs is not None), length)
        blocks = -(-length // size)
        padding = blocks * size - length

        def row(carry, number_and_x):
            number, x = number_and_x
            new, out = body(carry, x)
            if padding == 0 or xs is None:
                return new, out
            # Behind the last row nothing happens.
            there = number < length
            return where_tree(there, new, carry), where_tree(there, out, idle)

        def blocked(x):
            x = jnp.pad(x, [(0, padding)] + [(0, 0)] * (x.ndim - 1), mode="edge")
            return x.reshape(blocks, size, *x.shape[1:])

        rows = jnp.arange(blocks * size, dtype=jnp.int32).reshape(blocks, size)
        rows = rows, jax.tree.map(blocked, xs)

        def run(carry, rows):
            return jax.lax.scan(row, carry, rows, length=size)

        def skip(carry, rows):
            del rows
            fill = lambda x: jnp.broadcast_to(x, (size, *jnp.shape(x)))  # noqa: E731
            return carry, jax.tree.map(fill, idle)

        # The branch is inside of the checkpoint: outside of it, `cond` would store the
        # constants of the loop (the driving path) once for every block.
        @jax.checkpoint
        def block(carry, rows):
            return jax.lax.cond(any_in_batch(live(carry)), run, skip, carry, rows)

        carry, out = jax.lax.scan(block, carry, rows, length=blocks)
        flatten = lambda x: x.reshape(blocks * size, *x.shape[2:])  # noqa: E731
        return carry, jax.tree.map(flatten, out)


class DirectAdjoint(AbstractAdjoint):
    """Plain differentiation of the loop: everything stored, nothing recomputed.

    Somewhat faster in reverse mode than [`roughsnn.CheckpointAdjoint`][] where all
    iterations are needed and memory, which grows linearly in them, is plentiful.
    """

    def loop(self, body, carry, length, live, idle, xs=None):
        """See [`roughsnn.AbstractAdjoint`][]."""
        del live, idle
        return jax.lax.scan(lambda c, x: body(c, x), carry, xs, length=length)
