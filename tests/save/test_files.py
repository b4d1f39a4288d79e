"""What `save` refuses to write, and `load` to read."""

import functools
import io
import json
import os
import pickle
import random
import stat
import zipfile
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest

import roughsnn as rs
from roughsnn._save.save import _SEAL, _archive
from roughsnn._sealed import Seal

from .models import LIF, MATRIX, NETWORK, PORTS, SOFTPLUS, THREE, Pair, Quadratic, Squared

MINE = {"neuron": Quadratic(jnp.asarray(0.1), Squared(jnp.asarray(2.0)))}


class Evil:
    """Writes a file where it is unpickled."""

    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return Path.touch, (self.file,)


def archive(members):
    """A zip archive of these bytes with a good seal."""
    buffer, empty = io.BytesIO(), _SEAL.of(b"")
    with zipfile.ZipFile(buffer, "w") as file:
        for name, content in members.items():
            file.writestr(name, content)
        file.comment = empty
    content = buffer.getvalue()[: -len(empty)]
    return content + _SEAL.of(content)


def forged(model, arrays=None, **more):
    """A whole file of this JSON."""
    header = {"roughsnn": "9.9", "metadata": {}, "names": None, "window": None, "model": model}
    return _archive({**header, **more}, {} if arrays is None else arrays)


def test_fifty_damaged_files(tmp_path):
    rs.save(tmp_path / "whole", NETWORK, {"loss": 1.0})
    whole = (tmp_path / "whole").read_bytes()
    rng = random.Random(0)
    for n in range(50):
        cut = bytearray(whole[: rng.randrange(len(whole))])
        if n % 2:
            cut = bytearray(whole)
            cut[rng.randrange(len(cut))] ^= 1 << rng.randrange(8)
        (tmp_path / "cut").write_bytes(cut)
        with pytest.raises(ValueError, match="cut is damaged, or is not a model of roughsnn"):
            rs.load(tmp_path / "cut")
    # Each bit of the seal as well.
    for position in range(len(whole) - 90, len(whole)):
        for bit in range(8):
            cut = bytearray(whole)
            cut[position] ^= 1 << bit
            (tmp_path / "cut").write_bytes(cut)
            with pytest.raises(ValueError, match="is damaged"):
                rs.load(tmp_path / "cut")


@pytest.mark.parametrize("sealed", [False, True])
def test_a_pickle_is_not_opened(tmp_path, sealed):
    evil = np.array([Evil(tmp_path / "opened")], object)
    np.savez(tmp_path / "a.npz", **{"model.x": evil}, allow_pickle=True)
    if sealed:
        with zipfile.ZipFile(tmp_path / "a.npz") as file:
            members = {name: file.read(name) for name in file.namelist()}
        node = {"array": "model.x", "kind": "float64[]", "made": "numpy"}
        header = {"roughsnn": "9.9", "metadata": {}, "names": None, "window": None, "model": node}
        (tmp_path / "a.npz").write_bytes(archive({**members, "header.json": json.dumps(header)}))
    with pytest.raises(ValueError, match="does not hold what" if sealed else "is damaged"):
        rs.load(tmp_path / "a.npz")
    (tmp_path / "p").write_bytes(pickle.dumps(Evil(tmp_path / "opened")))
    with pytest.raises(ValueError, match="is damaged, or is not a model"):
        rs.load(tmp_path / "p")
    assert not (tmp_path / "opened").exists()


DEEP = b'{"list": [' * 30_000 + b"]}" * 30_000
FORGED: dict[str, tuple[bytes, str]] = {
    "no header": (archive({}), "does not hold"),
    "header is no JSON": (archive({"header.json": b"{"}), "does not hold"),
    "header is a list": (archive({"header.json": b"[]"}), "does not hold"),
    "header is empty": (archive({"header.json": b"{}"}), "does not hold"),
    "no archive": (_SEAL.of(b""), "does not hold"),
    "no such array": (forged({"array": "x", "kind": "", "made": "numpy"}), "does not hold"),
    "unknown node": (forged({"code": "print()"}), "does not hold"),
    "deep": (archive({"header.json": DEEP}), "does not hold"),
    "other library": (
        forged({"class": "os.system", "fields": {}, "static": {}}),
        r"`model` is of the class os.system, which is not known here",
    ),
    "function": (forged({"function": "os.system"}), "the function os.system, which roughsnn does"),
    "numpy": (forged({"function": "jax.numpy.load"}), "function jax.numpy.load, which roughsnn"),
    "renamed": (
        forged({"class": "roughsnn.LIF2", "fields": {}, "static": {}}),
        r"the class roughsnn.LIF2, which is not known here: the file was written by roughsnn 9.9",
    ),
    "field more": (
        forged(
            {"class": "roughsnn.HardThreshold", "fields": {"threshold": 1, "b": 2}, "static": {}}
        ),
        r"of another version of the class roughsnn.HardThreshold.*`b`: the class has no such",
    ),
    "field less": (
        forged({"class": "roughsnn.HardThreshold", "fields": {}, "static": {}}),
        r"`threshold`: the file has none \(the file was written by roughsnn 9.9\)",
    ),
}


