import dataclasses

import jax
import jax.numpy as jnp
import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import optax
import pytest

import roughsnn as rs

matplotlib.use("agg")
TRAIN = rs.SpikeTrain.from_lists([[0.1, 0.5], [0.3]], t0=0.0, t1=1.0)
BATCH = rs.SpikeTrain.stack([TRAIN, rs.SpikeTrain.from_lists([[0.2], []], t0=0.0, t1=1.0)])
TS = jnp.linspace(0.02, 1, 50)


@pytest.fixture(autouse=True)
def close():
    yield
    plt.close("all")


def spikes(ax):
    return [c.get_positions() for c in ax.collections]


def test_rasters():
    ax = rs.plot.raster(TRAIN)
    np.testing.assert_allclose(spikes(ax)[0], [0.1, 0.5])
    assert ax.get_ylabel() == "neuron" and ax.get_xlim() == (0.0, 1.0)
    _, given = plt.subplots()
    assert rs.plot.raster(BATCH, ax=given) is given
    assert sorted(spikes(given)[0]) == pytest.approx([0.1, 0.3, 0.5])
    one = rs.plot.raster(BATCH, neuron=1)
    np.testing.assert_allclose(spikes(one)[0], [0.3])
    assert one.get_ylabel() == "trial" and len(spikes(one)[1]) == 0
    with pytest.raises(ValueError, match=r"train\.only"):
        rs.plot.raster(TRAIN, neuron=1)
    with pytest.raises(TypeError, match="must be a roughsnn.SpikeTrain"):
        rs.plot.raster(TRAIN.times)  # pyright: ignore[reportArgumentType]


def test_populations_have_a_colour_and_a_name():
    named = dataclasses.replace(
        rs.SpikeTrain.from_lists([[0.1], [0.2], [0.3]], t0=0.0, t1=1.0),
        populations=(("exc", 2), ("inh", 1)),
    )
    ax = rs.plot.raster(named)
    colors = [tuple(c.get_colors()[0]) for c in ax.collections]
    assert colors[0] == colors[1] != colors[2]
    assert [t.get_text() for t in ax.get_yticklabels()] == ["exc", "inh"]
    np.testing.assert_allclose(ax.get_yticks(), [0.5, 2.0])
    same = {tuple(c.get_colors()[0]) for c in rs.plot.raster(named, color="k").collections}
    assert same == {(0.0, 0.0, 0.0, 1.0)}
    assert rs.plot.raster(named["exc"]).get_ylabel() == "neuron"


def test_psths():
    ax = rs.plot.psth(BATCH, BATCH, ts=TS, timescale=0.05, neuron=0)
    expected = rs.losses.psth(BATCH, TS, 0.05)[:, 0]
    for line in ax.lines:
        np.testing.assert_allclose(line.get_ydata(), expected)
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["data", "model"]
    assert len(rs.plot.psth(BATCH, ts=TS, timescale=0.05).lines) == 1
    with pytest.raises(ValueError, match="same window"):
        rs.plot.psth(BATCH, jax.vmap(lambda t: t.window(0.0, 0.5))(BATCH), ts=TS, timescale=0.05)


def test_matrices_and_weights():
    values = np.array([[0.0, -2.0], [1.0, 0.0]])
    ax = rs.plot.matrix(values, label="w")
    assert ax.images[0].get_clim() == (-2, 2)
    np.testing.assert_array_equal(ax.images[0].get_array(), values)
    assert rs.plot.matrix(np.zeros((2, 2))).images[0].get_clim() == (-1, 1)
    ax = rs.plot.weights(2 * values, values)
    np.testing.assert_array_equal(ax.lines[-1].get_xdata(), [-2, 1])
    np.testing.assert_array_equal(ax.lines[-1].get_ydata(), [-4, 2])
    with pytest.raises(ValueError, match="one shape"):
        rs.plot.weights(values, values[:1])
    with pytest.raises(ValueError, match="must be a matrix"):
        rs.plot.matrix(np.zeros(3))


def test_rescaled_intervals():
    quantiles = np.random.default_rng(0).uniform(size=200)
    ax = rs.plot.ks(quantiles)
    np.testing.assert_allclose(ax.lines[0].get_ydata(), np.sort(quantiles))
    path = ax.collections[0].get_paths()[0].vertices
    assert np.abs(path[:, 0] - path[:, 1]).max() == pytest.approx(1.36 / 200**0.5)
    ax = rs.plot.qq(quantiles)
    x, y = ax.lines[-1].get_data()
    assert np.corrcoef(x, y)[0, 1] > 0.98
    for wrong in ([], [1.2], [np.nan]):
        with pytest.raises(ValueError, match=r"numbers in \[0, 1\]"):
            rs.plot.ks(wrong)


def test_training_curves():
    loss = lambda m, d, k: (jnp.sum(m**2), {"size": jnp.sum(jnp.abs(m))})
    fit = rs.fit(jnp.ones(2), loss, None, optax.sgd(0.1), steps=5, key=jax.random.key(0))
    ax = rs.plot.training(fit)
    assert [line.get_label() for line in ax.lines] == ["loss", "size"]
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), fit.history["loss"])
    assert len(rs.plot.training(fit, names=("loss",)).lines) == 1


def test_validation_curves():
    """At the number of updates that each value is of."""
    loss = lambda m, d, k: jnp.sum((m - d) ** 2)
    held_out = rs.Validation(jnp.full(2, 0.3), every=2)
    fit = rs.fit(
        *(jnp.ones(2), loss, jnp.zeros(2), optax.sgd(0.2)),
        **{"steps": 6, "key": jax.random.key(0), "validation": held_out},
    )
    ax = rs.plot.training(fit)
    np.testing.assert_array_equal(ax.lines[1].get_xdata(), [2, 4, 6])
    # m = 0.6^n after n updates.
    expected = 2 * (0.6 ** np.array([2, 4, 6]) - 0.3) ** 2
    np.testing.assert_allclose(ax.lines[1].get_ydata(), expected, rtol=1e-6)
    assert fit.best_step == 2
    np.testing.assert_array_equal(ax.lines[2].get_xdata(), 2)
