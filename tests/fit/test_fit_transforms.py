"""`fit` under `vmap`, `jit` and `grad`."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest

import roughsnn as rs

DATA = jnp.linspace(-1.0, 2.0, 4)
ADAM = optax.adam(0.1)
STARTS = jr.normal(jr.key(0), (3, 4))
KEYS = jr.split(jr.key(1), 3)


def noisy(x, data, key):
    """Not finite once its first entry has passed -1."""
    value = jnp.sum((x - data - jr.normal(key, x.shape)) ** 2)
    return value / jnp.where(x[0] < -1.0, jnp.nan, 1.0), {"count": jnp.sum(x > 0)}


def fit(model, key, losses=noisy, steps=20, **options):
    return rs.fit(model, losses, DATA, ADAM, steps=steps, key=key, **options)


def one(tree, n):
    return jax.tree.map(lambda x: x[n], tree)


def same(traced: rs.Fit, alone: rs.Fit):
    """Up to the rounding of another program."""
    done = len(alone.history["loss"])
    np.testing.assert_allclose(traced.model, alone.model, rtol=1e-12)
    assert traced.steps == alone.steps and traced.seconds.size == 0
    assert bool(traced.stopped) == (alone.stopped is not None)
    for name, values in alone.history.items():
        np.testing.assert_allclose(traced.history[name][:done], values, rtol=1e-12)
    assert np.isnan(np.asarray(traced.history["loss"][done:])).all()
    assert not np.any(traced.history["count"][done:])
    for ours, theirs in zip(
        *map(jax.tree.leaves, (traced.opt_state, alone.opt_state)), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12)


@pytest.mark.parametrize("compiled", [False, True])
def test_many_starts(compiled):
    many = jax.vmap(lambda model, key: fit(model, key))
    together: Any = (jax.jit(many) if compiled else many)(STARTS, KEYS)
    alone = [fit(model, key) for model, key in zip(STARTS, KEYS, strict=True)]
    for n, result in enumerate(alone):
        same(one(together, n), result)
    # One of them stops before the others.
    assert sorted(together.stopped.tolist()) == [0, 0, 1]
    assert together.history["loss"].shape == (3, 20)


def test_inside_of_jit():
    same(jax.jit(fit)(STARTS[0], KEYS[0]), fit(STARTS[0], KEYS[0]))
    # Also where nothing of the fit depends on what is traced.
    same(jax.jit(lambda: fit(STARTS[0], KEYS[0]))(), fit(STARTS[0], KEYS[0]))


def test_many_data_and_states():
    data = jnp.stack([DATA, DATA + 1, DATA - 1])
    states = jax.vmap(lambda x, key: fit(x, key, steps=3).opt_state)(STARTS, KEYS)
    run = lambda x, data, state: rs.fit(
        x, noisy, data, ADAM, steps=5, key=jr.key(0), opt_state=state
    )
    together: Any = jax.vmap(run)(STARTS, data, states)
    for n in range(3):
        same(one(together, n), run(STARTS[n], data[n], one(states, n)))


def test_a_loss_may_close_over_what_is_traced():
    def run(scale, start):
        loss = lambda x, data, key: (scale * jnp.sum((x - data) ** 2), {"count": jnp.sum(x > 0)})
        return fit(start, KEYS[0], losses=loss)

    scales = jnp.array([0.1, 1.0, 10.0])
    together: Any = jax.vmap(run, (0, None))(scales, STARTS[0])
    for n, scale in enumerate(scales):
        same(one(together, n), run(float(scale), STARTS[0]))


def test_models_with_other_leaves():
    make = eqx.filter_vmap(lambda key: eqx.nn.MLP(1, 1, 4, 1, key=key))
    loss = lambda model, data, key: jnp.mean(jax.vmap(model)(data[:, None]) ** 2)
    together: Any = eqx.filter_vmap(lambda model, key: fit(model, key, losses=loss))(
        make(KEYS), KEYS
    )
    alone = fit(eqx.nn.MLP(1, 1, 4, 1, key=KEYS[1]), KEYS[1], losses=loss)
    leaves = lambda tree: jax.tree.leaves(eqx.filter(tree, eqx.is_array))
    for ours, theirs in zip(leaves(together.model), leaves(alone.model), strict=True):
        np.testing.assert_allclose(ours[1], theirs, rtol=1e-10)


def test_the_result_has_a_derivative():
    """Plain descent on a square, through all of its steps."""
    loss = lambda x, data, key: (x - data) ** 2
    sgd = optax.sgd(0.1)

    def end(start, data):
        return rs.fit(start, loss, data, sgd, steps=7, key=jr.key(0)).model

    slopes = jax.grad(end, (0, 1))(jnp.asarray(3.0), jnp.asarray(1.0))
    np.testing.assert_allclose(slopes, (0.8**7, 1 - 0.8**7), rtol=1e-12)


def test_what_calls_python_is_refused(tmp_path):
    for loop in (rs.Loop(callback=lambda *_: None), rs.Loop(checkpoint=rs.Checkpoint(tmp_path))):
        with pytest.raises(ValueError, match="inside of a transformation"):
            jax.vmap(lambda x, key, loop=loop: fit(x, key, loop=loop))(STARTS, KEYS)
    jax.vmap(lambda x, key: fit(x, key, loop=rs.Loop(progress=True)))(STARTS, KEYS)
