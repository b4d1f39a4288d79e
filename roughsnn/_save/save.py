"""Fitted models in files."""

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import equinox as eqx
import numpy as np
from jaxtyping import PyTree

from .._check import as_path, as_tuple, check_flag
from .._fit.fit import Fit
from .._misc import described, is_concrete
from .._model.network import SpikingNetwork
from .._sealed import Seal, replace
from .._window import Window, as_window
from .decode import Decoder
from .encode import Encoder
from .registry import with_types

_SEAL = Seal("model", 1)
_HEADER = "header.json"


class Saved(eqx.Module):
    """What [`roughsnn.load`][] returns.

    **Attributes:**

    - `model`: the model.
    - `metadata`: what was given to [`roughsnn.save`][]; tuples have become lists.
    - `names`: of the neurons, or `None`.
    - `window`: a [`roughsnn.Window`][], or `None`.
    - `version`: of the roughsnn that wrote the file.
    """

    model: PyTree
    metadata: dict[str, Any]
    names: tuple[str, ...] | None
    window: Window | None
    version: str


def save(
    path: str | Path,
    model: PyTree,
    metadata: Mapping[str, Any] | None = None,
    *,
    names: Sequence[str] | None = None,
    window: Window | None = None,
    overwrite: bool = False,
    incomplete: bool = False,
) -> None:
    """Writes a fitted model to a file, which [`roughsnn.load`][] reads, here or elsewhere.

    The file holds no code and no pickle. It is a zip archive of a text, `header.json`, with the
    structure of the model and all that is not an array, and of an `.npy` file for each array, so
    that `numpy.load(path)["model.parts.0.neuron.tau"]` reads one also without roughsnn. Arrays
    come back bit by bit, of the same dtype. The archive's comment holds the number of the format
    and a
    SHA-256 digest of everything before it: a file that is damaged is refused. It takes the place of
    another only when it is complete.

    A model may be made of roughsnn's neurons, synapses, networks, kernels, paths and references,
    of what [`roughsnn.constrained`][] and paramax make of them, and of modules (`equinox.Module`,
    `typing.NamedTuple`) of your own, whose classes are to be given to `load`; in lists, tuples and
    dicts, with arrays of JAX and NumPy, random keys, numbers and texts. A file knows the common
    functions of one array in `jax.numpy` and `jax.nn` by name, as `jnp.exp` and `jax.nn.softplus`,
    and no others. Arrays come back on JAX's default device.

    **Arguments:**

    - `path`: of the file; `.npz` is a fitting ending.
    - `model`: a pytree, e.g. the `model` of a [`roughsnn.Fit`][].
    - `metadata`: what else to remember: a mapping of texts to numbers, texts, `None`, lists and
        mappings of such.
    - `names`: of the neurons, all different, e.g. those of a [`roughsnn.io.Session`][].
    - `window`: the [`roughsnn.Window`][] that the model was fitted on.
    - `overwrite`: whether to take the place of a file that is there.
    - `incomplete`: leave out what a file cannot hold (other functions, other objects), instead of
        refusing it; the file can then only be loaded with `like=`.

    **Raises:** `TypeError` for a path that is no `str` or `Path`, a model with a part that a file
    cannot hold (it says which), and metadata, names and windows of other types; `ValueError` for
    names that are not those of the neurons, and inside of a transformation; `FileExistsError` for a
    file that is there; `OSError` for one that cannot be written.
    """
    file = as_path("path", path)
    overwrite, incomplete = check_flag("overwrite", overwrite), check_flag("incomplete", incomplete)
    if isinstance(model, Fit | Saved):
        raise TypeError(
            f"`model` is a roughsnn.{type(model).__name__}: give its `model`. Of a fit, `metadata` "
            "can hold the rest: the history's arrays as lists, say."
        )
    if not is_concrete(model):
        raise ValueError(
            "`save` is inside of a transformation (`jax.jit`, `jax.vmap`, ...), where the model "
            "has no numbers yet. Return the model, and save it outside."
        )
    encoder = Encoder(incomplete=incomplete)
    header = {
        "roughsnn": version("roughsnn"),
        "format": _SEAL.format,
        "model": encoder.encode(model, "model"),
        "metadata": _checked_metadata(metadata),
        "names": _checked_names(names, model),
        "window": None if window is None else Encoder().encode(as_window(window), "window"),
    }
    if file.is_dir() or (file.exists() and not overwrite):
        raise FileExistsError(
            f"{file} is {'a folder' if file.is_dir() else 'there already'}: choose another name"
            f"{'' if file.is_dir() else ', or give `overwrite=True`'}."
        )
    if not file.parent.is_dir():
        raise FileNotFoundError(f"There is no folder {file.parent} for the file {file.name}.")
    replace(file, _archive(header, encoder.arrays))


