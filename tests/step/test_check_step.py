"""Numbers that depend on the length of the cells are called that."""

import re
from typing import Any

import diffrax as dfx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest

import roughsnn as rs
from roughsnn._path.grid import divided

from ..fit.test_fit_program import compilations
from ..helpers import lif_network

# pyright: reportArgumentType=false, reportCallIssue=false

WINDOW = rs.Window(0.0, 1.0, 0.01)
WEIGHTS = jnp.array([[0.0, 0.5], [0.3, 0.0]])
INPUT = jnp.array([1.2, 1.0])
STILL = optax.sgd(1e-9)
NO_FLAG: Any = 3
SLOW, FAST = jnp.array([20.0, 10.0]), jnp.array([750.0, 500.0])


def network(mu, weights: Any = WEIGHTS, sigma: Any = None, size: int | None = None):
    firing = rs.StochasticFiring(rs.ExponentialIntensity(beta=4.0, threshold=1.0, timescale=0.1))
    return lif_network(firing, weights, mu=mu, sigma=sigma, size=size)


def statistics(mu, key, window=WINDOW, **options):
    train = rs.simulate(network(mu), INPUT, window, max_spikes=100, key=key, **options).spikes
    return {"count": train.counts().astype(float), "times": train.per_neuron(60)}


@pytest.mark.slow
def test_an_output_is_settled_and_its_limit_is_that_of_short_cells():
    report = rs.testing.check_step(statistics, SLOW, jr.key(0), samples=128)
    assert report.passed and report.verdict == "settled" and report.dts == (0.01, 0.005)
    report.raise_if_failed()
    # Padding is left out.
    assert [line.output for line in report.lines] == ["['count']", "['times']"]
    fine = jax.jit(jax.vmap(lambda key: statistics(SLOW, key, WINDOW.refined(16))))
    keys = jr.split(jr.key(0), 128)
    line, counts = report.lines[0], np.asarray(fine(keys)["count"])
    entry = np.argmin(np.abs(counts.mean(0) - line.limit))
    assert abs(line.limit - counts.mean(0)[entry]) < 3 * line.standard_error + 0.02
    assert "settled" in str(report) and "dt0=0.01" in str(report)


@pytest.mark.slow
def test_an_output_that_depends_on_dt0():
    engine, window = rs.EventByEvent(solver=dfx.Euler()), rs.Window(0.0, 1.0, 0.02)
    coarse = lambda mu, key: statistics(mu, key, window, engine=engine)
    report = rs.testing.check_step(coarse, SLOW, jr.key(0), samples=256, tolerance=5e-3)
    assert report.verdict == "depends on dt0" and len(report.dts) > 2
    line = report.lines[0]
    assert abs(line.error) > 3 * line.standard_error > 0
    assert line.error == pytest.approx(line.values[0] - line.limit)
    with pytest.raises(AssertionError, match=r"depends on dt0"):
        report.raise_if_failed()


def test_too_few_samples_are_unresolved():
    noise = lambda p, key, dt: p + jr.normal(jr.fold_in(key, round(1 / dt)))
    few = rs.testing.check_step(noise, jnp.ones(()), jr.key(1), dts=[0.1, 0.05], samples=9)
    assert few.verdict == "unresolved" and not few.passed


def decay(dt):
    """The mean of a diffusion by Euler's method, whose error is of first order."""
    terms = dfx.ODETerm(lambda t, y, args: -3 * y)
    solution = dfx.diffeqsolve(terms, dfx.Euler(), 0.0, 1.0, dt, jnp.array(1.0))
    assert solution.ys is not None
    return solution.ys[-1]


@pytest.mark.slow
def test_lengths_of_ones_own():
    fn = lambda scale, key, dt: scale * decay(dt)
    dts = [0.1 / 2**n for n in range(6)]
    report = rs.testing.check_step(fn, jnp.array(2.0), jr.key(0), dts=dts, samples=2)
    assert report.verdict == "depends on dt0" and report.dts == tuple(dts)
    assert report.lines[0].limit == pytest.approx(2 * np.exp(-3), rel=0.02)
    assert report.lines[0].values[0] == pytest.approx(2 * 0.7**10, rel=1e-6)


def test_what_is_not_finite_in_shorter_cells_is_not_settled():
    """Entries of that kind are left out, and an output of nothing else is unresolved."""
    fn = lambda p, key, dt: {
        "some": jnp.array([1.0, 2.0 if dt > 0.06 else jnp.inf]),
        "none": jnp.array(1.0 if dt > 0.06 else jnp.nan),
    }
    report = rs.testing.check_step(fn, 0.0, jr.key(0), dts=[0.1, 0.05], samples=4)
    assert {line.output: line.verdict for line in report.lines} == {
        "['none']": "unresolved",
        "['some']": "settled",
    }
    assert report.lines[1].values == (1.0, 1.0)


