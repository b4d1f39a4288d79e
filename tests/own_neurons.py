"""Neurons and a synapse as users write them, none of them linear."""

import jax.numpy as jnp
from jaxtyping import Array, Float

import roughsnn as rs


class Theta(rs.AbstractNeuron):
    """Quadratic, with steps in the tangent of a quarter of its angle."""

    tau: Float[Array, "*neurons"]
    bottom: Float[Array, "*neurons"]

    def initial(self):
        return {"v": jnp.full_like(self.tau, -1.0)}

    def drift(self, t, x, current):
        return {"v": (x["v"] ** 2 + current) / self.tau}

    def spike(self, x):
        return {"v": self.bottom + 0 * x["v"]}

    def potential(self, x):
        return x["v"]

    def coordinate(self, v):
        return v / (1 + jnp.sqrt(1 + v**2))

    def from_coordinate(self, z):
        return 2 * z / (1 - z**2)


class Cubic(rs.AbstractNeuron):
    """A restoring force of third order, a recovery variable, and noise."""

    tau: Float[Array, "*neurons"]
    cubic: Float[Array, "*neurons"]
    sigma: Float[Array, "*neurons"]

    def initial(self):
        return {"v": jnp.zeros(()), "w": jnp.zeros(())}

    def drift(self, t, x, current):
        v, w = x["v"], x["w"]
        return {
            "v": (current - v - self.cubic * v**3 - w) / self.tau,
            "w": (jnp.sin(v) - w) / (2 * self.tau),
        }

    def noise(self, x, dw):
        return {"v": self.sigma * dw[0], "w": 0 * x["w"]}

    @property
    def channels(self):
        return 1

    def spike(self, x):
        return {"v": x["v"] - 1, "w": x["w"] + 0.1}

    def potential(self, x):
        return x["v"]


class Plain(rs.AbstractNeuron):
    """A leaky neuron that does not say that it is linear, and may read the time."""

    tau: Float[Array, "*neurons"]
    wave: Float[Array, "*neurons"]

    def initial(self):
        return {"v": jnp.zeros(())}

    def drift(self, t, x, current):
        return {"v": (current + self.wave * jnp.sin(7 * t) - x["v"]) / self.tau}

    def spike(self, x):
        return {"v": x["v"] - 1}

    def potential(self, x):
        return x["v"]


class OnlyV(rs.AbstractNeuron):
    """Without the recovery variable."""

    inner: Cubic

    def initial(self):
        return {"v": jnp.zeros(())}

    def _with_w(self, x):
        return {"v": x["v"], "w": jnp.zeros_like(x["v"])}

    def drift(self, t, x, current):
        return {"v": self.inner.drift(t, self._with_w(x), current)["v"]}

    def noise(self, x, dw):
        return {"v": self.inner.noise(self._with_w(x), dw)["v"]}

    @property
    def channels(self):
        return 1

    def spike(self, x):
        return x

    def potential(self, x):
        return x["v"]


class Gate(rs.AbstractConductance):
    """A conductance with a reversal potential."""

    kernel: rs.synapses.Exponential
    reversal: Float[Array, "*neurons"]

    def flow(self, conductance, v):
        return conductance * (self.reversal - v)
