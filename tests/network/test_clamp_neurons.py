"""The likelihood of every kind of neuron, against Runge and Kutta's method on its equations."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import roughsnn as rs

N, S = rs.neurons, rs.synapses
WEIGHTS = np.array([[0.0, 0.6], [-0.5, 0.0]])


class Case(NamedTuple):
    """A neuron, and its equations: the state at rest, what moves it under a current, what a spike
    makes of it, what the hazard reads, and what a conductance does."""

    neuron: Any
    rest: tuple[float, ...]
    drift: Callable[[np.ndarray, np.ndarray], list]
    spike: Callable[[np.ndarray], list]
    potential: Callable[[np.ndarray], np.ndarray] = lambda x: x[0]
    # In milliseconds and millivolts, where the neurons are.
    slow: bool = False
    drive: float = 0.7
    refractory: float = 0.0
    delay: float = 0.0
    reversal: float | None = None


def leaky(x, i):
    return [(i - x[0]) / 0.07]


def glif_drift(x, i):
    v, a, b, spike, voltage = x
    return [
        (i + a + b - v) / 0.07,
        -a / 0.1,
        -b / 0.02,
        -spike / 0.05,
        (0.3 * v - voltage) / 0.2,
    ]


def glif_spike(x):
    v, a, b, spike, voltage = x
    return [0.4 * v - 0.5, 0.9 * a - 0.4, b + 0.3, spike + 0.3, voltage]


GLIF = N.GLIF(
    0.07,
    0.4,
    0.5,
    currents=[N.AfterSpikeCurrent(0.1, -0.4, 0.9), N.AfterSpikeCurrent(0.02, 0.3)],
    spike_threshold=N.SpikeThreshold(0.05, 0.3),
    voltage_threshold=N.VoltageThreshold(0.2, 0.3),
)
HISTORY = N.HistoryFilter(
    0.07,
    [N.ExponentialBasis((0.03, 0.2), (-1.2, 0.3)), N.LaguerreBasis(0.04, (-0.4, 0.3))],
)


def history_drift(x, i):
    v, a, b, c, d = x
    return [(i - v) / 0.07, -a / 0.03, -b / 0.2, -c / 0.04, -(d + 2 * c) / 0.04]


def history_potential(x):
    v, a, b, c, d = x
    return v - 1.2 * a + 0.3 * b - 0.4 * c + 0.3 * d


def upstroke(v, soft, delta):
    return delta * np.exp((v - soft) / delta)


CASES = {
    "LIF": Case(N.LIF(0.07, rs.Subtract(0.8)), (0,), leaky, lambda x: [x[0] - 0.8]),
    "LIF, refractory, with delays": Case(
        N.LIF(0.07, rs.Subtract(0.8)),
        (0,),
        leaky,
        lambda x: [x[0] - 0.8],
        refractory=0.0313,
        delay=0.0217,
    ),
    "LIF, conductances": Case(
        N.LIF(0.07, rs.Subtract(0.8)), (0,), leaky, lambda x: [x[0] - 0.8], reversal=1.5
    ),
    "AdaptiveLIF": Case(
        N.AdaptiveLIF(0.07, 0.2, 0.3, rs.Subtract(0.8)),
        (0, 0),
        lambda x, i: [*leaky(x, i), -x[1] / 0.2],
        lambda x: [x[0] - 0.8, x[1] + 0.3],
        lambda x: x[0] - x[1],
    ),
    "GLIF 5": Case(GLIF, (0,) * 5, glif_drift, glif_spike, lambda x: x[0] - x[3] - x[4]),
    "HistoryFilter": Case(
        HISTORY, (0,) * 5, history_drift, lambda x: [x[0], *(x[1:] + 1)], history_potential
    ),
    "ResonateAndFire": Case(
        N.ResonateAndFire(0.15, 6.0, rs.Subtract(0.8)),
        (0, 0),
        lambda x, i: [(i - x[0]) / 0.15 - 6 * x[1], 6 * x[0] - x[1] / 0.15],
        lambda x: [x[0] - 0.8, x[1]],
    ),
    "QIF": Case(
        N.QIF(0.02, -0.3, 0.4, 1.2, -1.5),
        (-0.3,),
        lambda x, i: [(1.2 * (x[0] + 0.3) * (x[0] - 0.4) + i) / 0.02],
        lambda x: [0 * x[0] - 1.5],
        drive=-0.8,
    ),
    "EIF": Case(
        N.EIF(),
        (-65.0,),
        lambda x, i: [(-65 - x[0] + upstroke(x[0], -59.9, 3.48) + i) / 10],
        lambda x: [0 * x[0] - 68],
        slow=True,
        drive=-5.0,
    ),
    "AdEx": Case(
        N.AdEx(9.0, 144.0, 0.13, 2.7),
        (-70.6, 0.0),
        lambda x, i: [
            (-70.6 - x[0] + upstroke(x[0], -50.4, 2.0) - x[1] + i) / 9,
            (0.13 * (x[0] + 70.6) - x[1]) / 144,
        ],
        lambda x: [0 * x[0] - 70.6, x[1] + 2.7],
        slow=True,
        drive=9.0,
    ),
    "Izhikevich": Case(
        N.Izhikevich(),
        (-65.0, -13.0),
        lambda x, i: [
            0.04 * x[0] ** 2 + 5 * x[0] + 140 - x[1] + i,
            0.02 * (0.2 * x[0] - x[1]),
        ],
        lambda x: [0 * x[0] - 65, x[1] + 8],
        slow=True,
        drive=-3.0,
    ),
}
# Spikes of two neurons, as parts of the window.
SPIKES = [[0.113, 0.52, 0.571], [0.3004, 0.342, 0.8]]
BETA, THRESHOLD, RATE, TAU_S = 3.0, 1.0, 8.0, 0.06


def scale(case: Case) -> tuple[float, float, float, float]:
    """The length of the window, of a unit of potential, and the potential of a unit and of 0."""
    return (100.0, 8.0, -58.0, -66.0) if case.slow else (1.0, 1.0, 1.0, 0.0)


def log_likelihood(case: Case, steps: int = 8000) -> np.ndarray:
    """Of both neurons, by steps between spikes and arrivals."""
    t1, unit, threshold, _ = scale(case)
    tau, beta, rate, weights = TAU_S * t1, BETA / unit, RATE / t1, unit * WEIGHTS
    spikes = [(t1 * t, k) for k, own in enumerate(SPIKES) for t in own]
    delay, hold = case.delay * t1, case.refractory * t1
    stops = [(t, 2, k) for t, k in spikes] + [(t + delay, 1, k) for t, k in spikes]
    stops += [(t + hold, 0, k) for t, k in spikes if hold] + [(t1, 3, -1)]
    free = np.ones(2)

    def moved(y):
        x, g = y[:-2], y[-2]
        current = g if case.reversal is None else g * (case.reversal - x[0])
        hazard = free * rate * np.exp(beta * (case.potential(x) - threshold))
        return np.array([*case.drift(x, case.drive + current), -g / tau, hazard])

    y = np.array([*(np.full(2, a, float) for a in case.rest), np.zeros(2), np.zeros(2)])
    total, t = np.zeros(2), 0.0
    # At one time a spike comes before what it sends.
    for stop, kind, k in sorted(stops, key=lambda stop: (stop[0], -stop[1])):
        if stop > t1:
            break
        number = max(1, int(np.ceil((stop - t) / t1 * steps)))
        h, t = (stop - t) / number, stop
        for _ in range(number):
            a = moved(y)
            b = moved(y + h / 2 * a)
            c = moved(y + h / 2 * b)
            y = y + h / 6 * (a + 2 * b + 2 * c + moved(y + h * c))
        if kind == 2:
            total[k] += np.log(rate) + beta * (case.potential(y[:-2])[k] - threshold)
            y[:-2, k] = np.array(case.spike(y[:-2]))[:, k]
            free[k] = 0.0 if hold else 1.0
        elif kind == 1:
            y[-2] += weights[k]
        elif kind == 0:
            free[k] = 1.0
    return total - y[-1]


def model(case: Case) -> tuple[rs.SpikingNetwork, rs.SpikeTrain]:
    t1, unit, threshold, _ = scale(case)
    intensity = rs.ExponentialIntensity(BETA / unit, threshold, t1 / RATE)
    kernel = S.Exponential(TAU_S * t1)
    port: Any = kernel if case.reversal is None else S.Conductance(kernel, case.reversal)
    options: Any = dict(refractory=case.refractory * t1) if case.refractory else {}
    firing = rs.StochasticFiring(intensity)
    part = rs.Population(2, case.neuron, firing, {"syn": port}, **options)
    delay: Any = dict(delay=case.delay * t1) if case.delay else {}
    link = rs.Projection("a", "a", unit * WEIGHTS, "syn", **delay)
    lists = [t1 * np.array(own) for own in SPIKES]
    return rs.SpikingNetwork({"a": part}, [link]), rs.SpikeTrain.from_lists(lists, t0=0.0, t1=t1)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_the_likelihood_of_each_kind_of_neuron(name):
    """Of second order in the cells."""
    case = CASES[name]
    wanted, (network, train) = log_likelihood(case), model(case)
    initial: Any = {}
    if name == "Izhikevich":
        initial = {"u": np.full(2, -13.0), "v": np.full(2, -65.0)}
    errors = []
    for cells in (1000, 4000):
        window = rs.Window(0.0, train.t1, train.t1 / cells)
        found = rs.clamp(network, jnp.full(2, case.drive), train, window, initial=initial)
        errors.append(np.max(np.abs(found.log_likelihood - wanted)))
    assert errors[1] < 1e-4 and errors[1] < max(errors[0] / 10, 1e-6), errors


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_its_derivatives_are_differences(name):
    """In all parameters of the network."""
    case = CASES[name]
    network, train = model(case)
    leaves, structure = jax.tree.flatten(network)
    # A refractoriness of 0 is at the border of its domain.
    alpha = network["a"].firing.alpha
    moves = lambda x: x is not alpha and jnp.issubdtype(x.dtype, jnp.floating)
    floats = [n for n, x in enumerate(leaves) if moves(x)]
    rng = np.random.default_rng(0)
    along = [rng.normal(size=leaves[n].shape) * (0.1 + np.abs(leaves[n])) for n in floats]
    window = rs.Window(0.0, train.t1, train.t1 / 250)

    def at(e):
        moved = list(leaves)
        for n, d in zip(floats, along, strict=True):
            moved[n] = leaves[n] + e * d
        net = jax.tree.unflatten(structure, moved)
        return jnp.sum(rs.clamp(net, jnp.full(2, case.drive), train, window).log_likelihood)

    e = 1e-5
    values = jax.jit(jax.vmap(at))(jnp.array([e, -e, e / 2, -e / 2]))
    wide, near = (values[0] - values[1]) / (2 * e), (values[2] - values[3]) / e
    slope = jax.jit(jax.grad(at))(0.0)
    np.testing.assert_allclose(slope, (4 * near - wide) / 3, rtol=1e-6)
