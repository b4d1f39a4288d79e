"""Fits that outlive their process."""

import dataclasses
import hashlib
import io
import json
import os
import tempfile
import warnings
from pathlib import Path
from typing import Any, Literal

import equinox as eqx
import jax
import jax.random as jr
from jaxtyping import PyTree

from .._misc import check_positive_int
from .._types import PRNGKey

_FORMAT = "roughsnn checkpoint 1"


class CheckpointWarning(UserWarning):
    """A checkpoint could not be written, and the fit goes on without it."""


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """Where and how often [`roughsnn.fit`][] writes down how far it is.

    A fit that finds a checkpoint goes on from there, and ends with the same model, bit by bit, and
    the same history as if it had not been interrupted: also if it was killed while it wrote, as a
    checkpoint takes the place of the last one only when it is complete. Give the same model,
    losses, data, optimiser and key; to begin anew, remove the file.

    **Arguments:**

    - `folder`: made if it does not exist; holds `fit.checkpoint`.
    - `every`: steps from one checkpoint to the next; the last step has one in any case.
    - `on_error`: what to do if one cannot be written (the disk is full, say): `"stop"` ends the
        fit, which returns the model and says why in `stopped`; `"continue"` warns with a
        [`roughsnn.CheckpointWarning`][], and tries again at the next one.

    **Raises:** `ValueError` for other values; `OSError`, when the fit starts, for a folder that
    cannot be written to.
    """

    folder: str | Path
    every: int = 100
    on_error: Literal["stop", "continue"] = "stop"

    def __post_init__(self):
        check_positive_int("every", self.every)
        if self.on_error not in ("stop", "continue"):
            raise ValueError(f"`on_error` must be 'stop' or 'continue', got {self.on_error!r}.")

    @property
    def file(self) -> Path:
        """The file that holds the last checkpoint."""
        return Path(self.folder) / "fit.checkpoint"

    def due(self, done: int, steps: int) -> bool:
        """Whether one is to be written after so many steps."""
        return done % self.every == 0 or done == steps

    def prepare(self) -> None:
        """Makes the folder, and `OSError` if it cannot be written to."""
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=self.folder, prefix=".fit."):
                pass
        except OSError as e:
            message = f"Checkpoints cannot be written: {e.strerror}"
            raise type(e)(e.errno, message, str(self.folder)) from e

    def save(self, state: PyTree, rows: list[dict[str, float]], key: PRNGKey) -> str | None:
        """Writes a checkpoint; what went wrong if it could not."""
        payload = io.BytesIO()
        eqx.tree_serialise_leaves(payload, state)
        body = payload.getvalue()
        header = {
            "key": _numbers(key),
            "leaves": _shapes(state),
            "rows": rows,
        }
        content = json.dumps(header).encode() + b"\n" + body
        try:
            _replace(self.file, _seal(content) + b"\n" + content)
        except OSError as e:
            message = f"The checkpoint {self.file} could not be written: {e.strerror}."
            if self.on_error == "stop":
                return message
            warnings.warn(f"{message} The fit goes on.", CheckpointWarning, stacklevel=3)
        return None

    def load(self, state: PyTree, key: PRNGKey) -> tuple[PyTree, list[dict[str, float]]] | None:
        """The state, with the structure of `state`, and the history; `None` if there is none.

        **Raises:** `ValueError` for a file that is damaged, or of another fit.
        """
        if not self.file.exists():
            return None
        seal, _, content = self.file.read_bytes().partition(b"\n")
        remove = "Remove it to begin anew."
        if seal != _seal(content):
            raise ValueError(f"The checkpoint {self.file} is damaged. {remove}")
        head, _, body = content.partition(b"\n")
        header = json.loads(head)
        for name, found, now in (
            ("key", header["key"], _numbers(key)),
            ("shapes and dtypes", header["leaves"], _shapes(state)),
        ):
            if found != now:
                raise ValueError(
                    f"The checkpoint {self.file} is of another fit, with the {name} {found} "
                    f"instead of {now}. {remove}"
                )
        return eqx.tree_deserialise_leaves(io.BytesIO(body), state), header["rows"]


def _seal(content: bytes) -> bytes:
    """What a whole checkpoint starts with."""
    return f"{_FORMAT} {hashlib.sha256(content).hexdigest()}".encode()


def _numbers(key: PRNGKey) -> list[int]:
    return jax.device_get(jr.key_data(key)).ravel().tolist()


def _shapes(state: PyTree) -> list[Any]:
    leaves = [leaf for leaf in jax.tree.leaves(state) if eqx.is_array(leaf)]
    return [[str(leaf.dtype), list(leaf.shape)] for leaf in leaves]


def _replace(file: Path, content: bytes) -> None:
    """Puts `content` in place of the file, all of it or nothing."""
    new = file.with_name(f".{file.name}.new")
    try:
        with open(new, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(new, file)
    except OSError:
        new.unlink(missing_ok=True)
        raise
