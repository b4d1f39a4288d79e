"""A folder of checkpoints is that of one fit at a time."""

import contextlib
import errno
import json
import os
import signal
import socket
import subprocess
import sys
import threading

import numpy as np
import pytest

import roughsnn as rs
from roughsnn._fit import lock
from roughsnn._sealed import replace

from .test_checkpoint import run, same, whole

# As light as Python gets: no JAX.
HOLD = """
import importlib.util, os, sys, time
spec = importlib.util.spec_from_file_location("lock", sys.argv[1])
lock = importlib.util.module_from_spec(spec)
spec.loader.exec_module(lock)
from pathlib import Path
with lock.locked(Path(sys.argv[2]), UserWarning):
    print("held", flush=True)
    time.sleep(60)
"""
FORK = HOLD.replace(
    'print("held", flush=True)',
    "pid = os.fork()\n    if pid:\n        print(pid, flush=True)\n        sys.exit()",
)


@contextlib.contextmanager
def holder(folder, code=HOLD):
    """A process that holds the lock of a folder, and what it prints first."""
    command = [sys.executable, "-c", code, lock.__file__, str(folder / "fit.lock")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            yield process, process.stdout.readline().decode().strip()
        finally:
            process.kill()


def is_free(folder):
    with lock.locked(folder / "fit.lock", UserWarning):
        return True


def test_a_second_process_is_refused_until_the_first_is_killed(tmp_path):
    with holder(tmp_path) as (process, said):
        assert said == "held"
        with pytest.raises(BlockingIOError) as refused:
            run(rs.Checkpoint(tmp_path))
        message = str(refused.value)
        assert f"writes its checkpoints to {tmp_path}" in message
        assert f"process {process.pid} on {socket.gethostname()}" in message
        assert "Wait until it has ended, or end it" in message and "a folder of its own" in message
        assert not (tmp_path / "fit.checkpoint").exists()
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    # What is left is a file that names a dead process, and no lock.
    assert json.loads((tmp_path / "fit.lock").read_text())["process"] == process.pid
    same(run(rs.Checkpoint(tmp_path)), whole())
    assert json.loads((tmp_path / "fit.lock").read_text())["process"] == os.getpid()


def test_a_child_does_not_keep_the_lock_of_a_fit_that_has_ended(tmp_path):
    """The file is open in a process that was forked meanwhile, and its lock is shared."""
    with holder(tmp_path, FORK) as (process, child):
        try:
            assert process.wait() == 0 and is_free(tmp_path)
        finally:
            os.kill(int(child), signal.SIGKILL)


def test_a_second_fit_of_this_process_is_refused(tmp_path):
    """From a callback, or from another thread."""
    checkpoint, refused = rs.Checkpoint(tmp_path, every=5), []

    def second():
        try:
            run(checkpoint)
        except BlockingIOError as e:
            refused.append(str(e))

    def callback(step, model, metrics):
        if step == 7:
            second()
        if step == 8:
            thread = threading.Thread(target=second)
            thread.start()
            thread.join()

    same(run(checkpoint, callback=callback), whole())
    assert len(refused) == 2 and all("which is this one" in message for message in refused)


class Stop(BaseException):
    """Nothing that a program catches by accident."""


def interrupt(step, model, metrics):
    """As a user does, also where a shell has the tests ignore it, as those in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        os.kill(os.getpid(), signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)


def fail(step, model, metrics):
    raise Stop


def broken(model, data, key):
    raise RuntimeError("broken")


@pytest.mark.parametrize(
    "options, error",
    [
        (dict(callback=interrupt), KeyboardInterrupt),
        (dict(callback=fail), Stop),
        (dict(callback=lambda step, model, metrics: True), None),
        (dict(losses=broken), RuntimeError),
        (dict(key=1), ValueError),
        (dict(steps=3), ValueError),
        (dict(data=np.full(3, np.nan)), ValueError),
    ],
    ids=["interrupt", "exception", "callback", "loss", "other fit", "fewer steps", "nan"],
)
def test_however_a_fit_ends_the_folder_is_free(tmp_path, options, error):
    first = rs.Checkpoint(tmp_path)
    if error is ValueError:
        run(first)
    if error is None:
        run(first, **options)
    else:
        with pytest.raises(error):
            run(first, **options)
    assert is_free(tmp_path)


@pytest.mark.parametrize("reason", ["no locks", "no locks here"])
def test_without_locks_the_fit_warns_and_goes_on(tmp_path, monkeypatch, reason):
    def refuse(handle):
        raise OSError(errno.ENOLCK, reason)

    system = None if reason == "no locks" else (refuse, refuse)
    monkeypatch.setattr(lock, "_system_lock", lambda: system)
    why = "this system has none" if system is None else reason
    with pytest.warns(rs.CheckpointWarning, match=rf"{tmp_path} could not be locked \({why}\)"):
        same(run(rs.Checkpoint(tmp_path)), whole())


@pytest.mark.parametrize("text", ["", "{", "[]", '{"host": "a", "process": "b"}', "null"])
def test_a_lock_without_a_name(tmp_path, text):
    with holder(tmp_path):
        (tmp_path / "fit.lock").write_text(text)
        with pytest.raises(BlockingIOError, match="a process that did not give its name"):
            is_free(tmp_path)


def test_two_writers_do_not_share_a_file(tmp_path, monkeypatch):
    """Where there are no locks: one writes while the other is about to put its own in place."""
    file, names, move = tmp_path / "file", [], os.replace

    def meanwhile(new, old):
        names.append(new)
        if len(names) == 1:
            replace(file, b"second")
        move(new, old)

    monkeypatch.setattr(os, "replace", meanwhile)
    replace(file, b"first")
    assert len(set(names)) == 2 and file.read_bytes() == b"first"
    assert list(tmp_path.iterdir()) == [file]


def test_a_writer_that_is_interrupted_leaves_nothing(tmp_path, monkeypatch):
    def stop(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", stop)
    with pytest.raises(KeyboardInterrupt):
        replace(tmp_path / "file", b"content")
    assert not list(tmp_path.iterdir())
