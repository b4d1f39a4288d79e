import functools
from typing import Any

import diffrax as dfx
import jax
import jax.numpy as jnp
import jax.random as jr
import lineax as lx
import numpy as np
import pytest

import roughsnn as rs

from ..helpers import constant


@functools.partial(jax.jit, static_argnames=("dt", "shape", "dtype"))
def brownian(dt=0.01, shape=(), dtype=jnp.float64):
    return rs.BrownianPath(0.0, 1.0, dt, shape=shape, key=jr.key(0), dtype=dtype)


def model(reset="subtract", synapse=None, noise=None, threshold=1.0, speed=5.0):
    """Two LIF neurons with a hard threshold as a user would write them, y = (v, i)."""
    weights = np.array([[0.0, 0.3], [0.2, 0.0]])

    def drift(t, y, args):
        v, i = y
        return speed * (1.5 + i - v), -i

    def diffusion(t, y, args):
        v, _ = y
        amplitudes = {
            "v": (jnp.full(2, 0.1), jnp.zeros(2)),
            "i": (jnp.zeros(2), jnp.full(2, 0.1)),
            "v, multiplicative": (0.1 * v, jnp.zeros(2)),
            "v, vanishing at threshold and reset": (0.1 * v * (v - threshold), jnp.zeros(2)),
        }[str(noise)]
        act = lambda dx: (amplitudes[0] * dx, amplitudes[1] * dx)
        return lx.FunctionLinearOperator(act, jax.ShapeDtypeStruct((2,), v.dtype))

    def transition(t, y, args, k, u):
        v, i = y
        fired = jnp.arange(2, dtype=jnp.int32) == k
        after = {"subtract": v - 1, "constant": jnp.zeros(2), "none": v}[reset]
        v = jnp.where(fired, after, v)
        if synapse == "delta":
            v = v + jnp.asarray(weights)[k]
        if synapse == "current":
            i = i + jnp.asarray(weights)[k]
        return v, i

    terms = dfx.ODETerm(drift)
    if noise is not None:
        terms = dfx.MultiTerm(terms, dfx.ControlTerm(diffusion, brownian(shape=(2,))))
    return terms, rs.Event(lambda t, y, args: y[0] - threshold, transition)


Y0 = (jnp.asarray(np.array([0.2, 0.4])), jnp.asarray(np.array([0.1, 0.0])))

# Constructor arguments -> the conditions that fail, and words that the message must hold.
CASES = [
    (dict(), set(), ()),
    (dict(synapse="current"), set(), ()),
    (dict(synapse="current", noise="i"), set(), ()),
    (dict(reset="constant", synapse="current"), set(), ()),
    (dict(noise="v"), {"C1"}, ("coordinate 0", "channel (0,)", "on the current")),
    (dict(reset="constant", noise="v"), {"C1", "C3"}, ("y[0][0]", "by subtraction")),
    (dict(noise="v, multiplicative"), {"C1", "C3"}, ("vanish at the reset",)),
    (dict(noise="v, vanishing at threshold and reset", reset="constant"), set(), ()),
    (dict(speed=0.0), {"C2"}, ("coordinate 0", "more input")),
    (dict(reset="none"), {"C4"}, ("coordinate 0", "after its own jump", "larger")),
    (dict(synapse="delta"), {"C4"}, ("coordinate 1", "by 0.3")),
    (dict(synapse="delta", reset="constant"), {"C4", "C5"}, ("coordinates 0 and 1",)),
]


@pytest.mark.parametrize(
    "kwargs, failing, words",
    CASES,
    ids=[", ".join(map(str, c[0].values())) or "plain" for c in CASES],
)
def test_each_condition_is_decided_and_named(kwargs, failing, words):
    terms, event = model(**kwargs)
    report = rs.check_event(terms, event, 0.0, Y0, throw=False)
    assert {c.name for c in report.conditions if not c.holds} == failing, str(report)
    assert report.holds == (not failing)
    if not failing:
        report.raise_if_failed()
        return
    with pytest.raises(ValueError, match="no exact pathwise gradient") as error:
        report.raise_if_failed()
    assert all(word in str(error.value) for word in words), str(error.value)


