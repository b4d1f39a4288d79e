"""The harness: what it must pass, and what it must not."""

from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import roughsnn as rs
from roughsnn.testing import check_gradients

from ..helpers import lif_network, single_neuron

QUICK: Any = dict(probes=(4, 2), samples=512)
X = {"x": jnp.array([0.7, -1.2])}


def smooth(p, key):
    """Smooth in its parameters, for every key; some entries padded."""
    z = jr.normal(key, (2,))
    wave = jnp.sin(p["x"] * z) + p["x"] ** 2
    return {"wave": wave, "padded": jnp.array([jnp.sum(wave * z), jnp.inf])}


def wrong(p, key):
    """Part of the dependence is hidden from automatic differentiation."""
    z = jr.normal(key, (2,))
    return jnp.sum(jax.lax.stop_gradient(p["x"]) * p["x"] * z)


def jumping(p, key):
    """A step: its derivative is zero, that of its mean is not."""
    return jnp.where(p["x"][0] + 0.5 * jr.normal(key) > 0, 1.0, 0.0)


def kinked(p, key):
    """The parameters sit on the kink: no derivative for any key."""
    return jnp.maximum(p["x"][0], 0.7) * (2 + jr.uniform(key))


def verdicts(report):
    return {(c.check, c.output): c.verdict for c in report.comparisons}


def test_a_right_gradient_passes(check_gradients):
    """By the fixture of `roughsnn.pytest_plugin`, as in a user's suite."""
    report = check_gradients(smooth, X, jr.key(0), **QUICK)
    assert report.passed and report.verdict == "agrees"
    assert set(verdicts(report)) == {
        ("reverse = forward", "all"),
        ("same noise", "['padded']"),
        ("same noise", "['wave']"),
        ("mean", "['padded']"),
        ("mean", "['wave']"),
    }
    by_output = {c.output: c.compared for c in report.comparisons if c.check == "same noise"}
    assert by_output == {"['padded']": 8, "['wave']": 16}


def test_a_wrong_gradient_is_found_on_every_noise():
    report = check_gradients(wrong, X, jr.key(0), **QUICK)
    assert verdicts(report)["same noise", "output"] == "disagrees"
    with pytest.raises(AssertionError, match="disagrees"):
        report.raise_if_failed()


def test_a_jump_is_found_by_the_mean_only():
    report = check_gradients(jumping, X, jr.key(0), probes=(4, 2), samples=20_000)
    assert verdicts(report)["same noise", "output"] == "agrees"
    assert verdicts(report)["mean", "output"] == "disagrees"
    assert not report.passed


def test_a_derivative_that_is_not_a_number():
    def infinite(p, key):
        """Finite, and 0 / 0 for its derivative."""
        return jnp.sum(p["x"]) * jr.uniform(key) + jnp.sqrt(0 * p["x"][0])

    report = check_gradients(infinite, X, jr.key(0), **QUICK)
    assert set(verdicts(report).values()) == {"disagrees"}

    def trap(p, key):
        """The where-trap: nan in reverse mode only."""
        x = p["x"] * jr.uniform(key)
        return jnp.where(x > 0, jnp.sqrt(x), 0.0) + jnp.sum(x)

    report = check_gradients(trap, X, jr.key(0), **QUICK)
    assert verdicts(report)["reverse = forward", "all"] == "disagrees"


def test_a_kink_is_told_from_a_wrong_gradient():
    report = check_gradients(kinked, X, jr.key(0), **QUICK)
    assert verdicts(report)["same noise", "output"] in ("kink", "agrees")
    moved = {"x": X["x"] + 1e-4}
    report = check_gradients(kinked, moved, jr.key(0), mean_step=1e-6, **QUICK)
    assert verdicts(report)["same noise", "output"] == "agrees"


def test_a_derivative_that_grows_as_dt_falls():
    def rough(p, key, dt):
        return jnp.sum(p["x"] ** 2) / dt**0.5 * jr.normal(key)

    report = check_gradients(rough, X, jr.key(0), dts=(0.04, 0.01, 0.0025), mean_step=1e-3, **QUICK)
    assert verdicts(report)["dt -> 0", "output"] == "diverges"
    report = check_gradients(
        lambda p, key, dt: smooth(p, key)["wave"] + dt, X, jr.key(0), dts=(0.02, 0.01), **QUICK
    )
    assert report.passed and {c.dt for c in report.comparisons} == {0.02, 0.01}