@pytest.mark.parametrize("content, message", FORGED.values(), ids=FORGED)
def test_files_with_a_good_seal_and_other_contents(tmp_path, content, message):
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        rs.load(tmp_path / "a")


def test_files_of_other_formats(tmp_path):
    rs.save(tmp_path / "a", 1)
    content = (tmp_path / "a").read_bytes()
    content = content[: content.rfind(b"roughsnn ")]
    later = r"was written by a later version of roughsnn \(format 12; this one reads 1\): update"
    for number, message in ((12, later), (0, r"an earlier version of roughsnn \(format 0; this")):
        (tmp_path / "a").write_bytes(content + Seal("model", number).of(content))
        with pytest.raises(ValueError, match=message):
            rs.load(tmp_path / "a")


def test_classes_of_ones_own(tmp_path):
    rs.save(tmp_path / "a", MINE)
    with pytest.raises(
        ValueError,
        match=r"a cannot be loaded: `model\['neuron'\]` is of the class Quadratic, which is not "
        r"known here: give it, `types=\(Quadratic,\)`, or give `like=`",
    ):
        rs.load(tmp_path / "a")
    with pytest.raises(ValueError, match=r"`model\['neuron'\].gain` is of the class Squared"):
        rs.load(tmp_path / "a", types=(Quadratic,))

    class Squared2(eqx.Module):
        scale: jax.Array
        shift: jax.Array

    Squared2.__name__ = "Squared"
    with pytest.raises(ValueError, match="of another version of the class Squared.*`shift`: the f"):
        rs.load(tmp_path / "a", types=(Quadratic, Squared2))
    with pytest.raises(ValueError, match="two classes of the name Squared"):
        rs.load(tmp_path / "a", types=(Squared, Squared2))
    both = [Squared(jnp.ones(1)), Squared2(jnp.ones(1), jnp.ones(1))]
    with pytest.raises(TypeError, match=r"`model\[1\]` is of another class Squared"):
        rs.save(tmp_path / "b", both)
    wrong: list[Any] = [Squared, (int,), (rs.AbstractNeuron,), (Squared(jnp.ones(1)),)]
    for types in wrong:
        with pytest.raises(TypeError, match="`types` must"):
            rs.load(tmp_path / "a", types=types)


def test_a_module_is_not_made_anew(tmp_path):
    """What its `__init__` does was done before it was saved."""
    made = []

    class Counted(eqx.Module):
        x: float

        def __init__(self):
            made.append(self)
            self.x = 1.0

    rs.save(tmp_path / "a", Counted())
    assert rs.load(tmp_path / "a", types=(Counted,)).model.x == 1.0 and len(made) == 1


REFUSED: dict[str, tuple[Any, str]] = {
    "lambda": ({"f": lambda x: x}, r"`model\['f'\]` is the function `<lambda>`, which a file"),
    "function": ([stat.S_ISDIR], r"`model\[0\]` is the function `S_ISDIR`"),
    "method": (LIF.drift, "`model.__func__` is the function `LIF.drift`"),
    "partial": (functools.partial(jnp.sum, axis=0), "`model` is a partial"),
    "amplitude": (
        rs.neurons.MultiplicativeLIF(1 / 15, 0.2, 0.0, lambda x: x * (1 - x)),
        r"`model.amplitude` is the function `<lambda>`.* Write a function as an equinox.Module",
    ),
    "not of one array": (jnp.load, "`model` is the function `load`"),
    "set": ({"a": {1, 2}}, r"`model\['a'\]` is a set"),
    "objects": (np.array([None]), "`model` is a ndarray"),
    "class": (rs.neurons.LIF, "`model` is a "),
    "optimiser": (optax.adam(0.1), "`model.init` is the function"),
    "key": ({frozenset(): 1}, r"`model\[frozenset\(\)\]` has a key that a file cannot hold"),
}


