"""Tasks in time: answers are what was shown before."""

from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import roughsnn as rs

TASKS = {
    "store_recall": lambda seed: rs.tasks.store_recall(200, seed=seed),
    "delayed_xor": lambda seed: rs.tasks.delayed_xor(200, seed=seed),
    "evidence_accumulation": lambda seed: rs.tasks.evidence_accumulation(200, seed=seed),
}


def replayed(name: str, shown: np.ndarray, channels: tuple[str, ...]) -> dict[int, int]:
    """The answers to one sample, by step, from what is shown alone."""
    rows = [{c for c, on in zip(channels, row, strict=True) if on} for row in shown]
    if name == "store_recall":
        kept, answers = None, {}
        for k, row in enumerate(rows):
            if "store" in row:
                assert kept is None
                (kept,) = row - {"store"}
            elif "recall" in row:
                assert kept is not None and row == {"recall"}
                answers[k], kept = int(kept), None
            else:
                assert row in ({"0"}, {"1"})
        return answers
    cues = [row for row in rows if row and "ask" not in row]
    asked = [k for k, row in enumerate(rows) if row == {"ask"}]
    if name == "delayed_xor":
        first, second = (next(iter(row)) for row in cues)
        return {k: int(first != second) for k in asked}
    # Two steps a cue.
    assert cues[::2] == cues[1::2] and len(cues) == 14
    right = sum("right" in row for row in cues[::2])
    return {k: int(right >= 4) for k in asked}


@pytest.mark.parametrize("name", TASKS)
def test_answers_are_what_was_shown(name):
    episodes = TASKS[name](1)
    assert len(episodes) == 200 and episodes.classes == 2
    for shown, answers, asked in zip(episodes.shown, episodes.answers, episodes.asked, strict=True):
        expected = replayed(name, shown, episodes.channels)
        assert list(expected) == np.flatnonzero(asked).tolist() and expected
        assert [answers[k] for k in expected] == list(expected.values())
        assert not np.any(answers[~asked])
    again, other = TASKS[name](1), TASKS[name](2)
    np.testing.assert_array_equal(episodes.shown, again.shown)
    assert not np.array_equal(episodes.shown, other.shown)
    # Neither answer is the better guess, to four standard errors.
    share = np.mean([a[q][-1] for a, q in zip(episodes.answers, episodes.asked, strict=True)])
    assert abs(share - 0.5) < 4 * 0.5 / 200**0.5


def test_times_of_the_cues():
    """Commands as likely as asked; pauses from the least to the largest."""
    often = rs.tasks.store_recall(2000, steps=40, probability=0.25, seed=0)
    # Two commands there are nearly always anyway.
    share = np.mean(often.shown[..., 2:].any(-1))
    assert abs(share - 0.25) < 4 * np.sqrt(0.25 * 0.75 / 80_000)
    rarely = rs.tasks.store_recall(50, probability=1e-12, seed=0).shown[..., 2:]
    np.testing.assert_array_equal(rarely.sum(1), np.ones((50, 2)))
    always = rs.tasks.store_recall(5, steps=5, probability=1.0, seed=0)
    np.testing.assert_array_equal(always.shown[..., 2], np.tile([1, 0, 1, 0, 1], (5, 1)))
    # Two of three steps, or all of them, by the law: 3 p^2 (1 - p) and p^3.
    few = rs.tasks.store_recall(4000, steps=3, probability=0.5, seed=0)
    assert abs(np.mean(few.shown[..., 2:].sum((1, 2)) == 3) - 0.25) < 4 * 0.433 / 4000**0.5
    many = rs.tasks.store_recall(20, steps=3000, probability=0.5, seed=0).shown[..., 2:]
    assert abs(many.any(-1).mean() - 0.5) < 4 * 0.5 / 60_000**0.5
    episodes = rs.tasks.evidence_accumulation(500, cues=5, delay=(2, 6), seed=0)
    assert episodes.shown.shape == (500, 24, 3)
    last = [np.flatnonzero(x[:, :2].any(1))[-1] for x in episodes.shown]
    # One step between cues, which is behind the last one, too.
    assert set(24 - 3 - 2 - np.array(last)) == set(range(2, 7))


def test_as_spikes():
    """Rates of steps: counts are Poisson's, the times move as they should, nothing comes without a
    rate; of constant ones the spikes are those of the rate."""
    rates = np.repeat([[0.0, 20.0], [30.0, 0.0], [10.0, 5.0]], 400, axis=1)
    options: Any = dict(max_spikes=40, key=jr.key(1))
    draw = jax.jit(lambda r: rs.poisson_spikes(2.0, 3.5, rates=r, **options))
    train = draw(rates)
    assert not train.overflow
    step = np.floor((np.asarray(train.times)[train.marks >= 0] - 2.0) / 0.5).astype(int)
    counts = np.zeros((3, 800), int)
    np.add.at(counts, (np.minimum(step, 2), np.asarray(train.marks)[train.marks >= 0]), 1)
    assert not np.any(counts[rates == 0])
    for kind in np.unique(rates[rates > 0]):
        own, mean = counts[rates == kind], kind * 0.5
        assert abs(own.mean() - mean) < 4 * np.sqrt(mean / own.size)
        assert abs(own.var() - mean) < 4 * mean * np.sqrt((2 + 1 / mean) / own.size)
    same = draw(np.full((3, 4), 7.0))
    one = rs.poisson_spikes(2.0, 3.5, rates=np.full(4, 7.0), **options)
    np.testing.assert_allclose(same.times, one.times, rtol=1e-12)

    def total(scale):
        r = jnp.array([[3.0, 8.0], [0.0, 2.0], [6.0, 4.0]]) * (1 + scale * jnp.arange(3.0)[:, None])
        found = rs.poisson_spikes(0.0, 1.5, rates=r, max_spikes=30, key=jr.key(2))
        return jnp.sum(jnp.where(found.marks >= 0, jnp.sin(found.times), 0))

    exact, h = jax.jit(jax.grad(total))(0.1), 1e-6
    value = jax.jit(total)
    np.testing.assert_allclose(exact, (value(0.1 + h) - value(0.1 - h)) / (2 * h), rtol=1e-7)


def test_bad_input():
    with pytest.raises(ValueError, match="`steps` must be 2 at least"):
        rs.tasks.store_recall(3, steps=1, seed=0)
    with pytest.raises(ValueError, match=r"`probability` must be in \]0, 1\]"):
        rs.tasks.store_recall(3, probability=0.0, seed=0)
    with pytest.raises(ValueError, match="`steps` must be 3 at least"):
        rs.tasks.delayed_xor(3, steps=2, seed=0)
    with pytest.raises(ValueError, match="`cues` must be odd"):
        rs.tasks.evidence_accumulation(3, cues=6, seed=0)
    with pytest.raises(ValueError, match="`delay` must be two integers"):
        rs.tasks.evidence_accumulation(3, delay=(3, 2), seed=0)
    with pytest.raises(TypeError, match="`delay` must be two integers"):
        rs.tasks.evidence_accumulation(3, delay=4, seed=0)  # pyright: ignore
    with pytest.raises(ValueError, match=r"shape \(neurons,\) or of shape \(steps, neurons\)"):
        rs.poisson_spikes(0.0, 1.0, rates=np.ones((2, 2, 2)), max_spikes=3, key=jr.key(0))
