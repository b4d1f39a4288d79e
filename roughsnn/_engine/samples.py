"""Operations on the samples of a batch, of which some operands may be shared.

Such operands have the same number of leading axes, of length 1 where all samples share them, so
that nothing that is shared is copied, or read once for each sample.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import batching, mlir
from jaxtyping import Array

# Whether a CPU does what is best for it, or the same as other devices do.
_IN_TURN = True


def of_samples(fn: Callable[..., Any], operands: Sequence[Array], ranks: Sequence[int]) -> Any:
    """The function of all samples; `ranks` are the numbers of axes of one."""
    if operands[0].ndim == ranks[0]:
        return fn(*operands)
    own = [x.shape[0] > 1 for x in operands]
    operands = [x if many else x[0] for x, many in zip(operands, own, strict=True)]
    inner = lambda *xs: of_samples(fn, xs, ranks)
    if not any(own):
        # An axis of length 1 makes XLA's gather slow.
        return jax.tree.map(lambda x: x[None], inner(*operands))
    return jax.vmap(inner, [0 if many else None for many in own])(*operands)


def lowered(p: Primitive, run: Callable[..., Any], on_cpu: Callable[..., Any]) -> None:
    """Says what an operation does, on a CPU and elsewhere."""
    usual, in_turn = (
        mlir.lower_fun(fn, multiple_results=p.multiple_results) for fn in (run, on_cpu)
    )

    def here(context, *operands, **static):
        # What is shared out among devices by the compiler is to be done at once.
        devices = getattr(context.module_context.axis_context, "num_devices", 1)
        chosen = in_turn if _IN_TURN and devices == 1 else usual
        return chosen(context, *operands, **static)

    mlir.register_lowering(p, usual)
    mlir.register_lowering(p, here, platform="cpu")


def primitive(
    name: str,
    run: Callable[..., Sequence[Array]],
    static: Sequence[str] = (),
    on_cpu: Callable[..., Sequence[Array]] | None = None,
):
    """An operation whose operands are those of all samples, with several results; how it is
    differentiated is to be said."""
    p = Primitive(name)
    p.multiple_results = True
    p.def_impl(jax.jit(p.bind, static_argnames=static))

    def abstract(*operands, **static):
        like = [jax.ShapeDtypeStruct(x.shape, x.dtype) for x in operands]
        out = jax.eval_shape(lambda *xs: run(*xs, **static), *like)
        return [operands[0].update(shape=x.shape, dtype=x.dtype) for x in out]

    def batch(operands, dims, **static):
        out = p.bind(*map(in_front, operands, dims), **static)
        return out, [0] * len(out)

    p.def_abstract_eval(abstract)
    lowered(p, run, on_cpu or run)
    batching.primitive_batchers[p] = batch
    return p


def summed(x: Array, like: Any) -> Array:
    """The sum over samples that share an operand."""
    shape = like.aval.shape
    axes = tuple(k for k, n in enumerate(shape) if n == 1 and x.shape[k] != 1)
    return jnp.sum(x, axes, keepdims=True) if axes else x


def in_front(x: Array, dim: int | None) -> Array:
    """With the axis of the samples in front, of length 1 where they share it."""
    return x[None] if dim is None else jnp.moveaxis(x, dim, 0)
