"""On one device, on several, and as two processes: the same numbers."""

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


@pytest.mark.slow
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


@pytest.mark.slow
def test_samples_in_shard_map():
    """The batch shared out over two devices of the host is the batch on one."""
    code = """
import jax, jax.numpy as jnp, jax.random as jr
jax.config.update("jax_enable_x64", True)
from jax.sharding import PartitionSpec as P
import roughsnn as rs

pair = rs.Population(
    2, rs.neurons.LIF(0.1, rs.Subtract(1.2), 0.3), rs.StochasticFiring(rs.ExponentialIntensity()),
    ports={"syn": rs.synapses.Exponential(0.2, 0.1)},
)
network = rs.SpikingNetwork(pair, weights=jnp.array([[0.0, 0.5], [-0.3, 0.0]]))

def loss(scale, keys):
    def one(key):
        train = rs.simulate(
            network, scale * jnp.array([1.5, 1.2]), rs.Window(0.0, 0.5, 0.01),
            max_spikes=40, key=key,
        ).spikes
        return jnp.sum(jnp.where(train.marks >= 0, train.times, 0) ** 2)
    return jnp.mean(jax.vmap(one)(keys))

assert jax.device_count() == 2
mesh = jax.make_mesh((2,), ("samples",), axis_types=(jax.sharding.AxisType.Auto,))
shared = jax.shard_map(
    lambda scale, keys: jax.lax.pmean(loss(scale, keys), "samples"),
    mesh=mesh, in_specs=(P(), P("samples")), out_specs=P(), check_vma=False,
)
keys = jr.split(jr.key(0), 6)
a, b = (jax.jit(jax.value_and_grad(f))(jnp.asarray(1.0), keys) for f in (loss, shared))
assert jnp.allclose(a[0], b[0], rtol=1e-12) and jnp.allclose(a[1], b[1], rtol=1e-10), (a, b)
"""
    flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=2", "JAX_PLATFORMS": "cpu"}
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, **flags})
