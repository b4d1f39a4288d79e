"""Events that leave the event function at 0, and states that overflow."""

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


def test_an_overflow_is_called_that():
    """And not a grazing event, where the state is nan on both sides of the threshold."""
    grows = dfx.ODETerm(lambda t, y, args: jnp.exp(40 * y))
    event = rs.Event(lambda t, y, args: y - 20.0, lambda t, y, args, k, u: 0 * y)
    window, engine = rs.Window(0.0, 2.0, 0.5), rs.EventByEvent(solver=dfx.Heun())
    with pytest.raises(RuntimeError, match="became inf or nan"):
        rs.eventsolve(
            grows, window, jnp.ones(1), event=event, max_events=9, key=jr.key(0), engine=engine
        )
