"""Delays that are none, and those that an engine cannot do."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import roughsnn as rs

from .test_delays import WEIGHTS, recurrent, simulated

WRONG = {
    "negative": (dict(delay=-0.1), "`delay` must not be negative"),
    "shape": (dict(delay=np.ones(3)), r"`delay` must be a number or have shape \(4,\) or \(4, 4\)"),
    "beyond": (dict(delay=0.2, max_delay=0.1), "`delay` must not exceed `max_delay`=0.1, got 0.2"),
    "no delay": (dict(max_delay=0.1), "`max_delay` goes with a `delay`"),
    "nan": (dict(delay=np.nan), "`delay` must be finite"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_delays(name):
    options, message = WRONG[name]
    with pytest.raises(ValueError, match=message):
        recurrent(WEIGHTS, **({"delay": None} | options))


def test_delays_that_an_engine_cannot_do():
    with pytest.raises(ValueError, match=r"at least dt0=0.01, got 0.004 in `projections\[0\]`"):
        simulated(recurrent(WEIGHTS, 0.004), rs.Lockstep())
    # The event engine stops at each arrival.
    assert int(simulated(recurrent(WEIGHTS, 0.004), rs.EventByEvent()).spikes.count) >= 3
    with pytest.raises(ValueError, match="give `max_delay`"):
        jax.jit(lambda d: rs.Projection("n", "n", WEIGHTS, delay=d).delay)(jnp.asarray(0.1))
