"""Filters of a neuron's own spikes against their formulas."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from numpy.polynomial.laguerre import laggauss, lagval

import roughsnn as rs

from ..helpers import ENGINES

N = rs.neurons
EXPONENTIALS = ((0.03, 0.2), (-1.2, 0.3))
CHAIN = (0.04, (-0.4, 0.3, -0.2, 0.1))


def neuron(tau: float = 0.07) -> rs.neurons.HistoryFilter:
    return N.HistoryFilter(tau, [N.ExponentialBasis(*EXPONENTIALS), N.LaguerreBasis(*CHAIN)])


def laguerre(n: int, t: Any, tau: float) -> Any:
    return np.exp(-t / tau) * lagval(2 * t / tau, np.eye(n + 1)[n])


def filter_of(t: np.ndarray) -> np.ndarray:
    """h at some times after a spike."""
    parts = [w * np.exp(-t / tau) for tau, w in zip(*EXPONENTIALS, strict=True)]
    parts += [w * laguerre(n, t, CHAIN[0]) for n, w in enumerate(CHAIN[1])]
    return np.sum(parts, 0)


def test_laguerre_functions():
    """The solution of the chain is exp(-t/tau) times polynomials, which are orthogonal."""
    tau, number = CHAIN[0], 6
    basis = N.LaguerreBasis(tau, np.ones(number))
    still = basis.initial()
    columns = [
        jax.jvp(basis.drift, (still,), (tuple(jnp.asarray(float(n == k)) for n in range(number)),))
        for k in range(number)
    ]
    matrix = jnp.stack([jnp.stack(tangent) for _, tangent in columns], 1)
    # Without the exponential, so that no digits are lost where it is small.
    u, weights = laggauss(12)
    chain = matrix + jnp.eye(number) / tau
    found = [jax.scipy.linalg.expm(chain * t) @ jnp.ones(number) for t in u * tau / 2]
    exact = np.stack([laguerre(n, u * tau / 2, tau) * np.exp(u / 2) for n in range(number)], 1)
    np.testing.assert_allclose(np.stack(found), exact, rtol=1e-9)
    gram = np.einsum("k,km,kn->mn", weights, np.stack(found), np.stack(found))
    np.testing.assert_allclose(gram, np.eye(number), atol=1e-7)


def cosines(t: np.ndarray, number: int = 5, last: float = 0.1, offset: float = 0.005) -> Any:
    """Raised cosines of the logarithm of time, as Pillow et al. (2008) have them."""
    at = np.log(t + offset)
    centres = np.linspace(np.log(offset), np.log(last + offset), number)
    angle = (at - centres[:, None]) * (np.pi / 2) / (centres[1] - centres[0])
    return 0.5 + 0.5 * np.cos(np.clip(angle, -np.pi, np.pi))


@pytest.mark.parametrize(("number", "within"), [(12, 0.022), (24, 0.005)])
def test_raised_cosines_become_laguerre_functions(number, within):
    t = np.linspace(0.0, 0.3, 3001)
    basis = N.LaguerreBasis(np.full(5, 0.02), np.zeros((5, number))).fitted(cosines, 0.3)
    assert basis.weights.shape == (5, number)
    functions = np.stack([laguerre(n, t, 0.02) for n in range(number)])
    wrong = np.asarray(basis.weights) @ functions - cosines(t)
    size = np.sqrt(np.mean(cosines(t) ** 2, 1))
    assert np.all(np.sqrt(np.mean(wrong**2, 1)) < within * size)


@pytest.mark.parametrize("basis", [N.ExponentialBasis(*EXPONENTIALS), N.LaguerreBasis(*CHAIN)])
def test_the_functions_themselves_are_found_again(basis):
    """One filter for all neurons, or one for each; in float32 without weights that cancel."""
    own = lambda t: basis.at(t) @ np.asarray(basis.weights)
    start = eqx.tree_at(lambda x: x.weights, basis, jnp.zeros_like(basis.weights))
    np.testing.assert_allclose(start.fitted(own, 1.0).weights, basis.weights, rtol=1e-7)
    both = start.fitted(lambda t: np.stack([own(t), -2 * own(t)]), 1.0).weights
    np.testing.assert_allclose(both, np.outer([1, -2], basis.weights), rtol=1e-7)
    many = N.ExponentialBasis(np.geomspace(0.001, 0.3, 40), jnp.zeros(40, jnp.float32))
    many = many.fitted(own, 1.0)
    assert many.weights.dtype == jnp.float32 and np.max(np.abs(many.weights)) < 20
    t = np.linspace(0.0, 1.0, 500)
    np.testing.assert_allclose(many.at(t) @ np.asarray(many.weights), own(t), atol=1e-4)


def test_filters_that_cannot_be_fitted():
    basis = N.LaguerreBasis(0.1, np.zeros(3))
    with pytest.raises(ValueError, match=r"`kernel\(t\)` must have shape \(times,\) or"):
        basis.fitted(lambda t: 1.0, 1.0)
    with (
        pytest.raises(ValueError, match=r"`kernel\(t\)` must be finite"),
        np.errstate(all="ignore"),
    ):
        basis.fitted(lambda t: t / 0.0, 1.0)
    with pytest.raises(ValueError, match="`until` must be positive"):
        basis.fitted(np.exp, -1.0)
    with pytest.raises(TypeError, match="`tau` must be concrete"):
        jax.jit(lambda tau: N.LaguerreBasis(tau, np.zeros(3)).fitted(np.exp, 1.0).weights)(0.1)


@pytest.mark.parametrize("engine", ENGINES)
def test_after_spikes(engine):
    """The sum over past spikes, function by function, and the input that no spike has reset."""
    pop = rs.Population(2, neuron(), rs.HardThreshold(1.0))
    sim = rs.simulate(
        rs.SpikingNetwork(pop),
        jnp.array([2.0, 1.7]),
        rs.Window(0.0, 0.5, 0.002),
        key=jr.key(0),
        max_spikes=60,
        engine=ENGINES[engine],
    )
    state = sim.final.state
    # In lockstep the cell of a spike is of second order.
    rtol = 1e-9 if engine == "event" else 1e-3
    np.testing.assert_allclose(state["v"], np.array([2.0, 1.7]) * (1 - np.exp(-0.5 / 0.07)))
    for k, times in enumerate(sim.spikes.to_lists()):
        assert len(times) >= 3
        ages = 0.5 - times
        for n, tau in enumerate(EXPONENTIALS[0]):
            exact = np.sum(np.exp(-ages / tau))
            np.testing.assert_allclose(state[f"history.0.{n}"][k], exact, rtol=rtol)
        for n in range(len(CHAIN[1])):
            exact = np.sum(laguerre(n, ages, CHAIN[0]))
            np.testing.assert_allclose(state[f"history.1.{n}"][k], exact, rtol=rtol, atol=rtol)
        # At each spike the potential was at the threshold.
        for n, t in enumerate(times):
            v = [2.0, 1.7][k] * (1 - np.exp(-t / 0.07)) + np.sum(filter_of(t - times[:n]))
            np.testing.assert_allclose(v, 1.0, atol=rtol)


@pytest.mark.slow
def test_the_likelihood_is_that_of_a_generalised_linear_model():
    """log-likelihood = sum of log-intensities - integral of the intensity, by quadrature; and its
    gradient in the weights, by differences of that."""
    lists = [[0.05, 0.13, 0.31, 0.33], [0.2]]
    train = rs.SpikeTrain.from_lists(lists, t0=0.0, t1=0.5)
    beta, c, intensity = 3.0, np.array([1.4, 0.8]), rs.ExponentialIntensity(3.0, 1.0, 1.0)

    def found(weights, dt):
        bases = [N.ExponentialBasis(EXPONENTIALS[0], weights), N.LaguerreBasis(*CHAIN)]
        pop = rs.Population(2, N.HistoryFilter(0.07, bases), rs.StochasticFiring(intensity))
        net, window = rs.SpikingNetwork(pop), rs.Window(0.0, 0.5, dt)
        return rs.clamp(net, jnp.asarray(c), train, window).log_likelihood

    def exact(weights):
        total, (nodes, shares) = [], np.polynomial.legendre.leggauss(40)
        for k, times in enumerate(map(np.array, lists)):

            def log_rate(t, k=k, times=times):
                before = times[times < t - 1e-12]
                more = weights - np.array(EXPONENTIALS[1])
                h = filter_of(t - before)
                for w, tau in zip(more, EXPONENTIALS[0], strict=True):
                    h = h + w * np.exp(-(t - before) / tau)
                v = c[k] * (1 - np.exp(-t / 0.07)) + np.sum(h)
                return beta * (v - 1.0)

            borders = np.concatenate([[0.0], times, [0.5]])
            value = sum(log_rate(t) for t in times)
            for a, b in zip(borders[:-1], borders[1:], strict=True):
                ts = (a + b) / 2 + (b - a) / 2 * nodes
                value -= (
                    (b - a)
                    / 2
                    * sum(s * np.exp(log_rate(t)) for s, t in zip(shares, ts, strict=True))
                )
            total.append(value)
        return np.array(total)

    w, h = np.array(EXPONENTIALS[1]), 1e-5
    errors = [np.max(np.abs(found(jnp.asarray(w), dt) - exact(w))) for dt in (0.002, 0.0005)]
    assert errors[1] < errors[0] / 12 and errors[1] < 5e-6, errors
    gradient = jax.jacobian(lambda w: found(w, 0.001))(jnp.asarray(w))
    slopes = [(exact(w + h * e) - exact(w - h * e)) / (2 * h) for e in np.eye(2)]
    np.testing.assert_allclose(gradient, np.stack(slopes, 1), atol=1e-3)


@pytest.mark.slow
def test_populations_with_other_numbers_of_functions():
    """Each in a network of both as by itself: they are no one array."""
    firing = rs.StochasticFiring(rs.ExponentialIntensity(5.0), 0.03)
    kind = lambda tau, w: rs.Population(
        2, N.HistoryFilter(0.07, [N.ExponentialBasis(tau, w)]), firing
    )
    parts = {
        "a": kind(0.05, -1.0),
        "b": kind((0.05, 0.2), (-1.0, 0.3)),
        "c": kind(0.05, np.array([[-0.5], [-1.5]])),
    }
    run: Any = dict(window=rs.Window(0.0, 0.5, 0.01), key=jr.key(1), max_spikes=90)
    both = rs.simulate(rs.SpikingNetwork(parts), jnp.full(6, 1.8), **run)
    for name, part in parts.items():
        alone = rs.simulate(rs.SpikingNetwork({name: part}), jnp.full(2, 1.8), **run).spikes
        assert int(alone.count) >= 4
        for one, other in zip(both.spikes[name].to_lists(), alone.to_lists(), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-9)


WRONG: Any = {
    "numbers that differ": (
        lambda: N.ExponentialBasis((0.1, 0.2), -1.0),
        "an entry for each function, got 2 and 1",
    ),
    "time constants": (lambda: N.ExponentialBasis((0.1, -0.2), (1.0, 1.0)), "must be positive"),
    "a time constant": (lambda: N.LaguerreBasis(0.0, 1.0), "`tau` must be positive"),
    "a cube": (lambda: N.LaguerreBasis(0.1, np.ones((1, 2, 3))), r"got \(1, 2, 3\)"),
    "no function": (lambda: N.LaguerreBasis(0.1, np.ones((2, 0))), "at least one function"),
    "no basis": (lambda: N.HistoryFilter(0.1, []), "must hold at least one"),
    "another number of neurons": (
        lambda: rs.Population(
            2, N.HistoryFilter(0.1, [N.LaguerreBasis(0.1, np.ones((3, 1)))]), None
        ),
        r"`weights` must have shape \(1,\) or \(2, 1\)",
    ),
}


@pytest.mark.parametrize("kind", WRONG)
def test_mistakes_are_named(kind):
    make, message = WRONG[kind]
    with pytest.raises(ValueError, match=message):
        make()


def test_parts_of_another_type():
    wrong: Any = [rs.synapses.Alpha(0.1)]
    with pytest.raises(TypeError, match=r"`bases\[0\]` must be an ExponentialBasis or a Laguerre"):
        N.HistoryFilter(0.1, wrong)