@pytest.mark.slow
def test_says_whether_it_was_decided_exactly():
    def decided(**kwargs):
        report = rs.check_event(*model(**kwargs), 0.0, Y0, throw=False)
        return {c.name: c.decided for c in report.conditions}

    linear = decided(noise="i", synapse="current")
    assert {linear[c] for c in ("C1", "C3", "C5")} == {"exact"}
    assert linear["C2"] == linear["C4"] == "sampled"
    multiplicative = decided(noise="v, multiplicative")
    assert multiplicative["C1"] == multiplicative["C3"] == "sampled"
    terms, event = model(noise="i")
    curved = rs.Event(lambda t, y, a: y[0] ** 3 - 1.0, event.transition)
    report = rs.check_event(terms, curved, 0.0, Y0)
    assert report.conditions[0].decided == "sampled"


def test_more_coordinates_than_are_looked_at():
    drift = dfx.ODETerm(lambda t, y, a: 2.0 - y)
    subtract = lambda t, y, a, k, u: jnp.where(jnp.arange(50, dtype=jnp.int32) == k, y - 1, y)
    event = rs.Event(lambda t, y, a: y - 1.0, subtract)
    report = rs.check_event(drift, event, 0.0, jnp.zeros(50), coordinates=3)
    assert report.holds and report.conditions[4].decided == "sampled"


@pytest.mark.slow
def test_a_surface_that_is_never_found_decides_nothing():
    """A curved threshold out of reach: not "holds"; what is linear is known all the same."""
    drift = dfx.ODETerm(lambda t, y, a: 2.0 - y)
    path = brownian()
    noise = dfx.ControlTerm(lambda t, y, a: jnp.array([0.3, 0.0]), path)
    terms = dfx.MultiTerm(drift, noise)
    add = lambda t, y, a, k, u: y + 1
    y0 = jnp.array([0.0, 0.1])
    report = rs.check_event(terms, rs.Event(lambda t, y, a: -(y**2) - 1.0, add), 0.0, y0)
    verdicts = {c.name: c.holds for c in report.conditions}
    assert verdicts == {"C1": None, "C2": None, "C3": True, "C4": None, "C5": True, "C6": True}
    assert not report.holds and "UNDECIDED" in str(report) and "[0, 1]" in str(report)
    # Squares of jumps do not commute, but two neurons are never seen at threshold.
    square = lambda t, y, a, k, u: jnp.where(k == 0, y**2, y + 1)
    report = rs.check_event(drift, rs.Event(lambda t, y, a: -(y**2) - 1.0, square), 0.0, y0)
    assert report.conditions[4].holds is None

    def conditions_of(fn):
        solve = lambda: rs.eventsolve(
            terms,
            rs.Window(0.0, 0.1, 0.01),
            y0,
            event=rs.Event(fn, add),
            max_events=1,
            key=jr.key(0),
            engine=rs.EventByEvent(solver=dfx.Euler()),
        )
        return jax.eval_shape(solve).conditions

    assert conditions_of(lambda t, y, a: -(y[:1] ** 2) - 1.0) == "unchecked"
    assert conditions_of(lambda t, y, a: y[1:] - 5.0) == "hold"


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
@pytest.mark.parametrize("unit", [1e-9, 1e9])
def test_verdicts_do_not_depend_on_units(dtype, unit):
    """A neuron in volts and seconds or in anything else, in both precisions."""
    for name, failing in (("v", {"C1", "C3"}), ("i", set())):
        drift = dfx.ODETerm(lambda t, y, a: jnp.stack([1e-3 * (1.5 * unit + y[1] - y[0]), -y[1]]))
        column = jnp.array([0.0, 0.1 * unit] if name == "i" else [0.1 * unit, 0.0], dtype)
        path = brownian(0.1, dtype=dtype)
        noise = dfx.ControlTerm(lambda t, y, a, column=column: column, path)
        fn = lambda t, y, a: y[:1] - unit
        event = rs.Event(fn, lambda t, y, a, k, u: y.at[0].set(0.0))
        y0 = jnp.array([0.2 * unit, 0.0], dtype)
        report = rs.check_event(dfx.MultiTerm(drift, noise), event, 0.0, y0, throw=False)
        assert {c.name for c in report.conditions if not c.holds} == failing, str(report)


