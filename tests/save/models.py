"""Models of all kinds, and of classes of one's own."""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import paramax

import roughsnn as rs


class Quadratic(rs.AbstractMembrane):
    """dv/dt = (v² + c) / tau, a membrane of one's own."""

    tau: jax.Array
    gain: Callable[[jax.Array], jax.Array]
    cap: float = eqx.field(static=True, default=8.0)

    def drift(self, v, i, drive):
        return (jnp.minimum(self.gain(v), self.cap) + i + drive) / self.tau, -i

    def noise(self, v, i, dx):
        return 0 * v, 0 * i

    def reset(self, v):
        return 0 * v

    @property
    def channels(self):
        return 0

    def noisy_potential(self, v):
        return jnp.asarray(False)


class Pair(NamedTuple):
    first: Any
    second: Any


class Squared(eqx.Module):
    """A function as a module."""

    scale: jax.Array

    def __call__(self, x):
        return self.scale * x**2


def single(x) -> jax.Array:
    return jnp.asarray(x, jnp.float32)


LIF = rs.LIF((15.0, 6.0), [[0.2, 0.0], [0.0, 0.1]], 1.4)
SOFTPLUS = rs.StochasticFiring(rs.SoftplusIntensity(rate=2.0), 0.1)
MATRIX = np.array([[0.0, 1.0, 0.5], [0.2, 0.0, 0.0], [0.1, 0.3, 0.0]])
SPARSE = rs.SparseWeights.from_dense(MATRIX)
SIGNED = MATRIX * np.array([1.0, -1.0, 1.0])[:, None]
EXCITATORY = np.array([True, False, True])
NETWORK = rs.SpikingNetwork(LIF, SOFTPLUS, MATRIX)
TRAIN = rs.SpikeTrain.from_lists(
    [[0.1, 0.2], [0.15], []], t0=0.0, t1=1.0, max_spikes=5, origin=1.7e9 + 1 / 3
)
NEURONS = rs.LIF((np.array([15.0, 14.0, 13.0]), np.array([6.0, 5.0, 4.0])))
MODELS: dict[str, Any] = {
    "lif": LIF,
    "lif without noise": rs.LIF((15.0, 6.0)),
    "lif of three neurons": NEURONS,
    "multiplicative": rs.MultiplicativeLIF((15.0, 6.0), [[0.2], [0.0]]),
    "multiplicative, tanh": rs.MultiplicativeLIF((15.0, 6.0), [[0.2], [0.0]], 0.0, jnp.tanh),
    "threshold": rs.ThresholdFiring(1.0),
    "softplus": SOFTPLUS,
    "exponential": rs.StochasticFiring(rs.ExponentialIntensity(4.0, cap=np.inf)),
    "network": NETWORK,
    "uncoupled": rs.SpikingNetwork(LIF, SOFTPLUS),
    "masked": rs.SpikingNetwork(LIF, SOFTPLUS, MATRIX * 0, MATRIX > 0),
    "waived": rs.SpikingNetwork(LIF, rs.ThresholdFiring(1.0), conditions="waive"),
    "sparse": rs.SpikingNetwork(LIF, SOFTPLUS, SPARSE),
    "dale": rs.SpikingNetwork(LIF, SOFTPLUS, rs.DaleWeights(SIGNED, EXCITATORY)),
    "sparse dale": rs.SpikingNetwork(LIF, SOFTPLUS, rs.DaleWeights(SPARSE, np.full(3, True))),
    "constrained": rs.constrained(NETWORK),
    "not trained": paramax.non_trainable(NETWORK),
    "normalised": paramax.WeightNormalization(jnp.ones((2, 3))),
    "increasing": paramax.RealToIncreasingOnInterval(
        jnp.ones(3), (0.0, 1.0), min_width=0.1, include_endpoints="both"
    ),
    "with inputs": {
        "network": NETWORK,
        "input": rs.SpikeInput(TRAIN, np.ones((3, 3))),
        "drive": rs.StepPath(np.array([0.5]), np.ones((2, 3))),
        "noise": rs.Brownian("parabola"),
    },
    "of one's own": rs.SpikingNetwork(
        Quadratic(jnp.asarray(0.1), Squared(jnp.asarray(2.0)), cap=9.0), rs.ThresholdFiring(1.0)
    ),
    "named tuple": Pair(1, (jnp.ones(2), Pair(None, "x"))),
    "window": [rs.Window(0.0, 1.0, 0.01, stop_after=3, edges=(0.1, 0.3), origin=1.7e9), None],
    "array": jnp.arange(3.0),
    "number": 1.5,
    "nothing": None,
    "empty": {"": [], "a": (), "b": {}},
    "numbers": [True, 0, -(10**30), 0.1, -0.0, np.inf, -np.inf, 1e-320, 1 + 2j, complex(0, np.inf)],
    "nan": [float("nan")],
    "texts": ["", "ä\n\0", "\ud800", {"key": 'a"b'}],
    "keys of dicts": [{2: 1, 1: 2}, {None: 3}, {(1, ("a",)): jnp.ones(1)}, {0.5: 1, True: 2}],
    "names that look alike": {"a.b": jnp.zeros(1), "a": {"b": jnp.ones(1)}, "/": jnp.ones(2)},
    "of numpy": [
        *(np.arange(3), np.float64(0.1), np.float32(0.1), np.bool_(True), np.asarray(2.0)),
        *(np.arange(6.0).reshape(2, 3).T, np.zeros((0, 3)), np.arange(3, dtype=">f8")),
        *(np.array(["a", "bc"]), np.array(["2026-11-26"], "M8[D]"), np.str_("x")),
    ],
    "keys": [jr.key(0), jr.split(jr.key(1, impl="rbg"), 3), jr.PRNGKey(2)],
    "functions": {"exp": jnp.exp, "relu": jax.nn.relu},
    "weak": [jnp.asarray(1.0), jnp.asarray(2), jnp.asarray(1.0, jnp.float64), jnp.asarray(1j)],
    "single": [single(0.1), single([[1e-45, -0.0]]), jnp.zeros((2, 0), jnp.float32)],
    "payload": np.frombuffer(b"\x01\x00\x00\x00\x00\x00\xf8\x7f" * 2, np.float64).copy(),
    "kernels": {
        "lag": rs.LagKernel(0.05, bandwidth=1.0),
        "sum": rs.SumKernel((rs.PointKernel(0.1), rs.OrderedKernel(0.1)), [0.5, 0.5]),
        "product": rs.ProductKernel(
            (rs.SignatureKernel(0.5), rs.PerNeuronKernel(rs.SignatureKernel(0.5), 5, 1))
        ),
        "marcus": rs.SignatureKernel(0.5, lifting=rs.MarcusLift()),
        "ramp": rs.SignatureKernel(0.5, lifting=rs.RampLift(0.05)),
        "paths": [rs.PathKernel(rs.LinearStatic()), rs.PathKernel(rs.RBFStatic(0.5))],
    },
}
for _dtype in ("bfloat16", "float16", "float8_e4m3fn", "int4", "uint8", "int64", "complex64"):
    MODELS[_dtype] = [jnp.arange(5).astype(_dtype), np.arange(5).astype(jnp.dtype(_dtype))]
TYPES = (Quadratic, Squared, Pair)
