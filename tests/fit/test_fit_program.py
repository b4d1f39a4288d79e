"""The compiled part of `fit`: the steps are those of a plain loop, and compiled once."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest

import roughsnn as rs

from ..helpers import compilations

DATA = jnp.linspace(-1.0, 2.0, 5)
KEY = jr.key(3)
OPTIMS = {
    "adam": optax.adam(0.1),
    "rmsprop": optax.rmsprop(0.02, momentum=0.3),
    "schedule": optax.chain(
        optax.clip_by_global_norm(1.0), optax.adam(optax.cosine_decay_schedule(0.1, 60))
    ),
}


def noisy(x, data, key):
    return jnp.sum((x - data - jr.normal(key, x.shape)) ** 2), {"norm": jnp.sum(x**2)}


def fit(steps=60, losses=noisy, optim=OPTIMS["adam"], model=None, data=DATA, key=KEY, **options):
    model = jnp.zeros(5) if model is None else model
    # The look at dt0 would trace the losses once more.
    loop = options.pop("loop", rs.Loop(check_step=False))
    return rs.fit(model, losses, data, optim, steps=steps, key=key, loop=loop, **options)


@pytest.mark.parametrize("name", OPTIMS)
def test_it_is_a_plain_loop_bit_by_bit(name):
    optim = OPTIMS[name]
    result = fit(optim=optim)

    @jax.jit
    def step(x, opt_state, number):
        value_and_grad = jax.value_and_grad(noisy, has_aux=True)
        (value, metrics), grad = value_and_grad(x, DATA, jr.fold_in(KEY, number))
        with jax.numpy_dtype_promotion("standard"):
            updates, opt_state = optim.update(grad, opt_state, x)
        return optax.apply_updates(x, updates), opt_state, value, metrics["norm"]

    x = jnp.zeros(5)
    opt_state = optim.init(x)
    history = []
    for number in range(60):
        x, opt_state, *row = step(x, opt_state, jnp.asarray(number))
        history.append(row)
    np.testing.assert_array_equal(result.model, x)
    np.testing.assert_array_equal(np.array(history).T, [*result.history.values()])
    assert list(result.history) == ["loss", "norm"]
    for ours, plain in zip(*map(jax.tree.leaves, (result.opt_state, opt_state)), strict=True):
        np.testing.assert_array_equal(ours, plain)


def test_a_second_fit_compiles_nothing():
    class Net(eqx.Module):
        x: jax.Array
        activation: object = jax.nn.tanh

    def loss(model, data, key):
        calls.append(1)
        return noisy(model.activation(model.x), data, key)

    def run(seed, steps=60, size=5, losses=loss):
        with compilations() as found:
            data = jnp.full(size, float(seed))
            model, key = Net(jnp.zeros(size)), jr.key(seed)
            # Those are small programs of their own.
            begun = len(found)
            fit(steps, losses, model=model, data=data, key=key)
        return len(found) - begun

    calls: list[int] = []
    assert run(0) >= 1 and len(calls) == 1
    # Other values, another number of steps, longer than a block has: the same program.
    assert run(1) == run(2, steps=5000) == 0 and len(calls) == 1
    # A shape or a function is another.
    assert run(0, size=6) >= 1 and len(calls) == 2
    assert run(0, losses=lambda m, d, k: loss(m, d, k)) >= 1 and len(calls) == 3


def test_a_second_fit_of_many_starts_compiles_nothing():
    for seed in (0, 1):
        starts = jr.normal(jr.key(seed), (3, 5))
        with compilations() as found:
            jax.vmap(lambda x: fit(model=x))(starts)
    assert not found


def test_blocks_do_not_show():
    """With a callback each step is a block."""
    rows = []
    keep = lambda step, model, metrics: rows.append((np.asarray(model), metrics))
    one, many = fit(2500, loop=rs.Loop(callback=keep)), fit(2500)
    np.testing.assert_array_equal(one.model, many.model)
    np.testing.assert_array_equal(rows[-1][0], many.model)
    for name in ("loss", "norm"):
        np.testing.assert_array_equal(one.history[name], many.history[name])
        assert [row[name] for _, row in rows] == many.history[name].tolist()
    assert one.seconds.shape == many.seconds.shape == (2500,)


def test_steps_in_flight_change_nothing_after_a_stop():
    """In the middle of a block, which goes on no further."""
    loss = lambda x, data, key: jnp.sum((x - data) ** 2) / jnp.where(x[0] < -0.35, jnp.nan, 1.0)
    models = []
    stepwise = fit(
        500, loss, loop=rs.Loop(callback=lambda step, model, metrics: models.append(model))
    )
    result = fit(500, loss)
    assert result.stopped == stepwise.stopped and "not finite at step 4" in str(result.stopped)
    assert result.steps == 4 and len(result.history["loss"]) == 5
    assert np.isnan(result.history["loss"][-1])
    np.testing.assert_array_equal(result.model, models[-1])
    assert optax.tree.get(result.opt_state, "count") == 4


def test_an_optimiser_goes_on_where_it_was():
    still = lambda x, data, key: jnp.sum((x - data) ** 4)
    whole, half = fit(40, still), fit(15, still)
    rest = fit(25, still, model=half.model, opt_state=half.opt_state)
    np.testing.assert_array_equal(rest.model, whole.model)
    np.testing.assert_array_equal(rest.history["loss"], whole.history["loss"][15:])
    assert bool(eqx.tree_equal(rest.opt_state, whole.opt_state))
    anew = fit(25, still, model=half.model)
    assert not np.array_equal(anew.model, whole.model)


def test_the_state_of_another_optimiser_is_refused():
    for other in (OPTIMS["rmsprop"].init(jnp.zeros(5)), OPTIMS["adam"].init(jnp.zeros(4)), ()):
        with pytest.raises(ValueError, match="`opt_state` is of another optimiser or model: in it"):
            fit(opt_state=other)


@pytest.mark.parametrize(
    "optim", [optax.lbfgs(), optax.chain(optax.sgd(0.1), optax.contrib.reduce_on_plateau())]
)
def test_optimisers_that_want_to_know_the_loss(optim):
    loss = lambda x, data, key: jnp.sum(jnp.cosh(x - data))
    result = fit(40, loss, optim)
    np.testing.assert_allclose(result.model, DATA, atol=3e-2)


def test_numpy_and_weakly_typed_parameters():
    """They are arrays with a dtype, whatever they were made of."""
    loss = lambda model, data, key: (model["a"] - 1) ** 2 + jnp.sum(model["b"] ** 2)
    model = {"a": jnp.asarray(0.0), "b": np.ones(2), "c": 3.0}
    result = fit(3, loss, model=model)
    assert result.steps == 3 and result.model["c"] == 3.0
    assert result.model["a"].dtype == result.model["b"].dtype == jnp.float64
    assert loss(result.model, None, None) < loss(model, None, None)


def test_what_a_loss_raises_comes_through():
    def loss(x, data, key):
        return jnp.sum(eqx.error_if(x, x[0] < -0.35, "too far") ** 2 + (x - data) ** 2)

    with pytest.raises(eqx.EquinoxRuntimeError, match="too far"):
        fit(100, loss)


def test_bad_input():
    with pytest.raises(TypeError, match="`callback` must be a function"):
        rs.Loop(callback=3)  # pyright: ignore[reportArgumentType]
    with pytest.raises(TypeError, match="`checkpoint` must be a roughsnn.Checkpoint, got 'here'"):
        rs.Loop(checkpoint="here")  # pyright: ignore[reportArgumentType]
