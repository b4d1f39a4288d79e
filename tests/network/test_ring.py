"""Rows of a ring, and what is made once, against plain indexing."""

from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from roughsnn._engine.ring import take, write
from roughsnn._misc import made_once

BACK: dict[str, Any] = {"rows": (jnp.array([3, 1]), None)}
COLUMNS = np.array([0, 2, 2, 1, 0])
BACK["entries"] = jnp.array([[0, 1, 4, 3, 2], [4, 0, 1, 1, 2]]), COLUMNS
# Which of the ring, the rows, the places to read and the first to write each sample has for itself.
BATCHES = {"ring": (0, None, None, None), "rows": (None, 0, None, None)}
BATCHES |= {"values": (0, 0, None, None), "read": (0, None, 0, None), "written": (None, 0, None, 0)}


def run(ring, rows, back, first, columns, *, plain: bool):
    """Writes rows one after the other and reads in between; something that is not linear."""
    total = jnp.zeros(())
    for slot, row in enumerate(rows):
        at = (first + slot) % len(ring)
        if plain:
            ring = ring.at[at].set(row * ring[0])
            got = ring[back] if columns is None else ring[back, columns]
        else:
            ring = write(ring, row * ring[0], at)
            ring, got = take(ring, back, columns)
        total = total + jnp.sum(jnp.sin(got) * (1.0 + slot))
    return total + jnp.sum(ring**2)


@pytest.mark.parametrize("name", BACK)
@pytest.mark.parametrize("batch", [None, *BATCHES])
def test_derivatives_are_those_of_plain_indexing(name, batch):
    """First and second ones, in both modes and in batches."""
    back, columns = BACK[name]
    ring, rows = jr.normal(jr.key(0), (2, 5, 3)), jr.normal(jr.key(1), (2, 7, 3))
    every = ring, rows, jnp.stack([back, (back + 1) % 5]), jnp.array([0, 3], jnp.int32)

    def slopes(plain) -> Any:
        def of(ring, rows, back, first):
            fn = lambda x: run(x[0], x[1], back, first, columns, plain=plain)
            x = ring, rows
            second = jax.jacrev(jax.grad(fn))(x), jax.jacfwd(jax.grad(fn))(x)
            return fn(x), jax.grad(fn)(x), second, jax.jvp(fn, (x,), ((ring + 1, rows - 1),))

        if batch is None:
            return jax.jit(of)(*jax.tree.map(lambda x: x[0], every))
        axes = BATCHES[batch]
        given = (x[0] if axis is None else x for x, axis in zip(every, axes, strict=True))
        batched: Any = jax.vmap(of, axes)
        return jax.jit(batched)(*given)

    assert_same(*map(slopes, (False, True)))


@pytest.mark.parametrize("name", BACK)
@pytest.mark.parametrize("batch", BATCHES)
def test_derivatives_in_what_samples_share(name, batch):
    """Of the sum over samples."""
    back, columns = BACK[name]
    ring, rows = jr.normal(jr.key(0), (2, 5, 3)), jr.normal(jr.key(1), (2, 7, 3))
    every = ring, rows, jnp.stack([back, (back + 1) % 5]), jnp.array([0, 3], jnp.int32)
    axes = BATCHES[batch]
    given = [x[0] if axis is None else x for x, axis in zip(every, axes, strict=True)]

    def slopes(plain) -> Any:
        one: Any = jax.vmap(lambda a, b, c, d: run(a, b, c, d, columns, plain=plain), axes)
        fn = lambda x: jnp.sum(one(x[0], x[1], *given[2:]))
        return jax.jit(lambda x: (jax.grad(fn)(x), jax.jacrev(jax.grad(fn))(x)))(tuple(given[:2]))

    assert_same(*map(slopes, (False, True)))


def assert_same(found: Any, wanted: Any) -> None:
    for a, b in zip(*map(jax.tree.leaves, (found, wanted)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)


def test_what_is_made_once_is_the_same():
    """With its derivatives, and in batches with a condition of their own."""
    x, there = jr.normal(jr.key(0), (4, 3)), jnp.arange(4.0)
    fn = lambda x, t: jnp.sum(made_once(jnp.sin(x), t >= 0) ** 3)
    for own in (jax.jit(jax.hessian(fn)), jax.jit(jax.jacfwd(jax.jacrev(fn)))):
        wanted = jax.hessian(lambda x: jnp.sum(jnp.sin(x) ** 3))
        np.testing.assert_allclose(own(x[0], there[0]), wanted(x[0]), rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(
            jax.vmap(own)(x, there), jax.vmap(wanted)(x), rtol=1e-12, atol=1e-14
        )
