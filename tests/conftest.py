"""Strict arithmetic in float64, and keys from one seed."""

import ctypes
import gc
import os
from pathlib import Path

# Most of a test's time is compilation; flags of the caller come last, and win. The examples
# run with XLA's defaults.
_QUICK = (
    "--xla_cpu_use_fusion_emitters=false --xla_backend_optimization_level=0 "
    "--xla_cpu_parallel_codegen_split_count=1"
)
os.environ["XLA_FLAGS"] = f"{_QUICK} {os.environ.get('XLA_FLAGS', '')}"
# Tracing makes so many objects that looking for cycles among them took a tenth of the time.
gc.set_threshold(100_000, 20, 20)

import jax  # noqa: E402
import jax.random as jr  # noqa: E402
import pytest  # noqa: E402

pytest_plugins = ["roughsnn.pytest_plugin"]

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture
def key():
    """A key that depends on nothing but this line."""
    return jr.key(5678)


@pytest.fixture(autouse=True)
def bounded_memory():
    """What JAX compiled is given up where a process holds more than 3 GiB, if /proc can tell."""
    yield
    statm = Path("/proc/self/statm")
    if not statm.exists():
        return
    pages = int(statm.read_text().split()[1])
    if pages * os.sysconf("SC_PAGE_SIZE") > 3 * 2**30:
        jax.clear_caches()
        gc.collect()
        # Back to the system, not only to the allocator.
        getattr(ctypes.CDLL(None), "malloc_trim", int)(0)
