"""A lock on a folder, which ends with the process that holds it."""

import contextlib
import errno
import json
import os
import socket
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

_Lock: TypeAlias = Callable[[int], None]
# Windows lets nobody read the bytes that are locked: the lock is on one far behind the text.
_FAR = 2**30


def _system_lock() -> tuple[_Lock, _Lock] | None:
    """What takes the lock of an open file, or raises `OSError`, and what gives it back.

    They belong to the open file, so that two fits of one process exclude each other too.
    """
    try:
        import fcntl
    except ImportError:
        return _windows_lock()
    take = lambda handle: fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return take, lambda handle: fcntl.flock(handle, fcntl.LOCK_UN)


def _windows_lock() -> tuple[_Lock, _Lock] | None:
    try:
        import msvcrt
    except ImportError:
        return None

    def lock(handle: int, how: str) -> None:
        os.lseek(handle, _FAR, os.SEEK_SET)
        getattr(msvcrt, "locking")(handle, getattr(msvcrt, how), 1)  # noqa: B009

    return lambda handle: lock(handle, "LK_NBLCK"), lambda handle: lock(handle, "LK_UNLCK")


@contextlib.contextmanager
def locked(file: Path, category: type[Warning]) -> Iterator[None]:
    """Holds the lock of a file, which is made for it, and stays.

    **Raises:** `BlockingIOError` if another process, or another fit of this one, holds it. Warns
    where the system or the file system has no locks.
    """
    handle = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        release = _take(handle, file, category)
        try:
            yield
        finally:
            # Explicitly: a process that was forked in between has the file open as well.
            with contextlib.suppress(OSError):
                release(handle)
    finally:
        os.close(handle)


def _take(handle: int, file: Path, category: type[Warning]) -> _Lock:
    system = _system_lock()
    reason = "this system has none"
    try:
        if system is not None:
            system[0](handle)
            _sign(handle)
            return system[1]
    except OSError as e:
        if e.errno in (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES, errno.EDEADLK):
            raise BlockingIOError(
                f"Another fit writes its checkpoints to {file.parent}: {_holder(handle)} holds "
                f"the lock {file.name}. Wait until it has ended, or end it (the lock ends with "
                "it, however that ends), or give this fit a folder of its own."
            ) from None
        reason = e.strerror or str(e)
    message = (
        f"The folder {file.parent} could not be locked ({reason}): see to it that no other fit "
        "writes its checkpoints there."
    )
    warnings.warn(message, category, stacklevel=6)
    return lambda handle: None


def _sign(handle: int) -> None:
    """Writes who holds the lock; that it is held does not depend on it."""
    who = json.dumps({"host": socket.gethostname(), "process": os.getpid()}).encode()
    with contextlib.suppress(OSError):
        os.ftruncate(handle, 0)
        os.lseek(handle, 0, os.SEEK_SET)
        os.write(handle, who)


def _holder(handle: int) -> str:
    try:
        os.lseek(handle, 0, os.SEEK_SET)
        who = json.loads(os.read(handle, 1000))
        host, process = str(who["host"]), int(who["process"])
    except (OSError, ValueError, TypeError, KeyError):
        return "a process that did not give its name"
    if (host, process) == (socket.gethostname(), os.getpid()):
        return f"process {process} on {host}, which is this one,"
    return f"process {process} on {host} (or one that it started)"
