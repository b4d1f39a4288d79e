"""Is the mean pathwise gradient of an MMD the derivative of its mean?

Two neurons that fire once each; a shift of one makes them swap order, or leave the window."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import roughsnn as rs

from ..helpers import standard_error

SIGNATURE = rs.SignatureKernel(0.5, order=4)
KERNELS: dict[str, rs.AbstractTrainKernel] = {
    "default": rs.losses.default_kernel(),
    "point": rs.PointKernel(),
    "lag": rs.LagKernel(),
    "per neuron": rs.PerNeuronKernel(SIGNATURE),
    "ramp": rs.SignatureKernel(0.5, lifting=rs.RampLift(0.1), order=4),
    "ito": SIGNATURE,
    "marcus": rs.SignatureKernel(0.5, lifting=rs.MarcusLift(), order=4),
    "ordered": rs.OrderedKernel(0.1, height=1.0),
    "point, no taper": rs.PointKernel(taper=0.0),
    "per neuron, no taper": rs.PerNeuronKernel(rs.SignatureKernel(0.5, taper=0.0, order=4)),
}


def model(shift, key, samples):
    """Spikes of two neurons at the shifts, with jitter; late ones are not seen."""
    times = shift[None] + 0.05 * jr.normal(key, (samples, 2))
    order = jnp.argsort(jax.lax.stop_gradient(times), axis=1)
    times = jnp.take_along_axis(times, order, 1)
    there = times < 1
    return rs.SpikeTrain(
        jnp.where(there, times, jnp.inf),
        jnp.where(there, order, -1).astype(jnp.int32),
        jnp.sum(there, 1, dtype=jnp.int32),
        jnp.zeros(samples, bool),
        0.0,
        1.0,
        2,
    )


STARTS = {"swap": [0.4, 0.43], "exit": [0.3, 0.98]}


def gradients(kernel, keys):
    """For each case: pathwise gradients of an MMD of 8 and 16 trains as the second spike is
    shifted, and differences with the same noise."""

    def case(start):
        data = model(start - 0.05, jr.key(7), 16)
        fitted = kernel.fitted(data)

        def loss(s, key):
            x = model(start + s * jnp.array([0.0, 1.0]), key, 8)
            return rs.losses.mmd(x, data, kernel=fitted, allow_jumps=True)

        def one(key):
            slope = jax.jvp(lambda s: loss(s, key), (0.0,), (1.0,))[1]
            h = 0.01
            gap = lambda k: loss(k * h, key) - loss(-k * h, key)
            return slope, (8 * gap(1) - gap(2)) / (12 * h)

        return jax.lax.map(one, keys, batch_size=64)

    both = jax.jit(lambda: jax.lax.map(case, jnp.array(list(STARTS.values()))))()
    return {name: [z[n] for z in both] for n, name in enumerate(STARTS)}


@pytest.mark.parametrize("name", KERNELS)
def test_the_mean_gradient(name):
    """Right within three standard errors, or the kernel says that it jumps, and it is wrong."""
    kernel = KERNELS[name]
    for case, (slope, gap) in gradients(kernel, jr.split(jr.key(1), 1024)).items():
        error, size = standard_error(slope - gap), float(jnp.mean(gap))
        assert abs(size) > 8 * standard_error(gap)
        difference = float(jnp.mean(slope - gap))
        if case in kernel.jumps(2):
            assert abs(difference) > 5 * error
        else:
            # The differences have an error of their own, of order four in a fifth of the jitter.
            assert abs(difference) < 3 * error + 0.002 * abs(size)


def test_the_ratio_of_the_default_loss():
    """Between 0.98 and 1.02."""
    for case, (slope, gap) in gradients(KERNELS["default"], jr.split(jr.key(2), 16384)).items():
        ratio = float(jnp.mean(slope) / jnp.mean(gap))
        error = float(standard_error(slope - gap) / abs(jnp.mean(gap)))
        print(case, ratio, error)
        assert error < 0.005
        assert 0.98 < ratio < 1.02


@pytest.mark.parametrize("name", ["ito", "point, no taper"])
def test_kernels_that_jump_refuse_to_be_differentiated(name):
    x = model(jnp.array([0.4, 0.43]), jr.key(0), 4)

    def loss(times):
        moved = rs.SpikeTrain(times, x.marks, x.count, x.overflow, 0.0, 1.0, 2)
        return rs.losses.mmd(moved, x, kernel=KERNELS[name])

    assert np.isfinite(loss(x.times))
    with pytest.raises(ValueError, match="allow_jumps=True"):
        jax.grad(loss)(x.times)
