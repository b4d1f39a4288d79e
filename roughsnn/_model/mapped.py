"""The maps of one neuron, for all neurons of a population."""

import dataclasses
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree


def _base_rank(annotation: Any) -> int | None:
    """The rank of a parameter for one neuron; `None` if the annotation does not begin with
    `*neurons`."""
    axes = getattr(annotation, "dim_str", "").split()
    return len(axes) - 1 if axes[:1] == ["*neurons"] else None


def _leaves(part: PyTree) -> list[tuple[str, Any, Any]]:
    """The name, the leaf and the annotation of each leaf, in JAX's order."""
    found = []
    for value in jax.tree.leaves(part, is_leaf=dataclasses.is_dataclass):
        if not dataclasses.is_dataclass(value):
            found.append(("", value, None))
            continue
        for field in dataclasses.fields(value):
            if field.metadata.get("static", False):
                continue
            for name, leaf, annotation in _leaves(getattr(value, field.name)):
                found.append((name or field.name, leaf, annotation or field.type))
    return found


def _axis(leaf: Any, annotation: Any) -> int | None:
    """0 if an array has an entry for each neuron."""
    rank = np.ndim(leaf)
    if hasattr(annotation, "dim_str"):
        base = _base_rank(annotation)
        return 0 if base is not None and rank > base else None
    return 0 if rank > 0 else None


def kinds_of(part: PyTree) -> tuple[tuple[Any, tuple[int, ...]], ...]:
    """The dtype and the shape that each parameter has for one neuron."""
    return tuple(
        (x.dtype, tuple(x.shape) if _axis(x, a) is None else tuple(x.shape[1:]))
        for _, x, a in _leaves(part)
        if eqx.is_array(x)
    )


def is_shared(part: PyTree) -> bool:
    """Whether no parameter differs between neurons."""
    return all(_axis(x, a) is None for _, x, a in _leaves(part) if eqx.is_array(x))


def one_of(fn: Callable, part: PyTree, k: Any = 0) -> Any:
    """`fn(part)` for one neuron, k, or whichever; or for several."""
    leaves, structure = jax.tree.flatten(part)
    axes = [_axis(x, a) for _, x, a in _leaves(part)]
    first = [
        x[k] if eqx.is_array(x) and axis == 0 else x for x, axis in zip(leaves, axes, strict=True)
    ]
    return fn(jax.tree.unflatten(structure, first))


def mapped(fn: Callable, part: PyTree, *args: Any) -> Any:
    """`fn(part, *args)`, written for one neuron, for all of them.

    All arrays of `args` have the neurons first, and so have those parameters of `part` that differ
    between neurons: arrays whose annotation begins with `*neurons` and that have one axis more than
    the rest of it; without an annotation, all that are no scalars.
    """
    axes = [_axis(x, a) for _, x, a in _leaves(part) if eqx.is_array(x)]
    arrays, rest = eqx.partition(part, eqx.is_array)
    leaves, structure = jax.tree.flatten(arrays)

    def one(leaves, *args):
        return fn(eqx.combine(jax.tree.unflatten(structure, leaves), rest), *args)

    return jax.vmap(one, in_axes=(axes, *[0] * len(args)))(leaves, *args)


def check_size(part: PyTree, size: int) -> None:
    """`ValueError` for parameters of another number of neurons."""
    for name, leaf, annotation in _leaves(part):
        if not eqx.is_array(leaf) or _axis(leaf, annotation) is None:
            continue
        if leaf.shape[0] != size:
            rest = leaf.shape[1:]
            raise ValueError(
                f"`{name}` must have shape {rest} or {(size, *rest)} for {size} neurons, got "
                f"{leaf.shape}."
            )


def can_merge(part: PyTree) -> bool:
    """Whether each parameter may be given for each neuron."""
    bases = [
        _base_rank(a) if hasattr(a, "dim_str") else 0
        for _, x, a in _leaves(part)
        if eqx.is_array(x)
    ]
    return None not in bases


def merged(parts: list[PyTree], sizes: list[int]) -> PyTree:
    """One part in place of several of one structure, with the neurons of all."""
    columns = []
    for part, size in zip(parts, sizes, strict=True):
        column = []
        for _, leaf, annotation in _leaves(part):
            if eqx.is_array(leaf) and _axis(leaf, annotation) is None:
                leaf = jnp.broadcast_to(leaf, (size, *leaf.shape))
            column.append(leaf)
        columns.append(column)
    rows = zip(*columns, strict=True)
    leaves = [jnp.concatenate(row) if eqx.is_array(row[0]) else row[0] for row in rows]
    return jax.tree.unflatten(jax.tree.structure(parts[0]), leaves)
