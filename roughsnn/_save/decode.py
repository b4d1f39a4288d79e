"""A model from JSON and arrays: the inverse of `encode`."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree

from .._fit.fingerprint import mismatch
from .arrays import unpack
from .encode import Encoder, Node, field_names
from .registry import FUNCTIONS, LATER_FIELDS, is_named_tuple

_MODEL = "model"


class Decoder:
    """Makes what a file holds out of these arrays and classes."""

    def __init__(self, arrays: Mapping[str, np.ndarray], classes: Mapping[str, type], version: str):
        self.arrays, self.classes, self.version = arrays, classes, version

    def decode(self, node: Node, path: str = _MODEL) -> Any:
        """What was encoded."""
        if not isinstance(node, dict):
            return node
        if "array" in node:
            return unpack(node, self.arrays[node["array"]], path)
        if "float" in node:
            return float(node["float"])
        if "complex" in node:
            return complex(*map(float, node["complex"]))
        if "function" in node:
            return self._function(node["function"], path)
        if "list" in node or "tuple" in node:
            (name, parts), *_ = node.items()
            made = [self.decode(part, f"{path}[{n}]") for n, part in enumerate(parts)]
            return made if name == "list" else tuple(made)
        if "dict" in node:
            items = [(_key(key), part) for key, part in node["dict"]]
            return {key: self.decode(part, f"{path}[{key!r}]") for key, part in items}
        if "class" in node:
            return self._record(node, path)
        raise ValueError(
            f"`{path}` is a {node['object'] if 'object' in node else node['node']}, which was left "
            "out of the file (`incomplete=True`): give `like=` a model that has it."
        )

    def like(self, node: Node, template: PyTree) -> PyTree:
        """A model whose arrays, numbers and texts are those of the file, all else of `template`."""
        now = Encoder(template=True).encode(template, _MODEL)
        node = _completed(node)
        other = mismatch(_described(node), _described(now))
        if other is not None:
            raise ValueError(f"`like` is not such a model as the file holds: {other}.")
        leaves, structure = jax.tree_util.tree_flatten_with_path(template)
        found = _leaves(node)
        new = [
            self._leaf(found[f"{_MODEL}{jax.tree_util.keystr(k)}"], k, leaf) for k, leaf in leaves
        ]
        return jax.tree.unflatten(structure, new)

    def _leaf(self, node: Node, keys: Any, old: Any) -> Any:
        if isinstance(node, dict) and ("object" in node or "function" in node):
            return old
        return self.decode(node, f"{_MODEL}{jax.tree_util.keystr(keys)}")

    def _function(self, name: str, path: str) -> Any:
        if name not in FUNCTIONS:
            raise ValueError(
                f"`{path}` is the function {name}, which roughsnn does not know here (the file was "
                f"written by version {self.version})."
            )
        return FUNCTIONS[name]

    def _record(self, node: Node, path: str) -> Any:
        name = node["class"]
        if name not in self.classes:
            of_a_library = name.startswith(("roughsnn.", "paramax."))
            advice = (
                f"the file was written by roughsnn {self.version}"
                if of_a_library
                else f"give it, `types=({name},)`, or give `like=` a model of the same structure"
            )
            raise ValueError(f"`{path}` is of the class {name}, which is not known here: {advice}.")
        cls = self.classes[name]
        node = _with_later_fields(node)
        parts = {**node["fields"], **node["static"]}
        names = field_names(cls)
        for field in (*parts, *names):
            if (field in parts) != (field in names):
                lack = "the class has no such field" if field in parts else "the file has none"
                raise ValueError(
                    f"`{path}` is of another version of the class {name}, with other fields: "
                    f"`{field}`: {lack} (the file was written by roughsnn {self.version})."
                )
        values = {field: self.decode(parts[field], f"{path}.{field}") for field in names}
        if is_named_tuple(cls):
            return cls(**values)
        # As equinox does it: what was checked when it was made is not checked again.
        made = object.__new__(cls)
        for field, value in values.items():
            object.__setattr__(made, field, value)
        return made


def _with_later_fields(node: Node) -> Node:
    """A class with the fields that it has got since its files were first written."""
    found = dict(node)
    for kind, later in LATER_FIELDS.get(node["class"], {}).items():
        missing = {field: value for field, value in later.items() if field not in node[kind]}
        encoded = {field: Encoder().encode(value, field) for field, value in missing.items()}
        found[kind] = {**node[kind], **encoded}
    return found


def _completed(node: Node) -> Node:
    """The same for all classes in a node."""
    if isinstance(node, list):
        return [_completed(part) for part in node]
    if not isinstance(node, dict):
        return node
    node = {name: _completed(part) for name, part in node.items()}
    return _with_later_fields(node) if "class" in node else node


def _key(node: Node) -> Any:
    """A key of a dict: a text, a number, or a tuple of them."""
    return tuple(map(_key, node["tuple"])) if isinstance(node, dict) else node


def _children(node: Node, path: str) -> list[tuple[str, Node, bool]] | None:
    """The parts of a node, their paths, and whether they are static; `None` for a leaf."""
    if not isinstance(node, dict):
        return None
    for name in ("list", "tuple"):
        if name in node:
            return [(f"{path}[{n}]", part, False) for n, part in enumerate(node[name])]
    if "dict" in node:
        return [(f"{path}[{_key(key)!r}]", part, False) for key, part in node["dict"]]
    if "class" in node:
        inner = [(f"{path}.{field}", part, False) for field, part in node["fields"].items()]
        return inner + [(f"{path}.{field}", part, True) for field, part in node["static"].items()]
    if "node" in node:
        return [(f"{path}{key}", part, False) for key, part in node["children"].items()]
    return None


def _leaves(node: Node, path: str = _MODEL) -> dict[str, Node]:
    """The leaves that are not static, by their paths."""
    children = _children(node, path)
    if children is None:
        return {path: node}
    parts = [_leaves(part, where) for where, part, static in children if not static]
    return {where: leaf for part in parts for where, leaf in part.items()}


def _described(node: Node, path: str = _MODEL, *, static: bool = False) -> dict[str, str]:
    """What is where, in words: what two models of one structure have in common."""
    children = _children(node, path)
    if children is None:
        return {path: _word(node, static)}
    name = next(name for name in ("list", "tuple", "dict", "class", "node") if name in node)
    words = {path: node[name] if name in ("class", "node") else name}
    for where, part, fixed in children:
        words |= _described(part, where, static=static or fixed)
    return words


def _word(node: Node, static: bool) -> str:
    if not isinstance(node, dict):
        return repr(node) if static else type(node).__name__
    if "array" in node:
        return f"{node['kind']} of digest {node['digest'][:8]}" if static else node["kind"]
    for name in ("function", "object"):
        if name in node:
            return node[name]
    (name, value), *_ = node.items()
    return f"{value}" if static else name