@pytest.mark.parametrize("model, message", REFUSED.values(), ids=REFUSED)
def test_what_a_file_cannot_hold_is_refused_by_name(tmp_path, model, message):
    with pytest.raises(TypeError, match=message):
        rs.save(tmp_path / "a", model)
    assert not list(tmp_path.iterdir())


def odd(scale):
    """A model of functions, and of nodes that files do not know."""
    return {
        "f": lambda x: x,
        "partial": jax.tree_util.Partial(jnp.sum, jnp.full(2, scale)),
        "optim": optax.adam(0.1).init({"w": jnp.full(3, scale)}),
        "neuron": Quadratic(jnp.asarray(scale), lambda v: v**2),
        "text": f"{scale}",
        "mlp": eqx.nn.MLP(1, 1, 2, 1, key=jr.key(int(scale))),
    }


def test_an_incomplete_model_is_loaded_with_one_like_it(tmp_path):
    before, template = odd(2.0), odd(3.0)
    rs.save(tmp_path / "a", before, incomplete=True)
    with pytest.raises(
        ValueError, match=r"`model\['f'\]` is a function, which was left out .*like"
    ):
        rs.load(tmp_path / "a")
    after = rs.load(tmp_path / "a", like=template).model
    assert after["f"] is template["f"] and after["text"] == "2.0"
    assert eqx.tree_equal(eqx.filter(after, eqx.is_array), eqx.filter(before, eqx.is_array))
    assert after["neuron"].gain is template["neuron"].gain and after["partial"]() == 4.0


def network(neuron):
    """`NETWORK` of other neurons."""
    return rs.SpikingNetwork(rs.Population(3, neuron, SOFTPLUS, PORTS), weights=MATRIX)


UNLIKE: dict[str, tuple[Any, str]] = {
    "shape": (
        network(rs.neurons.LIF(1 / 15, rs.Subtract(np.ones(3)), [0.2, 0.0])),
        r"`model.parts\[0\].neuron.reset.by` is float64\[3\], not float64\[\]",
    ),
    "size": (
        rs.SpikingNetwork(rs.Population(2, LIF, SOFTPLUS, PORTS)),
        r"`model.parts\[0\].size` is 2, not 3",
    ),
    "dtype": (
        jax.tree.map(lambda x: x.astype(jnp.float16), NETWORK),
        r"`model.parts\[0\].neuron.tau` is float16\[\], not float64\[\]",
    ),
    "class": (
        network(rs.neurons.MultiplicativeLIF(1 / 15, LIF.sigma)),
        r"`model.parts\[0\].neuron` is roughsnn.MultiplicativeLIF, not roughsnn.LIF",
    ),
    "static field": (
        rs.SpikingNetwork(THREE, weights=MATRIX, conditions="waive"),
        "`model.conditions` is 'waive', not 'check'",
    ),
    "constrained": (
        rs.constrained(NETWORK),
        r"`model.parts\[0\].neuron.tau` is paramax.Parameterize, not float64",
    ),
    "none": (rs.SpikingNetwork(THREE), r"`model.projections\[0\]` is missing, not roughsnn.Proj"),
    "more": ({"network": NETWORK}, r"`model` is dict, not roughsnn.SpikingNetwork"),
}


@pytest.mark.parametrize("like, message", UNLIKE.values(), ids=UNLIKE)
def test_another_template_is_told_where_it_differs(tmp_path, like, message):
    rs.save(tmp_path / "a", NETWORK)
    with pytest.raises(
        ValueError, match=f"`like` is not such a model as the file holds: {message}"
    ):
        rs.load(tmp_path / "a", like=like)


@pytest.mark.filterwarnings("ignore:A JAX array is being set as static")
def test_static_arrays_and_numbers_are_compared(tmp_path):
    class Fixed(eqx.Module):
        x: Any = eqx.field(static=True)

    for value, other in ((np.ones(2), np.zeros(2)), (np.inf, -np.inf), ((1, 2), (1, 3))):
        rs.save(tmp_path / "a", Fixed(value), overwrite=True)
        rs.load(tmp_path / "a", like=Fixed(value))
        with pytest.raises(ValueError, match=r"`model.x(\[1\])?` is .*, not "):
            rs.load(tmp_path / "a", like=Fixed(other))


