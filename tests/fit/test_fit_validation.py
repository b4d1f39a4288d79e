"""Validation and early stopping of `fit`."""

from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest

import roughsnn as rs

SGD = optax.sgd(0.02)


def loss(x, data, key):
    """Training pulls to `data`, past where the held-out data are."""
    return (x - data) ** 2 + 0 * jr.normal(key), {"x": x}


def run(steps=100, held_out=0.5, every=4, patience=None, loop=None, optim=SGD, losses=loss) -> Any:
    return rs.fit(
        jnp.asarray(0.0),
        losses,
        jnp.asarray(1.0),
        optim,
        steps=steps,
        key=jr.key(0),
        validation=rs.Validation(jnp.asarray(held_out), every=every, patience=patience),
        loop=loop,
    )


def expected(steps=100, every=4, held_out=0.5):
    """Models after 0, 1, ... updates, and the validation losses."""
    xs = [0.0]
    for _ in range(steps):
        xs.append(xs[-1] - 0.02 * 2 * (xs[-1] - 1))
    xs = np.array(xs)
    return xs, (xs[every::every] - held_out) ** 2


def test_the_best_model_is_kept():
    xs, values = expected()
    result = run()
    best = 4 * (int(np.argmin(values)) + 1)
    assert result.best_step == best < 100 == result.steps and result.stopped is None
    np.testing.assert_allclose(result.model, xs[best], rtol=1e-12)
    np.testing.assert_allclose(result.validation, values, rtol=1e-12)
    np.testing.assert_allclose(result.history["x"], xs[:-1], rtol=1e-12)
    assert set(result.history) == {"loss", "x"}


@pytest.mark.parametrize("stepwise", [False, True])
@pytest.mark.parametrize("patience", [1, 3])
def test_it_stops_early(patience, stepwise):
    xs, values = expected()
    best = 4 * (int(np.argmin(values)) + 1)
    result = run(patience=patience, loop=rs.Loop(callback=(lambda *_: None) if stepwise else None))
    assert result.steps == best + 4 * patience and result.best_step == best
    assert len(result.history["loss"]) == result.steps
    assert len(result.validation) == result.steps // 4
    np.testing.assert_allclose(result.model, xs[best], rtol=1e-12)
    assert f"no new lowest value in {patience} evaluations" in str(result.stopped)


def test_the_optimiser_is_that_of_the_best_model():
    adam = optax.adam(0.02)
    result = run(optim=adam)
    assert isinstance(result.best_step, int) and 0 < result.best_step < 100
    assert optax.tree.get(result.opt_state, "count") == result.best_step
    short = run(steps=result.best_step, optim=adam)
    np.testing.assert_array_equal(short.model, result.model)


def test_each_evaluation_has_the_same_key_and_no_step_has_it():
    noise = lambda x, data, key: jr.normal(key) + 0 * (x - data)
    result = run(losses=noise)
    assert len(set(result.validation)) == 1
    assert result.validation[0] not in result.history["loss"]
    # The first is the lowest, if all are the same.
    assert result.best_step == 4


def test_without_a_finite_value_the_last_model_is_the_best():
    result = run(held_out=float("nan"))
    xs, _ = expected()
    np.testing.assert_allclose(result.model, xs[-1], rtol=1e-12)
    assert result.best_step == result.steps == 100
    assert run(held_out=float("nan"), patience=2).steps == 8


def test_a_stop_at_a_value_that_is_not_finite_keeps_the_best():
    edge = lambda x, data, key: (x - data) ** 2 + jnp.where((data == 1) & (x > 0.8), jnp.nan, 0.0)
    result = run(losses=edge)
    xs, values = expected()
    assert result.best_step == 4 * (int(np.argmin(values)) + 1)
    np.testing.assert_allclose(result.model, xs[result.best_step], rtol=1e-12)
    assert "not finite" in str(result.stopped) and "the best one before it" in str(result.stopped)


def test_several_starts_stop_each_at_its_time():
    starts = jnp.array([0.0, 0.4, -1.0])

    def fit(x) -> Any:
        held_out = rs.Validation(jnp.asarray(0.5), every=4, patience=2)
        return rs.fit(x, loss, jnp.asarray(1.0), SGD, steps=100, key=jr.key(0), validation=held_out)

    together: Any = jax.vmap(fit)(starts)
    for n, start in enumerate(starts):
        alone = fit(start)
        assert together.steps[n] == alone.steps < 100 and together.stopped[n] == 2
        assert together.best_step[n] == alone.best_step
        np.testing.assert_allclose(together.model[n], alone.model, rtol=1e-12)
        cut = together.validation[n][: len(alone.validation)]
        np.testing.assert_allclose(cut, alone.validation, rtol=1e-12)
        assert np.isnan(together.validation[n][len(alone.validation) :]).all()
    assert len(set(together.steps.tolist())) == 3


def test_bad_input():
    with pytest.raises(ValueError, match="is every 200 steps, `steps` is 100: no model"):
        run(every=200)
    for options in (dict(every=0), dict(patience=0)):
        with pytest.raises(ValueError, match="must be a positive integer"):
            rs.Validation(None, **options)
    with pytest.raises(TypeError, match=r"must be a roughsnn.Validation, got \(\)"):
        rs.fit(
            jnp.zeros(1),
            loss,
            None,
            SGD,
            steps=1,
            key=jr.key(0),
            validation=(),  # pyright: ignore[reportArgumentType]
        )