def test_tangents_from_elsewhere():
    right = lambda p, d, key: jax.jvp(lambda p: smooth(p, key), (p,), (d,))[1]
    double = lambda p, d, key: jax.tree.map(lambda x: 2 * x, right(p, d, key))
    assert check_gradients(smooth, X, jr.key(0), reference=right, **QUICK).passed
    report = check_gradients(smooth, X, jr.key(0), reference=double, **QUICK)
    assert verdicts(report)["reference", "['wave']"] == "disagrees"


def test_float32():
    x = jax.tree.map(lambda a: a.astype(jnp.float32), X)

    def z32(p, key):
        z = jr.normal(key, (2,), jnp.float32)
        return jnp.sin(p["x"] * z) + p["x"] ** 2

    def wrong32(p, key):
        z = jr.normal(key, (2,), jnp.float32)
        return jnp.sum(jax.lax.stop_gradient(p["x"]) * p["x"] * z)

    assert check_gradients(z32, x, jr.key(0), **QUICK).passed
    report = check_gradients(wrong32, x, jr.key(0), **QUICK)
    assert verdicts(report)["same noise", "output"] == "disagrees"


@pytest.mark.slow
def test_a_model_of_this_package():
    def times(p, key):
        network = lif_network(mu=p["mu"], sigma=((0.25,), (0.0,)), reset=1.4)
        train = rs.simulate(
            network,
            lambda t: p["c"],
            rs.Window(0.0, 1.0, 0.02, stop_after=3),
            max_spikes=3,
            key=key,
            engine=rs.EventByEvent(),
        ).spikes
        return jnp.where(train.marks >= 0, train.times, 1.0)

    p = {"c": jnp.array([1.5]), "mu": jnp.array([15.0, 0.5])}
    report = check_gradients(times, p, jr.key(0), **QUICK)
    assert report.passed, str(report)


@pytest.mark.slow
def test_functionals_that_are_right_on_average_only():
    def counts(c, key):
        train = rs.simulate(
            single_neuron(),
            lambda t: c,
            rs.Window(0.0, 0.3, 0.02),
            max_spikes=20,
            key=key,
            engine=rs.EventByEvent(),
        ).spikes
        return {"naive": train.counts().astype(float), "corrected": rs.losses.counts(train)}

    report = check_gradients(
        counts, jnp.array([1.5]), jr.key(0), samples=4096, probes=(2, 2), compare="means"
    )
    assert verdicts(report)["mean", "['corrected']"] == "agrees", str(report)
    assert verdicts(report)["mean", "['naive']"] == "disagrees", str(report)


def test_prints_and_draws(tmp_path):
    plt = pytest.importorskip("matplotlib.pyplot")
    report = check_gradients(smooth, X, jr.key(0), **QUICK)
    text = str(report)
    assert "same noise" in text and "['wave']" in text and "agrees" in text
    ax = report.plot()
    assert len(ax.lines) == 2 * len(report.curves) == 4
    plt.close(ax.figure)


@pytest.mark.parametrize(
    "fn, params, error, words",
    [
        (lambda p, k: jnp.array([1, 2]), X, TypeError, "int"),
        (lambda p, k: p["x"] * jnp.nan * jr.normal(k), X, ValueError, "nan"),
        (lambda p, k: p["x"] * jnp.inf, X, ValueError, "finite"),
        (lambda p, k: p["x"] ** 2, X, ValueError, "ignore its key"),
        (lambda p, k: jr.normal(k, (2,)), X, ValueError, "constant"),
        (lambda p, k: jr.normal(k, (2,)), {"n": 3}, ValueError, "no floating array"),
    ],
)
def test_functions_of_which_nothing_could_be_learnt(fn, params, error, words):
    with pytest.raises(error, match=words):
        check_gradients(fn, params, jr.key(0), **QUICK)


