"""Tasks in time: something is to be kept, and asked for later."""

from typing import Any

import equinox as eqx
import numpy as np
from jaxtyping import Bool, Float, Int

from .._misc import check_positive_int, static_float
from .labelled import generators


class Episodes(eqx.Module):
    """Samples of a task in time: what is shown at each step, what the answer is, and when it
    counts.

    As spikes, each channel is that of some neurons:
    `poisson_spikes(0.0, steps * length, rates=50.0 * np.repeat(shown, 25, -1), ...)`, vmapped over
    samples.

    **Attributes:**

    - `shown`: shape `(samples, steps, channels)`, 1 where a channel is active, else 0.
    - `answers`: shape `(samples, steps)`, the right class at each step; 0 where it does not count.
    - `asked`: shape `(samples, steps)`, where it counts.
    - `channels`: what each channel says.
    - `classes`: how many answers there are.
    """

    shown: Float[np.ndarray, "samples steps channels"]
    answers: Int[np.ndarray, "samples steps"]
    asked: Bool[np.ndarray, "samples steps"]
    channels: tuple[str, ...] = eqx.field(static=True)
    classes: int = eqx.field(static=True)

    def __len__(self) -> int:
        return len(self.shown)


def store_recall(
    samples: int, *, steps: int = 12, probability: float = 1 / 6, seed: int
) -> Episodes:
    """Bits are shown, one in each step; one is to be stored, and told when it is asked for.

    A command to store comes with a probability in each step, then one to recall with the same, and
    so on, given that there are two in each sample at least; at a recall no bit is shown. Steps of
    200 ms are usual (Bellec, Salaj, Subramoney, Legenstein & Maass, *Long short-term memory and
    learning to learn in networks of spiking neurons*, NeurIPS 2018).

    **Arguments:**

    - `samples`, `steps`: how many; two steps at least.
    - `probability`: of a command, in ]0, 1].
    - `seed`: give training, validation and test another one.

    **Returns:** [`roughsnn.tasks.Episodes`][] with the channels `"0"`, `"1"`, `"store"`,
        `"recall"`, and two classes.
    """
    samples, steps = check_positive_int("samples", samples), check_positive_int("steps", steps)
    if steps < 2:
        raise ValueError(f"`steps` must be 2 at least, to store and to recall, got {steps}.")
    probability = static_float("probability", probability)
    if not 0 < probability <= 1:
        raise ValueError(f"`probability` must be in ]0, 1], got {probability}.")
    (rng,) = generators(seed, 1)
    bits = rng.integers(2, size=(samples, steps)).astype(np.int32)
    stored, asked = (np.zeros((samples, steps), bool) for _ in range(2))
    answers = np.zeros((samples, steps), np.int32)
    for n, commands in enumerate(_at_least_two(samples, steps, probability, rng)):
        at = np.sort(rng.choice(steps, commands, replace=False))
        store, recall = at[: 2 * (commands // 2) : 2], at[1::2]
        stored[n, at[::2]] = asked[n, recall] = True
        answers[n, recall] = bits[n, store]
    seen = ~asked
    columns = [seen & (bits == 0), seen & (bits == 1), stored, asked]
    shown = np.stack(columns, -1).astype(float)
    return Episodes(shown, answers, asked, ("0", "1", "store", "recall"), 2)


def _at_least_two(
    samples: int, steps: int, probability: float, rng: np.random.Generator
) -> np.ndarray:
    """Numbers of the binomial law, given that they are two at least."""
    number = np.arange(1, steps + 1)
    ways = np.cumsum(np.log((steps + 1 - number) / number))
    with np.errstate(divide="ignore", invalid="ignore"):
        others = (steps - number) * np.log1p(-probability)
    # Of all steps there are no others.
    law = ways + number * np.log(probability) + np.where(number < steps, others, 0)
    law = np.exp(law[1:] - law[1:].max())
    return rng.choice(number[1:], samples, p=law / law.sum())


def delayed_xor(samples: int, *, steps: int = 10, seed: int) -> Episodes:
    """Two bits are shown, apart from each other; at the last step it is asked whether they differ.

    The first one comes at step 0, the other at a random one of those between.

    **Arguments:**

    - `samples`, `steps`: how many; three steps at least.
    - `seed`: give training, validation and test another one.

    **Returns:** [`roughsnn.tasks.Episodes`][] with the channels `"0"`, `"1"`, `"ask"`, and two
        classes: 1 where the bits differ.
    """
    samples, steps = check_positive_int("samples", samples), check_positive_int("steps", steps)
    if steps < 3:
        raise ValueError(f"`steps` must be 3 at least: two bits and a question, got {steps}.")
    (rng,) = generators(seed, 1)
    bits, every = rng.integers(2, size=(samples, 2)), np.arange(samples)
    second = rng.integers(1, steps - 1, size=samples)
    shown = np.zeros((samples, steps, 3))
    shown[every, 0, bits[:, 0]] = 1
    shown[every, second, bits[:, 1]] = 1
    shown[:, -1, 2] = 1
    return _at_the_end(shown, bits[:, 0] ^ bits[:, 1], ("0", "1", "ask"))


def evidence_accumulation(
    samples: int, *, cues: int = 7, delay: tuple[int, int] = (10, 30), seed: int
) -> Episodes:
    """Cues come from the left and from the right; after a delay it is asked where there were more.

    Each sample has a side that cues come from with probability 0.7, with two steps a cue and one
    between; then a pause of random length, and three steps in which the answer counts. With steps
    of 50 ms these are the times of Bellec et al., *A solution to the learning dilemma for
    recurrent networks of spiking neurons*, Nature Communications 2020, after Morcos & Harvey,
    Nature Neuroscience 2016.

    **Arguments:**

    - `samples`: how many.
    - `cues`: how many come in each sample, an odd number.
    - `delay`: the least and the largest number of steps between the last cue and the question.
    - `seed`: give training, validation and test another one.

    **Returns:** [`roughsnn.tasks.Episodes`][] with the channels `"left"`, `"right"`, `"ask"`, and
        two classes: 1 where there were more cues from the right.
    """
    samples, cues = check_positive_int("samples", samples), check_positive_int("cues", cues)
    if cues % 2 == 0:
        raise ValueError(f"`cues` must be odd, or sides may be equal, got {cues}.")
    least, largest = _delay(delay)
    (rng,) = generators(seed, 1)
    favoured = rng.integers(2, size=(samples, 1))
    sides = np.where(rng.uniform(size=(samples, cues)) < 0.7, favoured, 1 - favoured)
    pause, every = rng.integers(least, largest + 1, size=samples), np.arange(samples)
    # The question is at the end of all samples: the pause is long where they begin early.
    steps = 3 * cues + largest + 3
    shown = np.zeros((samples, steps, 3))
    for cue in range(cues):
        for k in range(2):
            shown[every, steps - 3 - pause - 3 * (cues - cue) + k, sides[:, cue]] = 1
    shown[:, -3:, 2] = 1
    return _at_the_end(shown, sides.sum(1) * 2 > cues, ("left", "right", "ask"))


def _delay(delay: Any) -> tuple[int, int]:
    wanted = "two integers, the least and the largest number of steps"
    try:
        least, largest = (int(x) for x in delay)
    except (TypeError, ValueError):
        raise TypeError(f"`delay` must be {wanted}, got {delay!r}.") from None
    if not 0 <= least <= largest or (least, largest) != tuple(delay):
        raise ValueError(f"`delay` must be {wanted}, not negative, got {delay!r}.")
    return least, largest


def _at_the_end(shown: np.ndarray, answer: np.ndarray, channels: tuple[str, ...]) -> Episodes:
    """With one answer for each sample, where the last channel asks."""
    asked = shown[..., -1] > 0
    answers = np.where(asked, answer[:, None].astype(np.int32), 0)
    return Episodes(shown, answers, asked, channels, 2)
