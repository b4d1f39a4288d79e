from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest

import roughsnn as rs


def quadratic(model, data, key):
    return jnp.sum((model["x"] - data) ** 2), {"norm": jnp.sum(model["x"] ** 2)}


MODEL = {"x": jnp.zeros(3), "frozen": jnp.ones(2), "name": "m", "n": jnp.array([1])}
TARGET = jnp.arange(3.0)


ADAM = optax.adam(0.1)
OBJECTIVE = {"weights", "balance", "trainable"}


def run(model=MODEL, loss: Any = quadratic, steps=200, callback=None, **options):
    """A fit; some options are those of the objective."""
    own = {name: options.pop(name) for name in OBJECTIVE & set(options)}
    # The look at dt0 would trace the losses once more.
    loop = rs.Loop(callback=callback, check_step=False)
    usual: dict[str, Any] = dict(data=TARGET, optim=ADAM, key=jr.key(0), loop=loop)
    losses = rs.Objective(loss, **own) if own else loss
    return rs.fit(model, losses, steps=steps, **(usual | options))


def test_it_finds_the_minimum_and_keeps_the_history():
    result = run()
    np.testing.assert_allclose(result.model["x"], TARGET, atol=1e-2)
    assert result.steps == 200 and result.stopped is None
    assert set(result.history) == {"loss", "norm"} and len(result.history["loss"]) == 200
    assert result.history["loss"][0] == float(jnp.sum(TARGET**2))
    assert result.best_step == 200 and len(result.validation) == 0
    assert result.seconds.shape == (200,) and result.model["name"] == "m"


def test_only_what_is_trainable_moves():
    spec = {"x": True, "frozen": False, "name": False, "n": False}
    loss = lambda m, d, k: jnp.sum((m["x"] - d) ** 2) + jnp.sum(m["frozen"] ** 2)
    result = run(loss=loss, steps=3, trainable=spec)
    np.testing.assert_array_equal(result.model["frozen"], MODEL["frozen"])
    assert not np.array_equal(result.model["x"], MODEL["x"])


def test_the_callback_sees_every_step_and_can_end_the_fit():
    seen = []

    def callback(step, model, metrics):
        seen.append((step, float(model["x"][2]), metrics["loss"]))
        return step == 4

    result = run(callback=callback)
    assert [s for s, _, _ in seen] == list(range(5)) and result.steps == 5
    assert result.stopped is not None and "callback" in result.stopped
    assert seen[-1][1] == float(result.model["x"][2])


@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_a_loss_that_is_not_finite_ends_the_fit_with_the_last_good_model(where):
    def loss(x, data, key):
        # Finite until x passes 0.35; the square root has an infinite slope at 0.
        bad = jnp.where(x > 0.35, jnp.nan, 0.0) if where == "loss" else 0.0
        edge = jnp.sqrt(jnp.maximum(0.35 - x, 0.0)) if where == "gradient" else 0.0
        return (x - 1) ** 2 + bad + edge

    models = []
    result = rs.fit(
        jnp.asarray(0.0),
        loss,
        None,
        optax.sgd(0.05),
        steps=100,
        key=jr.key(0),
        loop=rs.Loop(callback=lambda step, model, metrics: models.append(float(model))),
    )
    assert result.stopped is not None and "not finite" in result.stopped
    assert result.steps < 100 and np.isfinite(float(result.model))
    assert float(result.model) == models[-1]


def test_each_step_has_its_own_key_and_the_same_fit_is_the_same():
    noisy = lambda x, data, key: x * jr.normal(key)
    fit = lambda seed: rs.fit(
        jnp.asarray(1.0), noisy, None, optax.sgd(0.1), steps=5, key=jr.key(seed)
    )
    a, b, c = fit(0), fit(0), fit(1)
    assert float(a.model) == float(b.model) != float(c.model)
    assert len(set(a.history["loss"] / np.r_[1, a.history["loss"][:-1]])) == 5


