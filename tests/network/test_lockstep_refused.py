"""What the lockstep engine refuses."""

from typing import Any

import diffrax as dfx
import jax.numpy as jnp
import jax.random as jr
import pytest

import roughsnn as rs

from ..helpers import constant


class Quadratic(rs.AbstractLinearMembrane):
    """Calls itself linear and is not."""

    @property
    def rates(self):
        return jnp.asarray(1.0), jnp.asarray(1.0)

    def drift(self, v, i, drive):
        return v**2 + i + drive, -i

    def noise(self, v, i, dx):
        return dx[:, 0], dx[:, 0]

    def reset(self, v):
        return v - 1

    @property
    def channels(self):
        return 0

    def noisy_potential(self, v):
        return jnp.array(False)


class NoiseOfItsOwn(rs.AbstractLinearMembrane):
    """Decays linearly, with noise in proportion to v."""

    @property
    def rates(self):
        return jnp.asarray(1.0), jnp.asarray(1.0)

    def drift(self, v, i, drive):
        return drive - v, -i

    def noise(self, v, i, dx):
        return v * dx[:, 0], i

    def reset(self, v):
        return v - 1

    @property
    def channels(self):
        return 1

    def noisy_potential(self, v):
        return jnp.array(True)


def test_models_and_options_that_it_cannot_do():
    options: Any = dict(window=rs.Window(0.0, 0.2, 0.01), max_spikes=9, key=jr.key(0))
    firing = rs.StochasticFiring(rs.ExponentialIntensity())
    with pytest.raises(ValueError, match="affine in v, i and the drive.*EventByEvent"):
        rs.simulate(rs.SpikingNetwork(Quadratic(), firing), constant(1.0), **options)
    with pytest.raises(ValueError, match="noise that does not depend on v.*EventByEvent"):
        network = rs.SpikingNetwork(NoiseOfItsOwn(), firing, conditions="waive")
        rs.simulate(network, constant(1.0), **options)
    network = rs.SpikingNetwork(rs.LIF((5.0, 1.0)), firing)
    extras: Any = (dict(saveat=dfx.SaveAt(t1=True)), dict(solver=dfx.Heun()))
    for extra in extras:
        with pytest.raises(TypeError, match="unexpected keyword"):
            rs.Lockstep(**extra)
    engines: Any = ("lockstep", rs.Lockstep, dfx.Heun())
    for wrong in engines:
        with pytest.raises(TypeError, match=r"`engine` must be a roughsnn\.Lockstep or"):
            rs.simulate(network, constant(1.0), **options, engine=wrong)