ARGUMENTS: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "path": (dict(path=None), TypeError, "`path` must be a str or a pathlib.Path, got None"),
    "open file": (dict(path=io.BytesIO()), TypeError, "`path` must be a str or a pathlib.Path"),
    "metadata": (dict(metadata=[1]), TypeError, "`metadata` must be a mapping, got a list"),
    "array": (
        dict(metadata={"a": [np.ones(2)]}),
        TypeError,
        r"`metadata\['a'\]\[0\]` must.*tolist",
    ),
    "number": (dict(metadata={"a": np.float64(1)}), TypeError, r"`metadata\['a'\]` must be a numb"),
    "key": (dict(metadata={"a": {1: 2}}), TypeError, r"keys of `metadata\['a'\]` must be text"),
    "names": (dict(names="abc"), TypeError, "`names` must be a sequence of texts, got 'abc'"),
    "numbers": (dict(names=[1, 2, 3]), TypeError, "`names` must be a sequence of texts"),
    "no names": (dict(names=3), TypeError, "`names` must be a sequence of texts, got 3"),
    "twice": (dict(names=["a", "a", "b"]), ValueError, "`names` must be different"),
    "too few": (
        dict(names=["a", "b"]),
        ValueError,
        "`names` must be 3, one for each neuron, got 2",
    ),
    "window": (dict(window=(0.0, 1.0)), TypeError, "`window` must be a roughsnn.Window"),
    "saved": (
        dict(model=rs.Saved(1, {}, None, None, "")),
        TypeError,
        "`model` is a roughsnn.Saved",
    ),
}


@pytest.mark.parametrize("options, error, message", ARGUMENTS.values(), ids=ARGUMENTS)
def test_arguments_that_are_refused(tmp_path, options, error, message):
    with pytest.raises(error, match=message):
        rs.save(**{"path": tmp_path / "a", "model": NETWORK, **options})
    assert not list(tmp_path.iterdir())


def test_arguments_of_load_that_are_refused(tmp_path):
    with pytest.raises(TypeError, match="`path` must be a str or a pathlib.Path, got 3"):
        rs.load(3)  # pyright: ignore[reportArgumentType]
    with pytest.raises(FileNotFoundError):
        rs.load(tmp_path / "a")
    with pytest.raises(ValueError, match="Give `like` or `types`"):
        rs.load(tmp_path / "a", like=1, types=(Pair,))


def test_a_model_without_numbers_is_refused(tmp_path):
    with pytest.raises(ValueError, match="inside of a transformation"):
        jax.jit(lambda x: rs.save(tmp_path / "a", x))(jnp.ones(1))


def test_a_fit_is_not_a_model(tmp_path):
    fields = dict.fromkeys(("model", "opt_state", "history", "validation", "best_step", "steps"))
    fit = rs.Fit(**fields, stopped=None, seconds=np.zeros(0), every=None)  # pyright: ignore
    with pytest.raises(TypeError, match="`model` is a roughsnn.Fit: give its `model`"):
        rs.save(tmp_path / "a", fit)


def test_nothing_is_overwritten_unless_told(tmp_path, monkeypatch):
    file = tmp_path / "a"
    rs.save(file, 1)
    with pytest.raises(FileExistsError, match="a is there already: .* `overwrite=True`"):
        rs.save(file, 2)
    assert rs.load(file).model == 1
    rs.save(file, 2, overwrite=True)
    assert rs.load(file).model == 2
    # Others may read it, as they may what a program writes otherwise.
    (tmp_path / "b").write_text("")
    assert file.stat().st_mode == (tmp_path / "b").stat().st_mode
    with pytest.raises(FileExistsError, match="is a folder: choose another name"):
        rs.save(tmp_path, 1, overwrite=True)
    with pytest.raises(FileNotFoundError, match=r"There is no folder .*none for the file a"):
        rs.save(tmp_path / "none" / "a", 1)

    def stop(*args):
        raise OSError("full")

    # A write that fails leaves the last file, and nothing beside it.
    monkeypatch.setattr(os, "fsync", stop)
    with pytest.raises(OSError, match="full"):
        rs.save(file, 3, overwrite=True)
    assert rs.load(file).model == 2 and {f.name for f in tmp_path.iterdir()} == {"a", "b"}
