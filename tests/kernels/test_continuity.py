"""Is the mean pathwise gradient of an MMD the derivative of its mean?

Two neurons that fire once each; a shift of one makes them swap order, or leave the window."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import roughsnn as rs

from ..helpers import optimised

# Exact to 1e-5 with few derivatives, as the window is short.
SHORT: Any = dict(time_scale=0.5, order=3)
SIGNATURE = rs.SignatureKernel(0.5, **SHORT)
KERNELS: dict[str, rs.AbstractTrainKernel] = {
    "default": rs.losses.default_kernel(),
    "point": rs.PointKernel(),
    "lag": rs.LagKernel(),
    "per neuron": rs.PerNeuronKernel(SIGNATURE, 1),
    "ramp": rs.SignatureKernel(0.5, lifting=rs.RampLift(0.1), **SHORT),
    "ito": SIGNATURE,
    "marcus": rs.SignatureKernel(0.5, lifting=rs.MarcusLift(), **SHORT),
    "ordered": rs.OrderedKernel(0.1, height=1.0),
    "point, no taper": rs.PointKernel(taper=0.0),
    "per neuron, no taper": rs.PerNeuronKernel(rs.SignatureKernel(0.5, taper=0.0, **SHORT), 1),
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
H = 0.01
# All are compared with so few samples; one, with more, in a test of its own.
SAMPLES = 1024


@functools.cache
def gradients(name):
    """For each case: pathwise gradients of an MMD of 8 and 16 trains as the second spike is
    shifted, and differences with the same noise."""
    kernel, samples = KERNELS[name], 16 * SAMPLES if name == "default" else SAMPLES

    def case(start):
        data = model(start - 0.05, jr.key(7), 16)
        reference = rs.losses.Reference(data, kernel.fitted(data))

        def loss(s, key):
            x = model(start + s * jnp.array([0.0, 1.0]), key, 8)
            return rs.losses.mmd(x, reference, allow_jumps=True)

        def one(key):
            slope = jax.jvp(lambda s: loss(s, key), (0.0,), (1.0,))[1]
            steps = H * jnp.array([1.0, -1.0, 2.0, -2.0])
            return slope, jax.vmap(lambda s: loss(s, key))(steps)

        return jax.lax.map(one, jr.split(jr.key(1), samples), batch_size=64)

    # These two run for longer than they compile.
    compiled = optimised if name in ("default", "ramp") else jax.jit
    slopes, values = compiled(lambda starts: jax.lax.map(case, starts))(
        jnp.array(list(STARTS.values()))
    )
    gaps = np.asarray(values) @ np.array([8, -8, -1, 1]) / (12 * H)
    return {name: (np.asarray(slopes)[n], gaps[n]) for n, name in enumerate(STARTS)}


def mean_and_error(samples):
    return samples.mean(), samples.std(ddof=1) / len(samples) ** 0.5


@pytest.mark.slow
@pytest.mark.parametrize("name", KERNELS)
def test_the_mean_gradient(name):
    """Right within three standard errors, or the kernel says that it jumps, and it is wrong."""
    for case, (slope, gap) in gradients(name).items():
        size, noise = mean_and_error(gap[:SAMPLES])
        difference, error = mean_and_error((slope - gap)[:SAMPLES])
        assert abs(size) > 8 * noise
        if case in KERNELS[name].discontinuities(2):
            assert abs(difference) > 5 * error
        else:
            # The differences have an error of their own, of order four in a fifth of the jitter.
            assert abs(difference) < 3 * error + 0.002 * abs(size)


def test_the_ratio_of_the_default_loss():
    """Between 0.98 and 1.02."""
    for case, (slope, gap) in gradients("default").items():
        size = abs(gap.mean())
        ratio, error = slope.mean() / gap.mean(), mean_and_error(slope - gap)[1] / size
        print(case, ratio, error)
        assert error < 0.005
        assert 0.98 < ratio < 1.02


@pytest.mark.parametrize("name", ["ito", "point, no taper"])
def test_kernels_that_jump_refuse_to_be_differentiated(name):
    x = jax.jit(lambda: model(jnp.array([0.4, 0.43]), jr.key(0), 4))()

    def loss(times):
        moved = rs.SpikeTrain(times, x.marks, x.count, x.overflow, 0.0, 1.0, 2)
        return rs.losses.mmd(moved, x, kernel=KERNELS[name])

    assert np.isfinite(jax.jit(loss)(x.times))
    with pytest.raises(ValueError, match="allow_jumps=True"):
        jax.eval_shape(jax.grad(loss), x.times)
