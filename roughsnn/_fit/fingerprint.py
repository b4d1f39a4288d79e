"""By what a checkpoint recognises the fit that it is of, in another process too."""

import dataclasses
import functools
import hashlib
import re
import types
from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import PyTree

from .step import Problem, Row, State


def fingerprint(problem: Problem, state: State, row: Row) -> dict[str, Any]:
    """What must be the same for a fit to go on; JSON.

    Shapes by the names of leaves, where a difference can be told, and digests of values, where
    only that there is one: of the data, of leaves that are not trained, and of the code of
    functions with what they close over.
    """
    validation, batches = problem.validation, problem.batches
    held_out = None if validation is None else validation.data
    shapes = {
        "the model": eqx.combine(state.params, problem.static),
        "the optimiser's state": eqx.combine(state.opt_state, problem.static_opt),
        "the data": problem.data,
        "the validation data": held_out,
        "the history": {"loss": row.loss, **row.metrics},
        "the losses": dict.fromkeys(problem.objective.names or ()),
    }
    values = {
        "the leaves of the model that are not trained": problem.static,
        "the data": problem.data,
        "the validation data": held_out,
        "the losses, their weights or code": problem.objective,
        "the optimiser, its numbers or code": (problem.optim, problem.static_opt),
    }
    settings = {
        "the key": np.asarray(key_data(problem.key)).ravel().tolist(),
        "the batch size": None if batches is None else batches.size,
        "the steps between validations": None if validation is None else validation.every,
        "the patience": None if validation is None else validation.patience,
    }
    return {
        "settings": settings,
        "shapes": {name: signature(tree) for name, tree in shapes.items()},
        "values": {name: digest(tree) for name, tree in values.items()},
    }


def difference(found: Mapping[str, Any], now: Mapping[str, Any]) -> str | None:
    """Where two fingerprints first differ, in words."""
    for name, value in now["settings"].items():
        if found["settings"].get(name) != value:
            return f"{name} is {value}, not {found['settings'].get(name)}"
    for name, value in now["shapes"].items():
        other = mismatch(found["shapes"].get(name, {}), value)
        if other is not None:
            return f"in {name}, {other}"
    for name, value in now["values"].items():
        if found["values"].get(name) != value:
            return f"{name} have other values"
    return None


def signature(tree: PyTree) -> dict[str, str]:
    """Dtype and shape of each array, and the type of each other leaf, by the leaf's name."""
    leaves = jax.tree_util.tree_leaves_with_path(tree, is_leaf=lambda x: x is None)
    return {jax.tree_util.keystr(path): kind(leaf) for path, leaf in leaves}


def mismatch(found: Mapping[str, str], now: Mapping[str, str]) -> str | None:
    """The first leaf in which two signatures differ, in words."""
    for name in [*now, *found]:
        if found.get(name) != now.get(name):
            there = [side.get(name, "missing") for side in (now, found)]
            return f"`{name or 'the only leaf'}` is {there[0]}, not {there[1]}"
    return None


def digest(tree: PyTree) -> str:
    """A hash of all values in a pytree, and of the code of functions in it."""
    hasher = hashlib.sha256()
    _feed(hasher, tree, {})
    return hasher.hexdigest()


def key_data(x: Any) -> Any:
    """The numbers of a key; anything else as it is."""
    return jr.key_data(x) if _is_key(x) else x


def _is_key(x: Any) -> bool:
    return isinstance(x, jax.Array) and jnp.issubdtype(x.dtype, jax.dtypes.prng_key)


def kind(leaf: Any) -> str:
    """Dtype and shape of an array, the type of anything else."""
    if eqx.is_array(leaf) or isinstance(leaf, jax.ShapeDtypeStruct):
        return f"{leaf.dtype}{list(leaf.shape)}"
    return type(leaf).__name__


def _feed(hasher: Any, tree: PyTree, seen: dict[int, Any]) -> None:
    """Structure, names and values of all leaves, without what another process has otherwise."""
    structure = re.sub(r"0x[0-9a-f]+", "", str(jax.tree.structure(tree)))
    hasher.update(structure.encode())
    for code in _code_of_modules(tree):
        _feed(hasher, code, seen)
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        hasher.update(f"{jax.tree_util.keystr(path)}:{kind(leaf)}:".encode())
        if eqx.is_array(leaf) and leaf.dtype != object:
            hasher.update(np.ascontiguousarray(jax.device_get(key_data(leaf))).tobytes())
        elif isinstance(leaf, (bool, int, float, complex, str, bytes)):
            hasher.update(repr(leaf).encode())
        elif isinstance(leaf, (set, frozenset)):
            _feed(hasher, sorted(map(repr, leaf)), seen)
        elif id(leaf) not in seen:
            # Kept, as the number of what has been thrown away may come again.
            seen[id(leaf)] = leaf
            _feed(hasher, _inside(leaf), seen)


def _inside(leaf: Any) -> PyTree:
    """What makes a function what it is: its code, its defaults and what it closes over."""
    if isinstance(leaf, functools.partial):
        return leaf.func, leaf.args, leaf.keywords
    if isinstance(leaf, types.MethodType):
        return leaf.__func__, leaf.__self__
    if isinstance(leaf, types.CodeType):
        return leaf.co_name, leaf.co_code, leaf.co_names, leaf.co_consts
    if isinstance(leaf, types.FunctionType):
        cells = [_content(cell) for cell in leaf.__closure__ or ()]
        return leaf.__code__, leaf.__defaults__, leaf.__kwdefaults__, cells
    # Compiled or decorated functions hold the one that was written.
    if hasattr(leaf, "__wrapped__"):
        return leaf.__wrapped__
    # An object of a class of one's own; of anything else the name must do.
    own_class = isinstance(_call(leaf), types.FunctionType) or dataclasses.is_dataclass(leaf)
    if own_class and not isinstance(leaf, type):
        return type(leaf).__qualname__, _call(leaf), list(getattr(leaf, "__dict__", {}).items())
    return getattr(leaf, "__qualname__", None)


def _call(x: Any) -> Any:
    """The code that runs when `x` is called, as far as it is Python's."""
    return type(x).__call__ if callable(x) else None


def _code_of_modules(tree: PyTree) -> list[PyTree]:
    """Functions that belong to the modules of a pytree without being leaves."""
    found = []

    def look(node: Any) -> bool:
        if isinstance(node, eqx.Module):
            found.append([_call(node), getattr(node, "__wrapped__", None)])
            static = [f.name for f in dataclasses.fields(node) if f.metadata.get("static", False)]
            found.append([getattr(node, name, None) for name in static])
        return False

    jax.tree.leaves(tree, is_leaf=look)
    return found


def _content(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return None
