"""Programs that are taken from disk, and those that are exported."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import roughsnn as rs

from .test_compiled_once import values

CACHED = """
import sys, time, jax, jax.numpy as jnp, roughsnn as rs
jax.config.update("jax_compilation_cache_dir", sys.argv[1])
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
asked, found = [], []
def listen(name, **_):
    if name.endswith("compile_requests_use_cache"):
        asked.append(name)
    if name.endswith("cache_hits"):
        found.append(name)
jax.monitoring.register_event_listener(listen)
three = rs.Population(
    3,
    rs.neurons.LIF(1 / 6, rs.Subtract(1.2), 0.25),
    rs.StochasticFiring(rs.ExponentialIntensity(), 0.03),
    ports={"syn": rs.synapses.Exponential(0.2, 0.1)},
)
network = rs.SpikingNetwork(three, weights=jnp.zeros((3, 3)))
def total(drive):
    key, window = jax.random.key(0), rs.Window(0.0, 1.0, 0.02)
    sim = rs.simulate(network, drive, window, key=key, max_spikes=60, throw=False)
    return jnp.sum(jnp.where(jnp.isfinite(sim.spikes.times), sim.spikes.times, 0.0))
print(jax.jit(jax.value_and_grad(total))(jnp.full(3, 1.5))[0])
# And an eager call that throws.
key, window = jax.random.key(0), rs.Window(0.0, 1.0, 0.02)
rs.simulate(network, jnp.full(3, 1.5), window, key=key, max_spikes=60)
print(len(asked), len(found))
"""


@pytest.mark.slow
def test_another_process_takes_the_programs_from_disk(tmp_path):
    """All of them, also that of an eager call which throws."""

    def run():
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", CACHED, str(tmp_path)],
            capture_output=True,
            text=True,
            check=True,
        )
        value, asked, found = done.stdout.split()
        return value, int(asked), int(found)

    value, asked, found = run()
    assert found < asked
    assert run() == (value, asked, asked)


@pytest.mark.slow
def test_programs_can_be_exported():
    net, drive, key = values(1.0)

    @jax.jit
    def total(drive):
        sim = rs.simulate(
            net, drive, window=rs.Window(0.0, 1.0, 0.02), max_spikes=60, key=key, throw=False
        )
        return jnp.sum(jnp.where(jnp.isfinite(sim.spikes.times), sim.spikes.times, 0.0))

    exported = jax.export.export(total)(drive)
    np.testing.assert_allclose(exported.call(drive), total(drive), rtol=1e-12)
