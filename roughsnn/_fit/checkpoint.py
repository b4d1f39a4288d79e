"""Fits that outlive their process."""

import contextlib
import dataclasses
import json
import math
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import PyTree

from .._check import as_path, check_choice
from .._misc import check_positive_int, warn
from .._sealed import Seal, replace, temporary_prefix
from .fingerprint import difference, key_data
from .lock import locked

_SEAL = Seal("checkpoint", 2)
# Files of processes that died while they wrote are removed when they are older, in seconds.
_ABANDONED = 3600.0


class CheckpointWarning(UserWarning):
    """A checkpoint could not be written, or a folder not be locked, and the fit goes on."""


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """Where and how often [`roughsnn.fit`][] writes down how far it is.

    A fit that finds a checkpoint goes on from there, and ends with the same model, bit by bit, and
    the same history as if it had not been interrupted: also if it was killed while it wrote, as a
    checkpoint takes the place of the last one only when it is complete.

    A checkpoint of another fit is refused. It knows its fit by the key, the names, shapes and
    dtypes of the leaves of model, data and optimiser state, the names of metrics, batches and
    validation, the values of the data and of leaves that are not trained, and the code of losses
    and optimiser with the numbers they close over (but not by what they find in global variables,
    nor by the values that the trained parameters began with). Code is compared as Python compiled
    it, so go on with the same version of Python. To begin anew, remove the file.

    A folder is that of one fit at a time. A fit holds a lock of the operating system on the file
    `fit.lock` (`flock` on Linux and macOS, `msvcrt.locking` on Windows), and another one that is
    given the same folder is refused at once. The lock ends with its process, however that ends, so
    there is none to clear away; the file stays, and says who had the lock last. Between two
    machines on a network file system it holds as far as that file system passes locks on: NFS of
    Linux does, Lustre only if it was mounted with `flock`. Where there are no locks, the fit warns
    with a [`roughsnn.CheckpointWarning`][].

    **Arguments:**

    - `folder`: made if it does not exist; holds `fit.checkpoint` and `fit.lock`.
    - `every`: steps from one checkpoint to the next; the last step has one in any case.
    - `on_error`: what to do if one cannot be written (the disk is full, say): `"stop"` ends the
        fit, which returns the model and says why in `stopped`; `"continue"` warns with a
        [`roughsnn.CheckpointWarning`][], and tries again at the next one.

    **Raises:** `ValueError` for other values; `TypeError` for a folder that is no path; `OSError`,
    when the fit starts, for a folder that cannot be written to, `BlockingIOError` for one in which
    another fit is at work.
    """

    folder: str | Path
    every: int = 100
    on_error: Literal["stop", "continue"] = "stop"

    def __post_init__(self):
        as_path("folder", self.folder)
        check_positive_int("every", self.every)
        check_choice("on_error", self.on_error, ("stop", "continue"))

    @property
    def file(self) -> Path:
        """The file that holds the last checkpoint."""
        return Path(self.folder) / "fit.checkpoint"

    def next(self, done: int) -> int:
        """How many steps are done when the next one is due."""
        return (done // self.every + 1) * self.every

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Makes the folder, and keeps other fits from it.

        **Raises:** `OSError` if the folder cannot be written to; `BlockingIOError` if another fit
        is at work in it.
        """
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=self.folder, prefix=temporary_prefix(self.file)):
                pass
            for abandoned in self.file.parent.glob(f"{temporary_prefix(self.file)}*"):
                _remove_if_old(abandoned)
            lock = contextlib.ExitStack()
            lock.enter_context(locked(self.file.parent / "fit.lock", CheckpointWarning))
        except BlockingIOError:
            raise
        except OSError as e:
            message = f"Checkpoints cannot be written: {e.strerror}"
            raise type(e)(e.errno, message, str(self.folder)) from e
        with lock:
            yield

    def save(
        self, fit: Mapping[str, Any], state: PyTree, history: Mapping[str, np.ndarray]
    ) -> str | None:
        """Writes a checkpoint of a fit with this fingerprint; what went wrong if it could not."""
        arrays = jax.device_get([key_data(x) for x in jax.tree.leaves(state)])
        columns = {name: [str(x.dtype), len(x)] for name, x in history.items()}
        header = {"fit": fit, "state": [_shape(x) for x in arrays], "history": columns}
        body = b"".join(x.tobytes() for x in [*arrays, *history.values()])
        content = json.dumps(header).encode() + b"\n" + body
        try:
            replace(self.file, _SEAL.of(content) + b"\n" + content)
        except OSError as e:
            message = f"The checkpoint {self.file} could not be written: {e.strerror}."
            if self.on_error == "stop":
                return message
            warn(f"{message} The fit goes on.", CheckpointWarning)
        return None

    def load(
        self, fit: Mapping[str, Any], state: PyTree
    ) -> tuple[PyTree, dict[str, np.ndarray]] | None:
        """The state, with the structure of `state`, and the history; `None` if there is none.

        **Raises:** `ValueError` for a file that is damaged, or of another fit.
        """
        if not self.file.exists():
            return None
        seal, _, content = self.file.read_bytes().partition(b"\n")
        remove = "Remove the file to begin anew"
        wrong = _SEAL.check(seal, content)
        if wrong is not None:
            raise ValueError(f"The checkpoint {self.file} {wrong}. {remove}.")
        head, _, body = content.partition(b"\n")
        header = json.loads(head)
        # Through JSON, for lists and tuples to be the same.
        other = difference(header["fit"], json.loads(json.dumps(fit)))
        leaves, structure = jax.tree.flatten(state)
        now = [_shape(key_data(x)) for x in leaves]
        if other is None and header["state"] != now:
            other = f"its state is {now}, not {header['state']}"
        if other is not None:
            raise ValueError(
                f"The checkpoint {self.file} is of another fit: now {other}. {remove}, or give the "
                "fit that it is of."
            )
        kinds = [*header["state"], *([d, [n]] for d, n in header["history"].values())]
        arrays = _split(body, kinds)
        loaded = [_like(x, leaf) for x, leaf in zip(arrays[: len(leaves)], leaves, strict=True)]
        history = dict(zip(header["history"], arrays[len(leaves) :], strict=True))
        return jax.tree.unflatten(structure, loaded), history


def _shape(x: Any) -> list[Any]:
    return [str(x.dtype), list(x.shape)]


def _split(body: bytes, kinds: list[Any]) -> list[np.ndarray]:
    """Arrays of these dtypes and shapes, one after the other."""
    arrays, begin = [], 0
    for name, shape in kinds:
        dtype, size = jnp.dtype(name), math.prod(shape)
        arrays.append(np.frombuffer(body, dtype, size, begin).reshape(shape))
        begin += size * dtype.itemsize
    return arrays


def _like(x: np.ndarray, leaf: Any) -> jax.Array:
    """A key if `leaf` is one."""
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return jr.wrap_key_data(jnp.asarray(x), impl=jr.key_impl(leaf))
    return jnp.asarray(x)


def _remove_if_old(file: Path) -> None:
    try:
        if time.time() - file.stat().st_mtime > _ABANDONED:
            file.unlink(missing_ok=True)
    except FileNotFoundError:
        # Its own process has just put it in place.
        pass
