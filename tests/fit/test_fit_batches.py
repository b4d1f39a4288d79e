"""Minibatches of `fit`."""

from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest

import roughsnn as rs

DATA = {"x": jnp.arange(7.0), "y": np.arange(14).reshape(7, 2), "none": None}
SGD = optax.sgd(0.1)


def seen(model, data, key):
    """The metrics say which samples the batch has."""
    names = {f"sample{n}": x for n, x in enumerate(data["x"])}
    right = jnp.all(data["y"][:, 0] == 2 * data["x"].astype(data["y"].dtype))
    return (model - jnp.mean(data["x"])) ** 2, {**names, "right": right, "key": jr.uniform(key)}


def samples(result):
    return np.stack([result.history[f"sample{n}"] for n in range(2)], 1)


def run(steps=30, seed=0, data=DATA, batch_size=2, **options):
    return rs.fit(
        jnp.asarray(0.0),
        seen,
        data,
        SGD,
        steps=steps,
        key=jr.key(seed),
        batch_size=batch_size,
        **options,
    )


def test_an_epoch_is_a_permutation_without_its_last_samples():
    result = run()
    epochs = samples(result).reshape(10, 6)
    assert result.history["right"].all()
    for epoch in epochs:
        assert len(set(epoch)) == 6 and set(epoch) <= set(range(7))
    assert len({tuple(epoch) for epoch in epochs}) == 10
    # All samples have their turn.
    assert set(epochs.ravel()) == set(range(7))


def test_the_steps_are_those_of_a_plain_loop():
    result, batches, x = run(), samples(run()), 0.0
    for batch in batches:
        x -= 0.1 * 2 * (x - batch.mean())
    np.testing.assert_allclose(result.model, x, rtol=1e-12)


def test_batches_depend_on_the_key_alone():
    a, b, c = run(), run(steps=40), run(seed=1)
    np.testing.assert_array_equal(samples(a), samples(b)[:30])
    assert not np.array_equal(samples(a), samples(c))
    # A callback cuts the fit into other blocks.
    d = run(loop=rs.Loop(callback=lambda *_: None))
    np.testing.assert_array_equal(samples(a), samples(d))
    # Nor have the keys of the steps changed.
    key = [jr.uniform(jr.fold_in(jr.key(0), n)) for n in range(30)]
    np.testing.assert_array_equal(a.history["key"], key)


def test_all_samples_may_be_one_batch():
    loss = lambda model, data, key: jnp.sum((model - jnp.sort(data)) ** 2)
    one, all_ = (
        rs.fit(jnp.zeros(7), loss, DATA["x"], SGD, steps=9, key=jr.key(0), batch_size=size)
        for size in (7, None)
    )
    np.testing.assert_array_equal(one.model, all_.model)


def test_many_starts_have_batches_of_their_own():
    keys = jr.split(jr.key(0), 3)
    fit = lambda x, key: rs.fit(x, seen, DATA, SGD, steps=30, key=key, batch_size=2)
    together: Any = jax.vmap(fit)(jnp.zeros(3), keys)
    for n, key in enumerate(keys):
        alone = fit(jnp.asarray(0.0), key)
        np.testing.assert_allclose(together.model[n], alone.model, rtol=1e-12)
        one = jax.tree.map(lambda x, n=n: x[n], together)
        np.testing.assert_array_equal(samples(one), samples(alone))


@pytest.mark.parametrize(
    "data, size, message",
    [
        (DATA, 8, "`batch_size` is 8, `data` has only 7 samples"),
        (DATA, 0, "`batch_size` must be a positive integer"),
        ({"x": jnp.ones(3), "y": jnp.ones(4)}, 2, r"got 3 in `data\['x'\]`, 4 in `data\['y'\]`"),
        ((jnp.ones(3), jnp.asarray(1.0)), 2, r"with the samples in front, got `data\[1\]`"),
        ((jnp.ones(3), "name"), 2, r"with the samples in front, got `data\[1\]` = name"),
        (None, 2, "got no leaves"),
    ],
)
def test_bad_input(data, size, message):
    with pytest.raises(ValueError, match=message):
        run(data=data, batch_size=size)
