"""Intensities and their logarithms."""

import jax
import numpy as np
import pytest

import roughsnn as rs


@pytest.mark.parametrize(
    "intensity", [rs.ExponentialIntensity(4.0, 1.0, 0.5), rs.SoftplusIntensity(4.0, 1.0, 0.5)]
)
def test_the_logarithm_of_an_intensity(intensity):
    @jax.jit
    def of(v):
        return intensity(v), intensity.log(v), jax.vmap(jax.grad(intensity.log))(v)

    # The last two are where it rounds to 0.
    v = np.array([-5.0, 0.3, 1.0, 2.0, 9.0, -9.0, -400.0, -1e6])
    rate, log, slope = jax.device_get(of(v))
    np.testing.assert_allclose(log[:6], np.log(rate[:6]), rtol=1e-12)
    assert np.all(rate[6:] == 0)
    np.testing.assert_allclose(slope[6:], 4.0)
    level = log[5] - 4.0 * -9.0
    np.testing.assert_allclose(log[6:], level + 4 * v[6:], rtol=1e-12)