BAD: dict[str, tuple[dict, str]] = {
    "a number for a key": (dict(key=0), r"`key` must be one key"),
    "keys of a batch": (dict(key=jr.split(jr.key(0), 2)), r"`key` must be one key"),
    "zeros for a key": (dict(key=jnp.zeros(2)), r"`key` must be one key"),
    "no function": (
        dict(fn="smooth"),
        r"`fn` must be .* key\)`, got 'smooth'",
    ),
    "no argument for the key": (dict(fn=lambda p: p), "`fn` must be a function .* but too many"),
    "no argument for dt": (dict(dts=(0.2, 0.1)), r"`fn` must be .*key, dt\)`, but too many"),
    "rising lengths": (dict(dts=(0.01, 0.02)), "`dts` must be decreasing"),
    "a negative length": (dict(dts=(0.01, -0.02)), "`dts` must be decreasing positive"),
    "no lengths": (dict(dts=()), "`dts` must be decreasing"),
    "one length that is no list": (dict(dts=0.1), "`dts` must be decreasing step sizes, got 0.1"),
    "lengths that are words": (dict(dts=["a"]), r"`dts\[0\]` must be a number, got 'a'"),
    "one step": (dict(steps=(1e-3,)), "`steps` must be at least two decreasing"),
    "steps that are nan": (dict(steps=(np.nan, 1e-3)), "`steps` must be at least two decreasing"),
    "steps that are words": (dict(steps=["a", "b"]), "`steps` must be a number or an array"),
    "an unknown comparison": (dict(compare="nothing"), "`compare` must be .* got 'nothing'"),
    "no samples": (dict(samples=0), "`samples` must be a positive integer, got 0"),
    "one sample": (dict(samples=1), "`samples` must be at least 2"),
    "samples that are no integer": (dict(samples=2.5), "`samples` must be a positive integer"),
    "one probe": (dict(probes=4), "`probes` must be two positive whole numbers"),
    "three probes": (dict(probes=(1, 2, 3)), "`probes` must be two positive whole numbers"),
    "no probes": (dict(probes=(0, 1)), "`probes` must be two positive whole numbers"),
    "no step of the mean": (dict(mean_step=0.0), "`mean_step` must be positive, got 0.0"),
    "a step of the mean that is nan": (dict(mean_step=np.nan), "`mean_step` must be finite"),
    "complex": (dict(mean_step=1j), "`mean_step` must be a number, got 1j"),
    "no reference": (dict(reference=1.0), "`reference` must be a function `reference"),
    "another reference": (dict(reference=smooth), "`reference` must be a function .* too many"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_arguments(kind):
    change, message = BAD[kind]
    given: dict[str, Any] = dict(fn=smooth, params=X, key=jr.key(0)) | change
    with pytest.raises((ValueError, TypeError), match=message):
        check_gradients(**given)


def test_one_sample_and_lists_will_do_where_there_is_no_noise():
    assert check_gradients(lambda p, k: p["x"] ** 2, X, jr.key(0), compare="paths", **QUICK).passed


def test_a_report_without_comparisons_is_no_success():
    empty = rs.testing.GradientReport((), ())
    assert not empty.passed and empty.verdict == "unresolved"
    with pytest.raises(AssertionError):
        empty.raise_if_failed()
    with np.errstate(all="ignore"):
        assert "check" in str(empty)


def switched(p, key):
    """Of a charge up to t = 1 in steps of 0.01 by a current that is switched on at a time."""
    ts = jnp.linspace(0.0, 0.99, 100)
    current = jnp.where(ts < p["on"], 0.0, 1.0) * p["size"]
    return 0.01 * jnp.sum(current) * (2 + jr.uniform(key))


def test_a_switch_in_a_callable_drive_is_found():
    """Its derivative is exactly 0 for every noise, so that small differences find nothing wrong."""
    p = {"on": jnp.array(0.305), "size": jnp.array(1.5)}
    report = check_gradients(switched, p, jr.key(0), compare="paths", probes=(4, 2))
    (found,) = [c for c in report.comparisons if c.check == "switch"]
    assert found.verdict == "kink" and "params['on']" in found.note and not report.passed
    assert all(c.verdict == "agrees" for c in report.comparisons if c.check == "same noise")
    without = check_gradients(
        lambda p, key: switched(p | {"on": jnp.array(0.305)}, key),
        {"size": p["size"]},
        jr.key(0),
        compare="paths",
    )
    assert without.passed


def test_few_samples_do_not_let_a_wrong_mean_gradient_pass():
    """One that is twice as large as it should be, in noise that hides it."""

    def doubled(p, key):
        x = 2 * p["x"][0] - jax.lax.stop_gradient(p["x"][0])
        return x * (1 + 8 * jr.normal(key))

    few = check_gradients(doubled, X, jr.key(3), samples=32, compare="means", probes=(4, 2))
    line = next(c for c in few.comparisons if c.check == "mean")
    assert line.verdict == "unresolved" and "samples" in line.note and not few.passed
    many = check_gradients(doubled, X, jr.key(3), samples=20000, compare="means", probes=(4, 2))
    assert verdicts(many)["mean", "output"] == "disagrees"
