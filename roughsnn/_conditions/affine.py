"""Decides from its jaxpr whether a function is affine."""

import functools
from collections.abc import Callable

import jax
from jax.extend import core as jex_core


def is_affine(fn: Callable, *primals, fixed: tuple = ()) -> bool:
    """Whether `fn` is affine in `primals`: its derivative does not read them.

    `fn(*primals, *fixed)`, for any value of `fixed`. Conservative: `False` may be said of an
    affine function, `True` is a proof.
    """

    def derivative(point, direction, fixed):
        return jax.jvp(lambda *x: fn(*x, *fixed), point, direction)[1]

    closed = jax.make_jaxpr(derivative)(primals, primals, fixed)
    count = len(jax.tree.leaves(primals))
    rest = len(closed.jaxpr.invars) - count
    return not any(_depends(closed.jaxpr, [True] * count + [False] * rest))


@functools.cache
def _jit_primitive() -> jex_core.Primitive:
    """The primitive of a function under `jit`, whatever this version of JAX calls it."""
    (eqn,) = jax.make_jaxpr(jax.jit(lambda x: x + 1))(0.0).jaxpr.eqns
    return eqn.primitive


def _depends(jaxpr, inputs: list[bool]) -> list[bool]:
    """Which outputs of `jaxpr` read an input that is marked."""
    marked = {v for v, m in zip(jaxpr.invars, inputs, strict=True) if m}

    def is_marked(atom) -> bool:
        return not isinstance(atom, jex_core.Literal) and atom in marked

    for eqn in jaxpr.eqns:
        ins = [is_marked(v) for v in eqn.invars]
        if eqn.primitive is _jit_primitive():
            (inner,) = (x for x in eqn.params.values() if isinstance(x, jex_core.ClosedJaxpr))
            outs = _depends(inner.jaxpr, ins)
        else:
            outs = [any(ins)] * len(eqn.outvars)
        marked.update(v for v, m in zip(eqn.outvars, outs, strict=True) if m)
    return [is_marked(v) for v in jaxpr.outvars]


def is_constant(fn: Callable, *primals) -> bool:
    """Whether `fn` does not read `primals`. Conservative in the same way."""
    closed = jax.make_jaxpr(fn)(*primals)
    return not any(_depends(closed.jaxpr, [True] * len(closed.jaxpr.invars)))


def dependence(fn: Callable, *primals) -> list[list[bool]]:
    """For each output of `fn`, which of the arrays `primals` it reads. Conservative in the same
    way."""
    closed = jax.make_jaxpr(fn)(*primals)
    number = len(closed.jaxpr.invars)
    marked = [_depends(closed.jaxpr, [n == k for n in range(number)]) for k in range(number)]
    return [list(row) for row in zip(*marked, strict=True)]
