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


class Quadratic(rs.AbstractNeuron):
    """dv/dt = (v² + c) / tau, a neuron of one's own."""

    tau: jax.Array
    gain: Callable[[jax.Array], jax.Array]
    cap: float = eqx.field(static=True, default=8.0)

    def initial(self):
        return {"v": jnp.zeros(())}

    def drift(self, t, x, current):
        return {"v": (jnp.minimum(self.gain(x["v"]), self.cap) + current) / self.tau}

    def spike(self, x):
        return {"v": 0 * x["v"]}

    def potential(self, x):
        return x["v"]


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


LIF = rs.neurons.LIF(1 / 15, rs.Subtract(1.4), [0.2, 0.0])
PORTS = {"syn": rs.synapses.Exponential(1 / 6, [0.0, 0.1])}
SOFTPLUS = rs.StochasticFiring(rs.SoftplusIntensity(rate=2.0), 0.1)
MATRIX = np.array([[0.0, 1.0, 0.5], [0.2, 0.0, 0.0], [0.1, 0.3, 0.0]])
SPARSE = rs.SparseWeights.from_dense(MATRIX)
SIGNED = MATRIX * np.array([1.0, -1.0, 1.0])[:, None]
EXCITATORY = np.array([True, False, True])
THREE = rs.Population(3, LIF, SOFTPLUS, PORTS)
NETWORK = rs.SpikingNetwork(THREE, weights=MATRIX)
TRAIN = rs.SpikeTrain.from_lists(
    [[0.1, 0.2], [0.15], []], t0=0.0, t1=1.0, max_spikes=5, origin=1.7e9 + 1 / 3
)
GLIF = rs.neurons.GLIF(
    0.1,
    currents=[rs.neurons.AfterSpikeCurrent(0.2, -0.3), rs.neurons.AfterSpikeCurrent(0.1, 0.3)],
    spike_threshold=rs.neurons.SpikeThreshold(0.1, 0.2),
    voltage_threshold=rs.neurons.VoltageThreshold(0.3, 0.1),
)
HISTORY = rs.neurons.HistoryFilter(
    0.1,
    [rs.neurons.ExponentialBasis((0.1, 0.2), (-1.0, 0.3)), rs.neurons.LaguerreBasis(0.1, -0.2)],
)
RISING = {"exc": rs.synapses.Alpha(0.1), "inh": rs.synapses.DoubleExponential(0.05, 0.1)}
MODELS: dict[str, Any] = {
    "lif": LIF,
    "lif without noise": rs.neurons.LIF(1 / 15),
    "lif of three neurons": rs.neurons.LIF(np.array([0.1, 0.2, 0.3]), rs.ResetTo(0.2)),
    "synapse": rs.synapses.Exponential(np.array([0.1, 0.2, 0.3])),
    "multiplicative": rs.neurons.MultiplicativeLIF(1 / 15, 0.2),
    "multiplicative, tanh": rs.neurons.MultiplicativeLIF(1 / 15, 0.2, 0.0, jnp.tanh),
    "adaptive": rs.neurons.AdaptiveLIF(0.1, 0.5, 0.2),
    "history": HISTORY,
    "quadratic": rs.neurons.QIF(0.02, reset_to=np.array([-3.0, -4.0, -5.0])),
    "exponential neuron": rs.neurons.EIF(),
    "adaptive exponential": rs.neurons.AdEx(),
    "izhikevich": rs.neurons.Izhikevich(),
    "conductances": [
        rs.synapses.Conductance(rs.synapses.Exponential(0.1, 0.2), -70.0),
        rs.synapses.NMDA(rs.synapses.DoubleExponential(0.05, 0.1)),
    ],
    "resonator": rs.neurons.ResonateAndFire(0.1, 20.0),
    "glif": GLIF,
    "synapses": [rs.synapses.Alpha(0.1), rs.synapses.DoubleExponential(0.05, 0.1)],
    "threshold": rs.HardThreshold(1.0),
    "softplus": SOFTPLUS,
    "exponential": rs.StochasticFiring(rs.ExponentialIntensity(4.0, cap=np.inf)),
    "network": NETWORK,
    "uncoupled": rs.SpikingNetwork(THREE),
    "masked": rs.SpikingNetwork(THREE, weights=MATRIX * 0, mask=MATRIX > 0),
    "waived": rs.SpikingNetwork(rs.Population(3, LIF, rs.HardThreshold(1.0)), conditions="waive"),
    "sparse": rs.SpikingNetwork(THREE, weights=SPARSE),
    "dale": rs.SpikingNetwork(THREE, weights=rs.DaleWeights(SIGNED, EXCITATORY)),
    "sparse dale": rs.SpikingNetwork(THREE, weights=rs.DaleWeights(SPARSE, np.full(3, True))),
    "read-out": rs.Population(2, rs.neurons.LIF(0.1), None),
    "states at rest": [
        rs.Population(3, GLIF, SOFTPLUS, PORTS).rest(),
        rs.Population(1, rs.neurons.AdaptiveLIF(0.1, 0.5, 0.2), None, RISING).rest(),
        rs.Population(1, rs.neurons.ResonateAndFire(0.1, 20.0), None).rest(),
        rs.Population(2, HISTORY, None).rest(),
        rs.Population(2, rs.neurons.AdEx(), None).rest(),
        rs.Population(2, rs.neurons.Izhikevich(), None).rest(),
    ],
    "constrained": rs.constrained(NETWORK),
    "not trained": paramax.non_trainable(NETWORK),
    "normalised": paramax.WeightNormalization(jnp.ones((2, 3))),
    "increasing": paramax.RealToIncreasingOnInterval(
        jnp.ones(3), (0.0, 1.0), min_width=0.1, include_endpoints="both"
    ),
    "with inputs": {
        "network": rs.SpikingNetwork(
            {"in": rs.Source(3), "background": rs.Poisson(2, 5.0), "neurons": THREE},
            [
                rs.Projection("in", "neurons", np.ones((3, 3))),
                rs.Projection("background", "neurons", np.ones((2, 3)), "syn"),
                rs.Projection("neurons", "neurons", MATRIX, autapses=True),
                rs.Projection(
                    "in", "neurons", MATRIX, plasticity=rs.synapses.TsodyksMarkram(0.5, 0.2)
                ),
                rs.Projection(
                    "background",
                    "neurons",
                    np.ones((2, 3)),
                    plasticity=rs.synapses.PairSTDP(0.1, 0.1, 0.02, 0.02, 1.0),
                ),
            ],
        ),
        "input": TRAIN,
        "drive": rs.StepPath(np.array([0.5]), np.ones((2, 3))),
        "noise": rs.Brownian("parabola"),
    },
    "of one's own": rs.SpikingNetwork(
        rs.Population(
            2,
            Quadratic(jnp.asarray(0.1), Squared(jnp.asarray(2.0)), cap=9.0),
            rs.HardThreshold(1.0),
        )
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
