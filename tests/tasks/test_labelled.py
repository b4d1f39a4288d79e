"""Labels, batches and splits; points of the Yin-Yang figure; digits."""

import jax
import numpy as np
import pytest

import roughsnn as rs

TASKS = {
    "yin_yang": lambda seed: rs.tasks.yin_yang((2000, 300, 400), seed=seed),
    "digits": lambda seed: rs.tasks.digits(seed=seed),
    "mnist1d": lambda seed: rs.tasks.mnist1d((57, 20, 33), seed=seed),
}
SIZES = {"yin_yang": (2000, 300, 400), "digits": (1087, 355, 355), "mnist1d": (57, 20, 33)}
SHAPES = {"yin_yang": (4,), "digits": (8, 8), "mnist1d": (40,)}
NEEDS = {"digits": "sklearn", "mnist1d": "mnist1d"}


def splits_of(name: str, seed: int = 3) -> rs.tasks.Splits:
    if name in NEEDS:
        pytest.importorskip(NEEDS[name])
    return TASKS[name](seed)


@pytest.mark.parametrize("name", TASKS)
def test_splits_are_apart_and_come_again(name):
    splits, again, other = splits_of(name), splits_of(name), splits_of(name, 4)
    assert tuple(map(len, splits)) == SIZES[name]
    for own, same, new in zip(splits, again, other, strict=True):
        assert own.inputs.shape[1:] == SHAPES[name]
        np.testing.assert_array_equal(own.inputs, same.inputs)
        np.testing.assert_array_equal(own.labels, same.labels)
        assert len(np.unique(own.labels)) == own.classes
        fixed = name == "digits" and own is splits.test
        assert np.array_equal(own.inputs, new.inputs) == fixed
    rows = [set(map(bytes, x.inputs)) for x in splits]
    assert not rows[0] & rows[1] and not rows[0] & rows[2] and not rows[1] & rows[2]


def test_random_numbers_of_others_stay():
    pytest.importorskip("mnist1d")
    np.random.seed(5)
    expected = np.random.uniform(size=3)
    np.random.seed(5)
    rs.tasks.mnist1d((10, 10, 10))
    np.testing.assert_array_equal(np.random.uniform(size=3), expected)


def nearest(data: rs.tasks.Labelled, points) -> np.ndarray:
    """The labels of the samples next to these."""
    distances = np.linalg.norm(data.inputs[None] - np.asarray(points)[:, None], axis=-1)
    return data.labels[np.argmin(distances, 1)]


def test_points_of_the_figure():
    """Dots, heads around them, and bodies; turned by half a turn, yin is yang. Its picture tells
    classes from near samples, and no straight line does."""
    train, _, test = rs.tasks.yin_yang((5000, 10, 1000))
    x, y = train.inputs[:, 0], train.inputs[:, 1]
    np.testing.assert_allclose(train.inputs[:, 2:], 1 - train.inputs[:, :2])
    assert np.hypot(x - 0.5, y - 0.5).max() <= 0.5
    heads = [(0.75, 0.65, 0), (0.25, 0.35, 1)]
    places = [(0.75, 0.5, 2), (0.25, 0.5, 2), (0.5, 0.9, 1), (0.5, 0.1, 0), *heads]
    points = [(a, b, 1 - a, 1 - b) for a, b, _ in places]
    np.testing.assert_array_equal(nearest(train, points), [kind for *_, kind in places])
    turned = nearest(train, test.inputs[:, [2, 3, 0, 1]])
    assert np.mean(turned == np.array([1, 0, 2])[test.labels]) > 0.96
    assert np.mean(nearest(train, test.inputs) == test.labels) > 0.96
    # As many of each class, to three standard errors.
    counts = np.bincount(train.labels)
    assert np.all(np.abs(counts - 5000 / 3) < 3 * np.sqrt(5000 * 2 / 9))
    columns = np.concatenate([train.inputs[:, :2], np.ones((5000, 1))], 1)
    fit, *_ = np.linalg.lstsq(columns, np.eye(3)[train.labels], rcond=None)
    linear = np.argmax(np.c_[test.inputs[:, :2], np.ones(1000)] @ fit, 1)
    assert np.mean(linear == test.labels) < 0.7


def test_batches():
    """Each sample once at most, in an order of the seed; inputs of any kind."""
    trains = rs.SpikeTrain.stack(
        [rs.SpikeTrain.from_lists([[0.1 * n + 0.05]], t0=0.0, t1=1.0) for n in range(7)]
    )
    data = rs.tasks.Labelled(trains, [0, 1, 2, 0, 1, 2, 0], 3)
    found = list(data.batches(3, seed=(1, 2)))
    assert len(found) == 2
    for inputs, labels in found:
        numbers = np.round(np.asarray(inputs.times)[:, 0] * 10 - 0.5).astype(int)
        np.testing.assert_array_equal(labels, numbers % 3)
    chosen = np.concatenate([np.asarray(inputs.times)[:, 0] for inputs, _ in found])
    assert len(np.unique(chosen)) == 6
    order = lambda seed: [labels.tolist() for _, labels in data.batches(3, seed=seed)]
    assert order(1) == order(1)
    assert len({str(order(seed)) for seed in range(9)}) > 1
    assert jax.tree.structure(data) == jax.tree.structure(jax.tree.map(lambda x: x, data))


def test_bad_input():
    labelled, x = rs.tasks.Labelled, np.zeros((4, 2))
    with pytest.raises(ValueError, match=r"integers in 0 \.\.\. 1.*got 0 \.\.\. 2"):
        labelled(x, [0, 1, 2, 0], 2)
    with pytest.raises(ValueError, match="No sample has the label 1, 3"):
        labelled(x, [0, 2, 2, 0], 4)
    with pytest.raises(ValueError, match=r"the 4 samples .* got shape \(3, 2\)"):
        labelled(x[:3], [0, 1, 1, 0], 2)
    with pytest.raises(ValueError, match="`labels` must be integers"):
        labelled(x, [0.5, 1, 1, 0], 2)
    with pytest.raises(ValueError, match="at most the 4 samples, got 5"):
        next(labelled(x, [0, 1, 1, 0], 2).batches(5, seed=0))
    with pytest.raises(ValueError, match="`seed` must be an integer, or several"):
        next(labelled(x, [0, 1, 1, 0], 2).batches(2, seed=-1))
    with pytest.raises(ValueError, match="three positive integers"):
        rs.tasks.yin_yang((100, 10))
    with pytest.raises(ValueError, match="No sample has the label"):
        rs.tasks.yin_yang((100, 1, 10))
    with pytest.raises(ValueError, match="ten at least"):
        rs.tasks.mnist1d((100, 5, 10))
