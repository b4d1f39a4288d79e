"""One script on one device, on several, and as two processes: the same numbers."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

SCRIPT = Path(__file__).parents[2] / "examples" / "devices.py"


def start(out: Path, devices: int, *arguments: str) -> subprocess.Popen:
    flags = f"--xla_force_host_platform_device_count={devices}"
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    environment["XLA_FLAGS"] = " ".join([os.environ.get("XLA_FLAGS", ""), flags])
    command = [sys.executable, str(SCRIPT), "--x64", "--out", str(out), *arguments]
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)


def finish(*processes: subprocess.Popen):
    try:
        for process in processes:
            assert process.wait(timeout=240) == 0
    finally:
        for process in processes:
            process.kill()


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    out = tmp_path_factory.mktemp("alone") / "one.json"
    finish(start(out, 1))
    return json.loads(out.read_text())


def check(found: dict, alone: dict):
    for shared in ("samples", "neurons"):
        for name, value in alone["samples"].items():
            np.testing.assert_allclose(found[shared][name], value, rtol=1e-9, err_msg=name)


def test_samples_or_neurons_on_one_device(alone):
    assert alone["devices"] == alone["processes"] == 1
    check(alone, alone)


@pytest.mark.slow
def test_four_devices(alone, tmp_path):
    out = tmp_path / "four.json"
    finish(start(out, 4))
    found = json.loads(out.read_text())
    assert found["devices"] == 4
    check(found, alone)


@pytest.mark.slow
def test_two_processes(alone, tmp_path):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    outs = [tmp_path / f"{n}.json" for n in range(2)]
    finish(
        *(
            start(out, 1, "--coordinator", address, "--processes", "2", "--process", str(n))
            for n, out in enumerate(outs)
        )
    )
    for out in outs:
        found = json.loads(out.read_text())
        assert (found["devices"], found["processes"]) == (2, 2)
        check(found, alone)
