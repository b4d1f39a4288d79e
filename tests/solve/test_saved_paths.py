"""The solution as a càdlàg path: dense output, both limits at events, its Marcus lift."""

import diffrax as dfx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import roughsnn as rs

from ..helpers import recurrent_network, recurrent_parameters

P = recurrent_parameters()
TS = jnp.linspace(0.0, 0.6, 25)


def run(p, saveat, key=None, stop_after=None, noise=None, **options):
    return rs.simulate(
        recurrent_network(p),
        lambda t: p["input"] * (1 + jnp.sin(3 * t)),
        rs.Window(0.0, 0.6, 0.02, stop_after=stop_after),
        max_spikes=60,
        key=jr.key(4) if key is None else key,
        noise=noise,
        engine=rs.EventByEvent(saveat=saveat, **options),
    )


def solution(p, saveat, key=None, **options):
    sim = jax.jit(lambda p: run(p, saveat, key, **options))(p)
    return sim.spikes, sim.states


@pytest.mark.slow
@pytest.mark.parametrize("interpolation", ["linear", "parabola"])
def test_dense_output_is_what_is_saved_at_times(interpolation):
    """Left limits at given times; both limits at spikes, one reset apart."""
    options = dict(noise=rs.Brownian(interpolation))
    train, dense = solution(P, dfx.SaveAt(dense=True), **options)
    _, saved = solution(P, dfx.SaveAt(ts=TS, t1=True), **options)
    found = jax.vmap(dense.evaluate)(TS)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(saved.ys), strict=True):
        np.testing.assert_allclose(a, b[:-1], rtol=1e-12, atol=1e-13)
    assert int(train.count) > 3
    for n in range(3):
        t, k = train.times[n], int(train.marks[n])
        left, right = dense.evaluate(t), dense.evaluate(t, left=False)
        np.testing.assert_allclose(left["s"][k], 0.0, atol=1e-12)
        np.testing.assert_allclose(right["v"][k] - left["v"][k], -P["reset"], rtol=1e-12)
        weights = P["weights"][k] * (1 - jnp.eye(3)[k])
        np.testing.assert_allclose(right["syn"] - left["syn"], weights, atol=1e-12)
        before, after = dense.evaluate(t - 1e-9), dense.evaluate(t + 1e-9)
        np.testing.assert_allclose(before["v"], left["v"], atol=1e-6)
        np.testing.assert_allclose(after["v"], right["v"], atol=1e-6)


@pytest.mark.slow
def test_ends_of_the_dense_output():
    _, sol = solution(P, dfx.SaveAt(dense=True, t1=True))
    np.testing.assert_array_equal(sol.evaluate(0.0)["v"], 0.0)
    for left in (True, False):
        np.testing.assert_allclose(sol.evaluate(0.6, left=left)["v"], sol.ys["v"][0], rtol=1e-12)
    for t in (-0.01, 0.61):
        assert bool(jnp.all(jnp.isnan(sol.evaluate(t)["v"])))
    train, ended = solution(P, dfx.SaveAt(dense=True), stop_after=2)
    last = train.times[1]
    assert bool(jnp.all(jnp.isfinite(ended.evaluate(last)["v"])))
    assert bool(jnp.all(jnp.isnan(ended.evaluate(last + 1e-6)["v"])))


@pytest.mark.slow
def test_dense_output_with_adaptive_steps():
    """Some are rejected on the way."""
    quiet = {**P, "sigma": jnp.zeros((2, 0))}
    controller = dfx.PIDController(1e-9, 1e-9)
    _, sol = solution(quiet, dfx.SaveAt(dense=True, ts=TS), controller=controller, max_steps=500)
    found = jax.vmap(sol.evaluate)(TS)
    np.testing.assert_allclose(found["v"], sol.ys["v"], rtol=1e-12, atol=1e-13)


@pytest.mark.slow
def test_derivatives_of_the_dense_output():
    """In time it is the vector field; in parameters that of what is saved at times."""
    shift = jax.tree.map(jnp.zeros_like, P)
    shift["input"] = jnp.ones(3)

    def dense(p, t):
        return run(p, dfx.SaveAt(dense=True)).states.evaluate(t)["v"]

    def saved(p):
        return run(p, dfx.SaveAt(ts=TS[10:12])).states.ys["v"]

    _, expected = jax.jit(lambda p, d: jax.jvp(saved, (p,), (d,)))(P, shift)
    for n in range(2):
        push = jax.jit(lambda p, d, t: jax.jvp(lambda p: dense(p, t), (p,), (d,))[1])
        np.testing.assert_allclose(push(P, shift, TS[10 + n]), expected[n], rtol=1e-10, atol=1e-12)
    _, sol = solution(P, dfx.SaveAt(dense=True))
    t, h = jnp.asarray(0.2533), 1e-6
    _, slope = jax.jvp(lambda t: sol.evaluate(t)["v"], (t,), (jnp.ones(()),))
    difference = (sol.evaluate(t + h)["v"] - sol.evaluate(t - h)["v"]) / (2 * h)
    np.testing.assert_allclose(slope, difference, rtol=1e-6, atol=1e-6)


@pytest.mark.slow
def test_batches_are_evaluated_sample_by_sample():
    keys = jr.split(jr.key(0), 3)
    together = jax.jit(jax.vmap(lambda key: run(P, dfx.SaveAt(dense=True), key).states))(keys)
    found = jax.vmap(lambda sol: sol.evaluate(0.311)["v"])(together)
    for n in range(3):
        alone = solution(P, dfx.SaveAt(dense=True), keys[n])[1].evaluate(0.311)["v"]
        np.testing.assert_allclose(found[n], alone, rtol=1e-12)


@pytest.mark.slow
def test_the_lift_of_a_saved_path():
    """Corners in the order of time; a jump is a segment at one time; padding is the last corner."""
    train, sol = solution(P, dfx.SaveAt(steps=True, t0=True))
    path = sol.path()
    corners = np.asarray(rs.marcus_lift(path))
    assert corners.shape == (path.ts.shape[0], 1 + 9)
    assert np.all(np.diff(corners[:, 0]) >= 0) and corners[-1, 0] == 0.6
    steps = np.diff(corners, axis=0)
    for n in range(int(train.count)):
        at = np.flatnonzero((corners[:-1, 0] == train.times[n]) & (steps[:, 0] == 0))
        jumps = steps[at, 1 + int(train.marks[n])]
        assert np.any(np.isclose(jumps, -P["reset"], rtol=1e-12))
    only_v = rs.marcus_lift(rs.CadlagPath(path.ts, path.ys["v"]))
    np.testing.assert_array_equal(only_v, corners[:, :4])
    value = rs.PathKernel()(only_v, only_v)
    assert np.isfinite(value) and value > 1


@pytest.mark.slow
def test_errors():
    with pytest.raises(ValueError, match=r"shapes \(points,\)"):
        rs.CadlagPath(jnp.zeros(3), jnp.zeros((4, 1)))
    with pytest.raises(TypeError, match="SpikeTrain or a roughsnn.CadlagPath"):
        rs.marcus_lift(jnp.zeros((3, 2)))  # pyright: ignore
    _, sol = solution(P, dfx.SaveAt(t1=True))
    with pytest.raises(ValueError, match="dense=True"):
        sol.evaluate(0.1)
    _, nothing = solution(P, dfx.SaveAt(dense=True))
    with pytest.raises(ValueError, match="steps=True"):
        nothing.path()
