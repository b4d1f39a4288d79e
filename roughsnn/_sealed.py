"""Files that say their format, and whether they are whole."""

import contextlib
import hashlib
import os
import re
import secrets
from pathlib import Path
from typing import NamedTuple

_SEAL = re.compile(rb"roughsnn [a-z]+ (\d{1,9}) [0-9a-f]{64}")


class Seal(NamedTuple):
    """The line that a file of this kind and format begins or ends with.

    Files of all formats have one, so that a file of a later format is told from a damaged one.
    """

    kind: str
    format: int

    def of(self, content: bytes) -> bytes:
        """The seal of a content: kind, format and a digest of all of it."""
        start = f"roughsnn {self.kind} {self.format} ".encode()
        return start + hashlib.sha256(start + content).hexdigest().encode()

    def check(self, seal: bytes, content: bytes) -> str | None:
        """What is wrong with a file of this seal and content, as the end of a sentence."""
        found = _SEAL.fullmatch(seal)
        number = -1 if found is None else int(found[1])
        if Seal(self.kind, number).of(content) != seal:
            return f"is damaged, or is not a {self.kind} of roughsnn"
        if number == self.format:
            return None
        formats = f"(format {number}; this one reads {self.format})"
        if number > self.format:
            return f"was written by a later version of roughsnn {formats}: update roughsnn"
        return f"was written by an earlier version of roughsnn {formats}"


def replace(file: Path, content: bytes) -> None:
    """Puts `content` in place of the file, all of it or nothing.

    Each call writes to a file of its own: of two processes, the one that ends last wins.
    """
    # Not a file of `tempfile`, which nobody else may read.
    new = file.with_name(f"{temporary_prefix(file)}{secrets.token_hex(8)}")
    try:
        with open(new, "xb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(new, file)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(new)
        raise


def temporary_prefix(file: Path) -> str:
    """How the names of the files begin that `replace` writes first."""
    return f".{file.name}."
