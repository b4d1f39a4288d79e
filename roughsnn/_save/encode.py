"""A model as JSON and arrays.

JSON holds numbers, texts and `null` as they are; everything else is an object that says what it is:
`{"array": name, ...}`, `{"list": [...]}`, `{"class": name, "fields": {...}, "static": {...}}`.
"""

import dataclasses
import inspect
import math
import re
from typing import Any

import jax
import numpy as np

from .._fit.fingerprint import digest, kind
from .arrays import is_storable, pack
from .registry import is_named_tuple, is_record, name_of_class, name_of_function

Node = Any


class Encoder:
    """Collects the arrays of a model while it is written as JSON.

    With `incomplete` what cannot be stored is noted by its type. A `template` is one whose arrays
    are not read, and may be `jax.ShapeDtypeStruct`s.
    """

    def __init__(self, *, incomplete: bool = False, template: bool = False):
        self.incomplete, self.template = incomplete or template, template
        self.arrays: dict[str, np.ndarray] = {}
        self.classes: dict[str, type] = {}

    def encode(self, x: Any, path: str, *, static: bool = False) -> Node:
        """`x` as JSON; `path` is its name in messages."""
        if x is None or type(x) in (bool, int, str):
            return x
        if type(x) in (float, complex):
            return _number(x)
        if self.template and isinstance(x, jax.ShapeDtypeStruct):
            return {"array": "", "kind": kind(x)}
        if is_storable(x):
            return self._array(x, path, static)
        function = name_of_function(x)
        if function is not None:
            return {"function": function}
        if type(x) in (list, tuple):
            parts = [self.encode(v, f"{path}[{n}]", static=static) for n, v in enumerate(x)]
            return {type(x).__name__: parts}
        if type(x) is dict:
            return {"dict": [self._item(k, v, path, static) for k, v in x.items()]}
        if is_record(type(x)):
            return self._record(x, path, static)
        return self._other(x, path)

    def _item(self, key: Any, value: Any, path: str, static: bool) -> list[Node]:
        path = f"{path}[{key!r}]"
        if not _is_key(key):
            raise TypeError(
                f"`{path}` has a key that a file cannot hold: keys must be text, finite numbers, "
                f"None or tuples of them, got a {type(key).__name__}."
            )
        return [self.encode(key, path), self.encode(value, path, static=static)]

    def _array(self, x: Any, path: str, static: bool) -> Node:
        if self.template:
            note, name = {"kind": kind(x)}, ""
        else:
            note, numbers = pack(x)
            name = self._unused(path)
            self.arrays[name] = numbers
        # Static values are compared, and not replaced.
        more = {"digest": digest(x)} if static else {}
        return {"array": name, **note, **more}

    def _unused(self, path: str) -> str:
        """A name for an array that looks like its path."""
        plain = re.sub(r"[^\w.]+", ".", path).replace("..", ".").strip(".")
        name, number = plain, 1
        while name in self.arrays:
            number += 1
            name = f"{plain}-{number}"
        return name

    def _record(self, x: Any, path: str, static: bool) -> Node:
        cls = type(x)
        name = name_of_class(cls)
        if self.classes.setdefault(name, cls) is not cls:
            raise TypeError(
                f"`{path}` is of another class {name} than a part of the model before it: rename "
                "one, a file tells them apart by their names."
            )
        fixed = static_fields(cls)
        parts = {
            field: self.encode(
                getattr(x, field), f"{path}.{field}", static=static or field in fixed
            )
            for field in field_names(cls)
        }
        inner = {field: node for field, node in parts.items() if field not in fixed}
        outer = {field: node for field, node in parts.items() if field in fixed}
        return {"class": name, "fields": inner, "static": outer}

    def _other(self, x: Any, path: str) -> Node:
        if not self.incomplete:
            raise TypeError(
                f"`{path}` is {_described(x)}, which a file cannot hold: it holds arrays, numbers, "
                "text, lists, tuples, dicts, equinox modules, some functions of jax.numpy and "
                "jax.nn by name, and no code. Write a function as an equinox.Module with a "
                "`__call__`; or save with `incomplete=True`, and load with `like=` a model that "
                "has this part."
            )
        children = jax.tree_util.tree_flatten_with_path(x, is_leaf=lambda y: y is not x)[0]
        if len(children) == 1 and children[0][1] is x:
            return {"object": type(x).__name__}
        named = {jax.tree_util.keystr(keys): child for keys, child in children}
        parts = {key: self.encode(child, path + key) for key, child in named.items()}
        return {"node": type(x).__name__, "children": parts}


def field_names(cls: type) -> tuple[str, ...]:
    """The fields of a module or named tuple."""
    if is_named_tuple(cls):
        return tuple(getattr(cls, "_fields"))  # noqa: B009
    assert dataclasses.is_dataclass(cls)
    return tuple(field.name for field in dataclasses.fields(cls))


def static_fields(cls: type) -> frozenset[str]:
    """The fields of a module that are no part of the pytree."""
    if not dataclasses.is_dataclass(cls):
        return frozenset()
    return frozenset(f.name for f in dataclasses.fields(cls) if f.metadata.get("static", False))


def _is_key(x: Any) -> bool:
    if type(x) is tuple:
        return all(map(_is_key, x))
    return x is None or type(x) in (bool, int, str) or (type(x) is float and math.isfinite(x))


def _number(x: float | complex) -> Node:
    if isinstance(x, complex):
        return {"complex": [repr(x.real), repr(x.imag)]}
    return x if math.isfinite(x) else {"float": repr(x)}


def _described(x: Any) -> str:
    if inspect.isroutine(x):
        return f"the function `{getattr(x, '__qualname__', x)}`"
    return f"a {type(x).__name__}"