def test_a_module_is_a_model():
    net = eqx.nn.Linear(2, 1, key=jr.key(0))
    loss = lambda m, d, k: jnp.mean(jax.vmap(m)(jnp.ones((4, 2))) ** 2)
    result = rs.fit(net, loss, None, optax.adam(0.05), steps=50, key=jr.key(0))
    assert result.history["loss"][-1] < result.history["loss"][0]


def test_bad_input():
    with pytest.raises(ValueError, match="no trainable leaves"):
        run(model={"n": jnp.array([1])})
    with pytest.raises(ValueError, match="must return a scalar"):
        run(loss=lambda m, d, k: m["x"])
    with pytest.raises(ValueError, match="`steps` must be a positive integer"):
        run(steps=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(loss=None), "`losses` must be a function `loss.model, data, key.`, got None"),
        (dict(loss={"a": quadratic, "b": 1.0}), r"`losses\['b'\]` must be a function .*, got 1.0"),
        (dict(loss=lambda model: 0.0), "`losses` must be a function .*too many positional"),
        (dict(optim=0.1), "`optim` must be an optax optimiser, got 0.1"),
        (dict(key=0), "`key` must be one key"),
        (dict(key=rs.antithetic(jr.key(0))), "`key` must not be a mirrored one"),
        (dict(loop=True), "`loop` must be a roughsnn.Loop, got True"),
        (dict(data={"x": np.array(["a"])}), r"`data\['x'\]` must be an array of numbers, got <U1"),
        (dict(weights=[1.0]), "`weights` must be a mapping {name: number}, got"),
        (dict(trainable="all"), "`trainable` must be a function of a leaf.*got 'all'"),
    ],
)
def test_arguments_of_another_kind(options, message):
    with pytest.raises(TypeError, match=message):
        run(steps=1, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            dict(loss=lambda m, d, k: jax.lax.complex(m["x"][0], m["x"][1])),
            "must return real floating numbers",
        ),
        (dict(trainable={"y": True}), "`trainable` must be .*structure of the model"),
        (dict(opt_state=[]), r"`opt_state` is of another .* the structure is \[\], not"),
    ],
)
def test_arguments_of_another_structure(options, message):
    with pytest.raises(ValueError, match=message):
        run(steps=1, **({"optim": optax.sgd(0.1)} | options))


@pytest.mark.slow
def test_the_progress_bar_can_be_asked_for(capsys):
    bar = rs.Loop(progress=True)
    fit = lambda: rs.fit(MODEL, sphere, TARGET, ADAM, steps=2, key=jr.key(0), loop=bar)
    jax.clear_caches()
    fit()
    shown = capsys.readouterr().err
    assert "loss=" in shown and "compiling:" in shown
    assert shown.rindex("fit:") > shown.rindex("compiling:")
    fit()
    shown = capsys.readouterr().err
    assert "2/2" in shown and "compiling" not in shown


def sphere(model, data, key):
    return jnp.sum((model["x"] - data) ** 2)


def tail(model, data, key):
    return 1e6 * jnp.sum(model["x"] ** 4), {"norm": jnp.sum(model["x"] ** 2)}


def test_several_losses_are_weighted_and_named():
    result = run(loss={"sphere": sphere, "tail": tail}, steps=5, weights={"tail": 2e-6})
    assert set(result.history) == {"loss", "sphere", "tail", "tail/norm"}
    h = result.history
    np.testing.assert_allclose(h["loss"], h["sphere"] + 2e-6 * h["tail"])
    single = run(loss=lambda m, d, k: sphere(m, d, k) + 2e-6 * tail(m, d, k)[0], steps=5)
    np.testing.assert_allclose(result.model["x"], single.model["x"], rtol=1e-12)


@pytest.mark.parametrize("balance", [False, True])
def test_one_function_may_return_several_losses(balance):
    """As a mapping of functions does; what they share is computed once."""
    calls = []

    def together(model, data, key):
        calls.append(1)
        return {"sphere": sphere(model, data, key), "tail": tail(model, data, key)[0]}

    apart = {"sphere": sphere, "tail": lambda m, d, k: tail(m, d, k)[0]}
    options: dict[str, Any] = dict(steps=5, weights={"tail": 2e-6}, balance=balance)
    one, two = run(loss=together, **options), run(loss=apart, **options)
    assert len(calls) == 1 and set(one.history) == {"loss", "sphere", "tail"}
    np.testing.assert_array_equal(one.model["x"], two.model["x"])
    np.testing.assert_array_equal(one.history["loss"], two.history["loss"])


