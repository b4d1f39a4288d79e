"""Strict arithmetic in float64, and keys from one seed."""

import jax
import jax.random as jr
import pytest

pytest_plugins = ["roughsnn.pytest_plugin"]

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture
def key():
    """A key that depends on nothing but this line."""
    return jr.key(5678)