BAD: Any = {
    "no window": (dict(fn=lambda p, key: p), ValueError, "simulates nothing in a roughsnn.Window"),
    "no number": (
        dict(fn=lambda p, key, dt: jnp.inf * p, dts=[0.2, 0.1]),
        ValueError,
        "no number that is finite",
    ),
    "one length": (dict(dts=[0.1]), ValueError, "`dts` must be at least two"),
    "lengths that are no halves": (dict(dts=[0.1, 0.02]), ValueError, "each half as long"),
    "no samples": (dict(samples=0), ValueError, "`samples` must be a positive integer"),
    "a negative tolerance": (dict(tolerance=-1.0), ValueError, "`tolerance` must be positive"),
    "no function": (dict(fn=3.0), TypeError, "`fn` must be a function `fn(params, key)`, got 3.0"),
    "no argument for the key": (dict(fn=lambda p: p), TypeError, "`fn` must be a function"),
    "no argument for the length": (
        dict(fn=lambda p, key: p, dts=[0.2, 0.1]),
        TypeError,
        "`fn` must be a function `fn(params, key, dt)`, but too many",
    ),
    "whole numbers": (
        dict(fn=lambda p, key: jnp.arange(2)),
        TypeError,
        "`fn` must return floating arrays, got ['int",
    ),
    "complex numbers": (
        dict(fn=lambda p, key: jax.lax.complex(p, p)),
        TypeError,
        "`fn` must return floating arrays, got ['complex128']",
    ),
    "one length that is no list": (dict(dts=0.1), TypeError, "`dts` must be lengths of cells"),
    "lengths that are no numbers": (dict(dts=["a", "b"]), TypeError, "`dts[0]` must be a number"),
    "no halvings": (dict(halvings=0), ValueError, "`halvings` must be a positive integer"),
    "a tolerance that is no number": (dict(tolerance="1"), TypeError, "`tolerance` must be a"),
    "an old key": (dict(key=0), TypeError, "key"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_arguments(case):
    change, error, message = BAD[case]
    given = dict(fn=lambda p, key, dt=None: p, params=jnp.ones(2), key=jr.key(0)) | change
    with pytest.raises(error, match=re.escape(message) if "`" in message else message):
        rs.testing.check_step(given.pop("fn"), **given)


ROWS = jr.uniform(jr.key(3), (WINDOW.cells, 2), minval=0.5, maxval=1.5)
NOISE = rs.GridPath(
    0.1 * jr.normal(jr.key(4), (WINDOW.cells, 2, 1)),
    t0=0.0,
    t1=1.0,
    dt=0.01,
    areas=0.03 * jr.normal(jr.key(5), (WINDOW.cells, 2, 1)),
)
NOISY = network(SLOW, sigma=((0.5,), (0.1,)))
GIVEN = {
    "rows": lambda w, factor: rs.simulate(
        network(SLOW),
        jnp.repeat(ROWS, factor, axis=0),
        w,
        max_spikes=99,
        key=jr.key(0),
    ),
    "a path": lambda w, factor: rs.simulate(
        NOISY,
        INPUT,
        w,
        max_spikes=99,
        key=jr.key(0),
        noise=divided(NOISE, factor),
    ),
    "noise": lambda w, factor: rs.simulate(NOISY, INPUT, w, max_spikes=99, key=jr.key(0)),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", GIVEN)
def test_refined_cells_are_those_of_a_refined_window(case):
    """Also where the cells were known to what was given."""
    found = {}
    for factor in (1, 2, 4):
        found[factor] = GIVEN[case](WINDOW.refined(factor), factor).spikes
    report = rs.testing.check_step(
        lambda p, key: jnp.sum(jnp.nan_to_num(GIVEN[case](WINDOW, 1).spikes.times, posinf=0.0)),
        jnp.zeros(()),
        jr.key(0),
        samples=1,
        tolerance=1e-9,
        halvings=2,
    )
    expected = [float(jnp.sum(t.times[jnp.isfinite(t.times)])) for t in found.values()]
    np.testing.assert_allclose(report.lines[0].values, expected, rtol=1e-9)


def test_a_divided_path_is_the_same_path():
    again = rs.coarsened(divided(NOISE, 4), 4)
    for a, b in zip(again.arrays(), NOISE.arrays(), strict=True):
        np.testing.assert_allclose(np.asarray(a), np.asarray(b), atol=1e-14)


# Fits and likelihoods look by themselves.


def mle(mu, data, key):
    one = lambda train: rs.log_likelihood(network(mu), INPUT, train, WINDOW).value
    return -jnp.mean(jax.vmap(one)(data))


@pytest.fixture(scope="module")
def trains():
    one = lambda key: rs.simulate(network(SLOW), INPUT, WINDOW, max_spikes=60, key=key).spikes
    return jax.jit(jax.vmap(one))(jr.split(jr.key(2), 6))


def fit(mu, data, loss=mle, **options):
    return rs.fit(mu, loss, data, STILL, steps=2, key=jr.key(0), **options)


@pytest.mark.slow
def test_a_fit_in_short_cells_says_nothing(trains):
    result = fit(SLOW, trains)
    assert [report.verdict for report in result.step_reports] == ["settled", "settled"]


@pytest.mark.slow
def test_a_fit_warns_of_cells_that_are_too_long_at_its_start_and_its_end(trains):
    with pytest.warns(rs.StepWarning) as found:
        result = fit(FAST, trains)
    messages = [str(w.message) for w in found]
    for when in ("start", "end"):
        assert any(f"At the {when} of the fit the loss depends" in m for m in messages)
    assert any("shortest time constant of the network is 0.00133" in m for m in messages)
    assert all(w.filename == __file__ for w in found)
    report = result.step_reports[0]
    fine = WINDOW.refined(128)
    one = lambda train: rs.log_likelihood(network(FAST), INPUT, train, fine, check_step=False).value
    limit = -float(jnp.mean(jax.vmap(one)(trains)))
    assert report.lines[0].limit == pytest.approx(limit, rel=0.02)
    assert abs(report.lines[0].values[0] / limit - 1) > 0.05


@pytest.mark.slow
def test_what_a_fit_gains_from_its_step_is_no_gain():
    """An error of 2 % of the loss that is all that was gained."""

    def loss(p, data, key):
        net = network(SLOW, None, size=2)
        s = rs.simulate(net, jnp.ones(2), WINDOW, max_spikes=60, key=jr.key(0)).spikes
        first = jnp.mean(s.per_neuron(1))
        return 1.0 + p * (first - data)

    at = lambda window: float(
        jnp.mean(
            rs.simulate(
                network(SLOW, None, size=2), jnp.ones(2), window, max_spikes=60, key=jr.key(0)
            ).spikes.per_neuron(1)
        )
    )
    limit = at(WINDOW.refined(64))
    # Only the error of the step is there to be exploited.
    slope = at(WINDOW) - limit
    optim = optax.sgd(0.02 / slope**2)
    with pytest.warns(rs.StepWarning, match=r"At the end .* of what the fit gained"):
        result = rs.fit(jnp.zeros(()), loss, jnp.asarray(limit), optim, steps=1, key=jr.key(0))
    assert [report.verdict for report in result.step_reports] == ["settled", "depends on dt0"]


@pytest.mark.slow
def test_fits_that_are_not_looked_at(trains):
    plain = rs.fit(
        jnp.ones(2), lambda p, d, k: jnp.sum(p**2), None, optax.sgd(0.1), steps=2, key=jr.key(0)
    )
    off = fit(FAST, trains, loop=rs.Loop(check_step=False))
    batched = jax.vmap(lambda mu: fit(mu, trains))(jnp.stack([FAST, SLOW]))
    assert plain.step_reports == off.step_reports == batched.step_reports == ()
    with pytest.raises(TypeError, match="`check_step` must be True or False"):
        rs.Loop(check_step=NO_FLAG)


def number(pattern, message):
    """The number in a message."""
    found = re.search(pattern, message)
    assert found is not None
    return float(found[1])


@pytest.mark.slow
def test_a_likelihood_warns_by_how_much_it_is_off_for_each_spike(trains):
    train = jax.tree.map(lambda x: x[0], trains)
    rs.log_likelihood(network(SLOW), INPUT, train, WINDOW)
    fast = network(FAST)
    with pytest.warns(rs.StepWarning) as found:
        value = rs.log_likelihood(fast, INPUT, train, WINDOW).value
    message = next(str(w.message) for w in found if "log-likelihood depends" in str(w.message))
    limit = number(r"([-\d.e+]+) as dt0", message)
    fine = rs.log_likelihood(fast, INPUT, train, WINDOW.refined(128), check_step=False).value
    assert limit == pytest.approx(float(fine), rel=0.02)
    off = number(r"([-\d.e+]+) off for each", message)
    assert off == pytest.approx((float(value) - limit) / int(train.count), rel=0.02)


@pytest.mark.slow
def test_a_likelihood_with_noise_is_compared_on_the_same_noise(trains):
    train = jax.tree.map(lambda x: x[0], trains)
    rs.log_likelihood(NOISY, INPUT, train, WINDOW, key=jr.key(0), samples=16)


def test_a_known_time_constant_below_a_cell_is_told_at_once():
    net = network((200.0, 5.0))
    with pytest.warns(rs.StepWarning, match=r"time constant of the network is 0.005, less than"):
        rs.simulate(net, INPUT, WINDOW, max_spikes=200, key=jr.key(0), throw=False)


@pytest.mark.slow
def test_programs_of_the_caller_are_made_again_in_shorter_cells():
    """Also those that JAX has kept, from before and from another check."""
    inner = jax.jit(lambda mu, key: statistics(mu, key, rs.Window(0.0, 1.0, 0.02))["count"])
    inner(SLOW, jr.key(0))
    for scale in (1.0, 2.0):
        outer = lambda mu, key, scale=scale: scale * inner(mu, key)
        report = rs.testing.check_step(outer, SLOW, jr.key(0), samples=64)
        first, second = report.lines[0].values[:2]
        assert first != second
    # And the caller's own is as it was.
    np.testing.assert_array_equal(
        inner(SLOW, jr.key(7)), statistics(SLOW, jr.key(7), rs.Window(0.0, 1.0, 0.02))["count"]
    )


def test_a_second_fit_compiles_nothing(trains):
    fit(SLOW, trains)
    with compilations() as found:
        result = fit(1.1 * SLOW, trains)
    assert len(result.step_reports) == 2
    # What makes the other parameters.
    assert len(found) <= 1


@pytest.mark.slow
def test_bits_per_spike_of_sixteen_units_are_those_of_short_cells():
    """A likelihood fit whose free time constants have gone far below dt0 = 0.01."""
    rng = np.random.default_rng(0)
    weights = jnp.asarray(rng.normal(0, 0.1, (16, 16)) * (1 - np.eye(16)))
    drive, window = jnp.full(16, 0.9), rs.Window(0.0, 2.0, 0.01)
    one = lambda key: (
        rs.simulate(network(SLOW, weights), drive, window, max_spikes=400, key=key).spikes
    )
    data = jax.jit(jax.vmap(one))(jr.split(jr.key(0), 8))

    def minus(params, data, key, window=window):
        value = lambda train: (
            rs.log_likelihood(network(params["mu"], params["weights"]), drive, train, window).value
        )
        return -jnp.mean(jax.vmap(value)(data))

    start = {"mu": jnp.array([400.0, 300.0]), "weights": weights}
    with pytest.warns(rs.StepWarning) as found:
        result = rs.fit(start, minus, data, optax.adam(0.01), steps=1, key=jr.key(1))
    assert any("At the end of the fit the loss depends" in str(w.message) for w in found)
    bits = lambda loss: rs.scores.bits_per_spike(-8 * loss, data, data)
    (line,) = result.step_reports[-1].lines
    exact = bits(float(jax.jit(minus)(result.model, data, None, window.refined(64))))
    assert abs(bits(line.values[0]) / exact - 1) > 0.1
    assert bits(line.limit) == pytest.approx(exact, rel=0.02)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("engine", "verdict"), [(rs.Lockstep(), "depends on dt0"), (rs.EventByEvent(), "settled")]
)
def test_thresholds_without_noise_or_delay_need_shorter_cells_in_lockstep(engine, verdict):
    """Where spikes act at once lockstep loses some of a noise-free network; the other does not."""
    number, rng = 40, np.random.default_rng(0)
    weights = 0.2 * rng.normal(size=(number, number)) * (1 - np.eye(number))
    drive, start = 1.05 + 0.13 * rng.random(number), 0.9 * rng.random(number)
    ports = {"syn": rs.synapses.Exponential(5.0)}
    cells = rs.Population(number, rs.neurons.LIF(20.0, rs.Subtract(1.0)), rs.HardThreshold(), ports)

    def counts(weights, key):
        net = rs.SpikingNetwork(cells, weights=weights)
        options: Any = dict(key=key, max_spikes=400, engine=engine, initial={"v": start})
        sim = rs.simulate(net, drive, rs.Window(0.0, 100.0, 1.0), **options)
        return sim.spikes.counts().astype(float)

    report = rs.testing.check_step(counts, weights, jr.key(0), samples=1, halvings=2)
    (line,) = report.lines
    assert line.verdict == verdict, report