def test_all_losses_get_the_key_of_the_step():
    noise = lambda m, d, key: jr.normal(key) + 0 * jnp.sum(m["x"])
    h = run(loss={"a": noise, "b": noise}, steps=3).history
    np.testing.assert_array_equal(h["a"], h["b"])
    assert len(set(h["a"])) == 3


def test_balanced_gradients_do_not_depend_on_the_scale_of_a_loss():
    def step(scale):
        losses = {"a": sphere, "b": lambda m, d, k: scale * jnp.sum((m["x"] + 1) ** 4)}
        return rs.fit(
            MODEL,
            rs.Objective(losses, balance=True, weights={"a": 0.3}),
            TARGET,
            optax.sgd(1.0),
            steps=1,
            key=jr.key(0),
        ).model["x"]

    small, large = step(1e-3), step(1e4)
    np.testing.assert_allclose(small, large, rtol=1e-12)
    a, b = -2 * TARGET, 4 * jnp.ones(3)
    expected = -(0.3 * a / jnp.linalg.norm(a) + b / jnp.linalg.norm(b))
    np.testing.assert_allclose(small, expected, rtol=1e-12)
    # A loss that has arrived has no direction.
    still = {"a": sphere, "b": lambda m, d, k: jnp.sum(m["x"] ** 2)}
    still = rs.Objective(still, balance=True)
    arrived = rs.fit(MODEL, still, TARGET, optax.sgd(1.0), steps=1, key=jr.key(0))
    np.testing.assert_allclose(arrived.model["x"], -a / jnp.linalg.norm(a), rtol=1e-12)


def test_bad_losses():
    two = {"sphere": sphere, "tail": tail}
    for options, message in (
        (dict(loss=two, weights={"tial": 1.0}), r"names \['tial'\], `losses` has"),
        (dict(loss=sphere, weights={"a": 1.0}), "for several losses"),
        (dict(loss=sphere, balance=True), "for several losses"),
        (dict(loss={}), "at least one loss"),
        (dict(loss=lambda m, d, k: {}), "at least one loss"),
        (dict(loss=lambda m, d, k: {"x": m["x"]}), r"`losses\['x'\]` must return a scalar"),
        (
            dict(loss={"x": lambda m, d, k: {"y": 0.0}}),
            r"must return a scalar, got several: \['y'\]",
        ),
        (dict(loss={"loss": sphere}), 'not be called "loss"'),
        (dict(loss={"x": lambda m, d, k: m["x"]}), r"`losses\['x'\]` must return a scalar"),
        (dict(loss=two, weights={"tail": jnp.inf}), "must be finite"),
        (dict(loss=lambda m, d, k: (sphere(m, d, k), {"loss": 0.0})), "not be called 'loss'"),
        (dict(loss=lambda m, d, k: ({"a": 0.0}, {"a": 0.0})), "not be called 'a'"),
        (dict(loss={"a": tail, "a/norm": sphere}), "not be called 'a/norm'"),
        (dict(loss=lambda m, d, k: (sphere(m, d, k), {"x": m["x"]})), "The metric 'x' must"),
    ):
        with pytest.raises(ValueError, match=message):
            run(steps=1, **options)


@pytest.mark.parametrize("balance", [False, True])
def test_losses_keep_their_dtype(balance):
    """Single precision where double is on, and nothing is promoted."""
    single = lambda m, d, k: jnp.sum((m - 1) ** 2)
    result = rs.fit(
        jnp.zeros(2, jnp.float32),
        rs.Objective({"a": single, "b": single}, balance=balance),
        None,
        optax.sgd(0.1),
        steps=2,
        key=jr.key(0),
    )
    assert result.model.dtype == jnp.float32 and result.stopped is None
    assert result.history["loss"][0] == 4