def test_a_bouncing_ball_leaves_the_surface_downwards():
    """E(T(y)) = 0 there, and falling: no event, so C4 holds."""
    path = brownian()
    drift = dfx.ODETerm(lambda t, y, a: jnp.stack([y[1], jnp.asarray(-9.8)]))
    kick = dfx.ControlTerm(lambda t, y, a: jnp.array([0.0, 0.1]), path)
    height = lambda t, y, a: -y[:1]
    elastic = rs.Event(height, lambda t, y, a, k, u: jnp.stack([y[0], -y[1]]))
    y0 = jnp.array([1.0, 0.0])
    report = rs.check_event(dfx.MultiTerm(drift, kick), elastic, 0.0, y0, throw=False)
    # The noise kicks the velocity up before and down after the reflection.
    assert {c.name for c in report.conditions if not c.holds} == {"C3"}
    sticky = rs.Event(height, lambda t, y, a, k, u: y)
    report = rs.check_event(drift, sticky, 0.0, y0, throw=False)
    assert {c.name for c in report.conditions if not c.holds} == {"C4"}


class ResetToConstant(rs.AbstractNeuron):
    """A neuron of a user's own, with noise on v and a reset that forgets it."""

    def initial(self):
        return {"v": jnp.zeros(())}

    def drift(self, t, x, current):
        return {"v": 5 * (current - x["v"])}

    def noise(self, x, dw):
        return {"v": 0.3 * dw[0]}

    def spike(self, x):
        return {"v": jnp.zeros_like(x["v"])}

    def potential(self, x):
        return x["v"]

    @property
    def channels(self):
        return 1


def simulate(network):
    return rs.simulate(
        network,
        constant(1.5),
        rs.Window(0.0, 0.2, 0.01),
        max_spikes=9,
        key=jr.key(0),
        engine=rs.EventByEvent(saveat=dfx.SaveAt(t1=True)),
    ).states


@pytest.mark.slow
def test_networks_are_checked_when_first_solved():
    firing = rs.StochasticFiring(rs.ExponentialIntensity())
    forgets = rs.Population(1, ResetToConstant(), firing)
    with pytest.raises(ValueError, match=r"C3 FAILS .*\['v'\]\[0\]"):
        simulate(rs.SpikingNetwork(forgets))
    waived = rs.SpikingNetwork(forgets, conditions="waive")
    assert jax.eval_shape(lambda: simulate(waived)).conditions == "waived"
    noisy = rs.neurons.LIF(0.2, sigma=0.3)
    own = rs.SpikingNetwork(rs.Population(1, noisy, firing))
    assert simulate(own).conditions == "hold"
    # A hard threshold on a noisy potential is refused when it is built.
    for neuron in (noisy, ResetToConstant()):
        hard = rs.Population(1, neuron, rs.HardThreshold())
        with pytest.raises(ValueError, match="C1"):
            rs.SpikingNetwork(hard)
        waived = rs.SpikingNetwork(hard, conditions="waive")
        assert jax.eval_shape(lambda net=waived: simulate(net)).conditions == "waived"


@pytest.mark.slow
def test_solves_are_checked_where_values_are_known():
    terms, event = model(noise="i", synapse="current")

    def solve(y0, terms=terms, event=event, **kwargs):
        return rs.eventsolve(
            terms,
            rs.Window(0.0, 0.1, 0.01),
            y0,
            event=event,
            max_events=5,
            key=jr.key(0),
            **kwargs,
            engine=rs.EventByEvent(solver=dfx.Heun()),
        )

    waived = rs.Event(event.fn, event.transition, "waive")
    assert solve(Y0).conditions == "hold"
    assert jax.eval_shape(lambda: solve(Y0, event=waived)).conditions == "waived"
    assert jax.eval_shape(solve, Y0).conditions == "unchecked"
    bad: Any = dict(zip(("terms", "event"), model(noise="v"), strict=True))
    with pytest.raises(ValueError, match="C1 FAILS"):
        solve(Y0, **bad)
    # Closed over, so still known.
    with pytest.raises(ValueError, match="C1 FAILS"):
        jax.eval_shape(lambda: solve(Y0, **bad))
    with pytest.raises(ValueError, match="'check' or 'waive'"):
        rs.Event(event.fn, event.transition, "ignore")  # pyright: ignore[reportArgumentType]
    with pytest.raises(TypeError, match="concrete"):
        jax.eval_shape(lambda y: rs.check_event(terms, event, 0.0, y).holds, Y0)
    with pytest.raises(TypeError, match="MultiTerm"):
        rs.check_event((terms,), event, 0.0, Y0)
