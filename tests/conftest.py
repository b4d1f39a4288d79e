"""Strict arithmetic in float64, and keys from one seed."""

import ctypes
import gc
import os
from pathlib import Path

from .xla_flags import quick_flags

# Most of a test's time is compilation; flags of the caller come last, and win. The examples
# run with XLA's defaults. Workers inherit what their parent has found.
if "PYTEST_XDIST_WORKER" not in os.environ:
    os.environ["XLA_FLAGS"] = f"{quick_flags()} {os.environ.get('XLA_FLAGS', '')}"
# Tracing makes so many objects that looking for cycles among them took a tenth of the time.
gc.set_threshold(100_000, 20, 20)

import jax  # noqa: E402
import jax.random as jr  # noqa: E402
import pytest  # noqa: E402

pytest_plugins = ["roughsnn.pytest_plugin"]

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")


def pytest_addoption(parser):
    parser.addoption(
        "--turn",
        type=int,
        help="of the slow tests run every fourth only, from this one, 1 to 4, on",
    )


def pytest_collection_modifyitems(config, items):
    """What one parametrizes follows one another, so that a part of it is in each quarter."""
    turn = config.getoption("--turn")
    if turn is None:
        return
    slow = [item for item in items if item.get_closest_marker("slow")]
    later = {item for n, item in enumerate(slow) if (n + 1 - turn) % 4}
    config.hook.pytest_deselected(items=list(later))
    items[:] = [item for item in items if item not in later]


@pytest.fixture
def key():
    """A key that depends on nothing but this line."""
    return jr.key(5678)


# Compiled programs are large, and each takes several of the memory maps that a process may have
# (without them it dies in the compiler). A worker may hold half of the maps, and its share of half
# of the machine.
_WORKERS = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
_BYTES = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // (2 * _WORKERS)
_PROC = Path("/proc")


def _holds_too_much() -> bool:
    try:
        pages = int((_PROC / "self/statm").read_text().split()[1])
        maps = (_PROC / "self/maps").read_bytes().count(b"\n")
        most = int((_PROC / "sys/vm/max_map_count").read_text()) // 2
    except OSError:
        return False
    return pages * os.sysconf("SC_PAGE_SIZE") > _BYTES or maps > most


@pytest.fixture(autouse=True)
def bounded_memory():
    """What JAX compiled is given up where a process holds too much of it, if /proc can tell."""
    yield
    if _holds_too_much():
        jax.clear_caches()
        gc.collect()
        # Back to the system, not only to the allocator.
        getattr(ctypes.CDLL(None), "malloc_trim", int)(0)
