"""What may stand in place of an argument, and whether it must be refused."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

import roughsnn as rs


class Thing:
    """Nothing that any function takes."""

    def __repr__(self) -> str:
        return "Thing()"


class Replacement(NamedTuple):
    """A value with a name; whether every function must refuse it."""

    name: str
    value: Any
    refused: bool = False


_ANYTHING = (
    Replacement("None", None),
    Replacement("a thing", Thing(), True),
    Replacement("nonsense", "nonsense", True),
    Replacement("nan", float("nan"), True),
    Replacement("inf", float("inf")),
    Replacement("-1", -1),
    Replacement("-0.5", -0.5),
    Replacement("0", 0),
    Replacement("1.5", 1.5),
    Replacement("64", 64),
    Replacement("True", True),
    Replacement("complex", 1j, True),
    Replacement("[]", []),
    Replacement("()", ()),
    Replacement("{}", {}),
    Replacement("[None]", [None], True),
    Replacement("a ragged list", [[1.0], [1.0, 2.0]], True),
    Replacement("a function", lambda: None),
    Replacement("a type", int),
    Replacement("an empty array", jnp.zeros(0)),
    Replacement("an empty matrix", np.zeros((0, 2))),
    Replacement("three numbers", np.array([0.1, 0.2, 0.3])),
    Replacement("a cube", jnp.ones((2, 2, 2))),
    Replacement("integers", np.array([0, 1])),
    Replacement("booleans", np.array([True, False])),
    Replacement("words", np.array(["a", "b"]), True),
    Replacement("objects", np.array([None, 1], object), True),
    Replacement("a NumPy float", np.float64(0.1)),
    Replacement("a NumPy integer", np.int64(1)),
    Replacement("a JAX number", jnp.asarray(0.1)),
    Replacement("a key", jr.key(3)),
    Replacement("keys", jr.split(jr.key(3), 2), True),
    Replacement("a window", rs.Window(0.0, 1.0, 0.1)),
    Replacement("a neuron", rs.neurons.LIF(0.1)),
)


def _of_array(good: Any) -> list[Replacement]:
    x = np.asarray(good)
    nan = np.array(x, float)
    nan.reshape(-1)[:1] = np.nan
    return [
        Replacement("holding nan", nan, x.size > 0),
        Replacement("negative", -np.abs(x) - 1),
        Replacement("one axis more", x[None]),
        Replacement("one axis less", x[0]),
        Replacement("one row more", np.concatenate([x, x[:1]])),
        Replacement("one row less", x[:-1]),
        Replacement("reversed", x[::-1]),
        Replacement("integers of its shape", np.ones(x.shape, int)),
        Replacement("complex of its shape", x + 1j, True),
        Replacement("a list", x.tolist()),
        Replacement("float32", x.astype(np.float32)),
    ]


def _of_train(good: Any) -> list[Replacement]:
    """Trains that are another number of neurons, window or batch, or damaged."""
    change = lambda **fields: dataclasses.replace(good, **fields)
    batch = jax.tree.map(lambda x: x[None], good)
    found = [
        Replacement("one axis more", batch, True),
        Replacement("of three neurons", change(num_neurons=3)),
        Replacement("of another window", change(t1=0.5)),
        Replacement("of a window that ends early", change(t1=0.1), True),
        Replacement("overflowed", change(overflow=good.overflow | True)),
        Replacement("of no neurons", change(num_neurons=0), True),
        Replacement("unsorted", change(times=good.times[..., ::-1]), True),
        Replacement("with nan", change(times=good.times.at[..., 0].set(jnp.nan)), True),
        Replacement("with unknown marks", change(marks=good.marks + 9), True),
        Replacement("times only", good.times, True),
    ]
    if good.times.ndim == 2:
        found += [
            Replacement("one train", jax.tree.map(lambda x: x[0], good), True),
            Replacement("of one trial", jax.tree.map(lambda x: x[:1], good)),
            Replacement("of no trials", jax.tree.map(lambda x: x[:0], good), True),
        ]
    return found


def _of_names(good: dict) -> list[Replacement]:
    """Dictionaries with other names, and with other things."""
    first = next(iter(good.values()))
    return [
        Replacement("one name more", good | {"nonsense": first}),
        Replacement("things by name", dict.fromkeys(good, Thing()), True),
        Replacement("None by name", dict.fromkeys(good)),
        Replacement("numbers for names", {1: first}),
    ]


def replacements_of(good: Any) -> list[Replacement]:
    """What to try in place of a value that is right."""
    found = list(_ANYTHING)
    if isinstance(good, rs.SpikeTrain):
        found += _of_train(good)
    elif isinstance(good, dict):
        found += _of_names(good)
    elif isinstance(good, list | tuple | np.ndarray | jax.Array) and np.ndim(_numbers(good)) > 0:
        found += _of_array(_numbers(good))
    return found


def _numbers(good: Any) -> Any:
    if isinstance(good, jax.Array) and jnp.issubdtype(good.dtype, jax.dtypes.prng_key):
        return None
    try:
        x = np.asarray(good)
    except (ValueError, TypeError):
        return None
    return x if x.dtype.kind in "fiu" and x.size else None
