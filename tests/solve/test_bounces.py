"""Events that leave the event function at 0, and states that overflow."""

from typing import Any

import diffrax as dfx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import roughsnn as rs

GRAVITY, KEPT = 9.81, 0.8
FALL = dfx.ODETerm(lambda t, y, args: (y[1], jnp.full_like(y[1], -GRAVITY)))
# The height stays what it is at the bounce: zero to within rounding, on either side of it.
BOUNCE = rs.Event(lambda t, y, args: -y[0][None], lambda t, y, args, k, u: (y[0], -KEPT * y[1]))


def fallen(height, dtype, solver):
    engine = rs.EventByEvent(solver=solver)
    start = jnp.asarray(height, dtype), jnp.zeros((), dtype)
    window = rs.Window(0.0, 2.0, 0.01)
    return rs.eventsolve(
        FALL, window, start, event=BOUNCE, max_events=9, key=jr.key(0), engine=engine
    )


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
@pytest.mark.parametrize("solver", [dfx.Tsit5(), dfx.Heun()])
def test_a_ball_that_bounces(solver, dtype):
    """As often as it must, from each of many heights; the n-th bounce is at
    sqrt(2 h / g) (1 + 2 (k + k^2 + ...)), whose derivative in h is that over 2 h."""
    heights = jnp.linspace(0.5, 2.4, 40, dtype=dtype)

    @jax.jit
    def run(heights):
        times = lambda h: fallen(h, dtype, solver).event_times
        slope = lambda h: jax.jvp(times, (h,), (jnp.ones((), dtype),))
        return jax.vmap(slope)(heights)

    times, slopes = (np.asarray(x, float) for x in run(heights))
    heights = np.asarray(heights, float)[:, None]
    series = 1 + 2 * np.append(0, np.cumsum(KEPT ** np.arange(1, 9)))
    expected = np.sqrt(2 * heights / GRAVITY) * series
    bounces = expected < 2.0
    assert not np.any(np.abs(expected - 2) < 1e-4) and 2 <= bounces.sum(1).min()
    np.testing.assert_array_equal(np.isfinite(times), bounces)
    tolerance = 1e-10 if dtype == jnp.float64 else 2e-5
    np.testing.assert_allclose(times[bounces], expected[bounces], rtol=tolerance)
    derivative = expected / (2 * heights)
    np.testing.assert_allclose(slopes[bounces], derivative[bounces], rtol=30 * tolerance)


def adex(solver, dt0, peak=0.0):
    """An adaptive exponential neuron (mV, ms) that spikes at its peak, far up its upstroke."""

    def field(t, y, args):
        v, w = y
        rise = -30 * (v + 70.6) + 60 * jnp.exp((v + 50.4) / 2) - w + 1000.0
        return rise / 281, (4 * (v + 70.6) - w) / 144

    reset = lambda t, y, args, k, u: (jnp.full_like(y[0], -70.6), y[1] + 80.5)
    event = rs.Event(lambda t, y, args: y[0][None] - peak, reset)
    start, engine = (jnp.array(-70.6), jnp.array(0.0)), rs.EventByEvent(solver=solver)
    call: Any = dict(event=event, max_events=9, key=jr.key(0), engine=engine)
    return rs.eventsolve(dfx.ODETerm(field), rs.Window(0.0, 100.0, dt0), start, **call)


@pytest.mark.slow
def test_a_state_that_grows_without_bounds():
    """A step that ends at 1e17 behind the threshold crosses it, and does not touch it; one that
    overflows is called that."""
    # From -40 mV the upstroke takes less than a tenth of a millisecond.
    coarse, fine = adex(dfx.Midpoint(), 0.05), adex(dfx.Tsit5(), 0.01, -40.0)
    assert int(coarse.event_count) == int(fine.event_count) == 5
    np.testing.assert_allclose(coarse.event_times[:5], fine.event_times[:5], atol=0.5)
    with pytest.raises(RuntimeError, match="became inf or nan"):
        adex(dfx.Midpoint(), 0.25)