def load(path: str | Path, *, like: PyTree | None = None, types: Sequence[type] = ()) -> Saved:
    """Reads a model that [`roughsnn.save`][] wrote.

    Runs no code that the file has chosen: it names classes, and only those of roughsnn and paramax
    and the given ones are known.

    **Arguments:**

    - `path`: of the file.
    - `like`: a model of the same structure, as the one that a fit began with, whatever it is made
        of. Its arrays, numbers and texts are replaced by those of the file; all else (functions,
        static fields) is kept, and static fields must be the same. Arrays may be
        `jax.ShapeDtypeStruct`s.
    - `types`: classes of your own that the model is made of, as `(MyNeuron,)`. They are told by
        name. What their `__init__` checks is not checked again.

    **Returns:** a [`roughsnn.Saved`][], with the model, metadata, names and window.

    **Raises:** `ValueError` for a file that is damaged, was not written by `save`, or was written
    by a later version in another format; for a class that is not known, or has other fields than it
    had; for a model unlike `like` (it says where); and for arrays of float64 and other dtypes that
    JAX is set not to have (`jax_enable_x64`). `TypeError` for a path that is no `str` or `Path`,
    and for `types` that are no classes of modules. `FileNotFoundError` if there is no file.
    """
    file, classes = as_path("path", path), with_types(types)
    if like is not None and len(types):
        raise ValueError("Give `like` or `types`: the classes of `like` are known.")
    if not file.is_file():
        raise FileNotFoundError(f"There is no file {file}.")
    header, arrays = _opened(file)
    try:
        decoder = Decoder(arrays, classes, header["roughsnn"])
        model = (
            decoder.decode(header["model"]) if like is None else decoder.like(header["model"], like)
        )
        names = header["names"]
        return Saved(
            model,
            header["metadata"],
            None if names is None else tuple(names),
            decoder.decode(header["window"], "window"),
            header["roughsnn"],
        )
    except (KeyError, TypeError, AttributeError, IndexError, RecursionError) as e:
        raise _malformed(file) from e
    except ValueError as e:
        raise ValueError(f"The model {file} cannot be loaded: {e}") from None


def _checked_metadata(metadata: Any) -> dict[str, Any]:
    if metadata is None:
        return {}
    if not isinstance(metadata, Mapping):
        raise TypeError(f"`metadata` must be a mapping, got a {type(metadata).__name__}.")
    return _plain(metadata, "metadata")


def _plain(x: Any, path: str) -> Any:
    """`x` as JSON has it, or a `TypeError` that says where it is something else."""
    if x is None or type(x) in (bool, int, float, str):
        return x
    if isinstance(x, list | tuple):
        return [_plain(part, f"{path}[{n}]") for n, part in enumerate(x)]
    if isinstance(x, Mapping):
        for key in x:
            if type(key) is not str:
                raise TypeError(f"The keys of `{path}` must be text, got {key!r}.")
        return {key: _plain(part, f"{path}[{key!r}]") for key, part in x.items()}
    raise TypeError(
        f"`{path}` must be a number, text, None, a list or a mapping of these, got a "
        f"{type(x).__name__}. Of an array give `.tolist()`."
    )


def _checked_names(names: Any, model: PyTree) -> list[str] | None:
    if names is None:
        return None
    texts = as_tuple("names", names, "a sequence of texts")
    if not all(isinstance(name, str) for name in texts):
        raise TypeError(f"`names` must be a sequence of texts, got {described(names)}.")
    if len(set(texts)) != len(texts):
        raise ValueError(f"`names` must be different, got {list(texts)}.")
    neurons = model.num_neurons if isinstance(model, SpikingNetwork) else None
    if neurons is not None and len(texts) != neurons:
        raise ValueError(
            f"`names` must be {neurons}, one for each neuron, got {len(texts)}: {list(texts)}."
        )
    return [str(name) for name in texts]


def _archive(header: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> bytes:
    """A zip archive whose comment is its seal; the same for the same model."""
    buffer, empty = io.BytesIO(), _SEAL.of(b"")
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(zipfile.ZipInfo(_HEADER), json.dumps(header, indent=1))
        for name, numbers in arrays.items():
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
                np.lib.format.write_array(member, numbers, allow_pickle=False)
        archive.comment = empty
    content = buffer.getvalue()[: -len(empty)]
    return content + _SEAL.of(content)


def _opened(file: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The header and the arrays of a file that is whole."""
    content = file.read_bytes()
    begin = max(content.rfind(b"roughsnn "), 0)
    wrong = _SEAL.check(content[begin:], content[:begin])
    if wrong is not None:
        raise ValueError(f"The file {file} {wrong}.")
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            members = {name: archive[name] for name in archive.files}
        return json.loads(members.pop(_HEADER)), members
    # Whole, and yet not what `save` writes: anything may be wrong with it.
    except Exception as e:
        raise _malformed(file) from e


def _malformed(file: Path) -> ValueError:
    return ValueError(f"The file {file} does not hold what roughsnn.save writes.")
