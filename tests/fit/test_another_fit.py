"""A checkpoint is of one fit, and another one is told in what it differs."""

import dataclasses
import functools
import inspect
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
import pytest

import roughsnn as rs
from roughsnn._fit.fingerprint import digest

from .test_checkpoint import DATA, MODEL, noisy, run, same, whole


def without_metric(model, data, key):
    return noisy(model, data, key)[0]


def other_metric(model, data, key):
    value, metrics = noisy(model, data, key)
    return value, {"size": metrics["norm"]}


def called_loss(model, data, key):
    value, metrics = noisy(model, data, key)
    return value, {"loss": metrics["norm"]}


def twice(model, data, key):
    value, metrics = noisy(model, data, key)
    return 2 * value, metrics


def by_name(leaf):
    return eqx.is_inexact_array(leaf)


OTHER = {"net": MODEL["net"], "name": "m", "x": jnp.zeros(3), "more": 1}
SINGLE = jnp.float32
CODE = "the losses, their weights or code have other values"
OPTIM = "the optimiser, its numbers or code have other values"
OTHERS: dict[str, tuple[dict[str, Any], str]] = {
    "key": (dict(key=1), r"the key is \[0, 1\], not \[0, 0\]"),
    "dtype": (
        dict(model=dict(MODEL, x=jnp.zeros(3, SINGLE)), data=DATA.astype(SINGLE)),
        r"in the model, `\['x'\]` is float32\[3\], not float64\[3\]",
    ),
    "a leaf more": (dict(model=OTHER), r"`\['more'\]` is int, not missing"),
    "what is not trained": (dict(model=dict(MODEL, name="n")), "not trained have other values"),
    "shape of the data": (dict(data=jnp.asarray(1.0)), r"in the data, `the only leaf` is float64"),
    "data": (dict(data=DATA + 1e-9), "the data have other values"),
    "optimiser": (dict(optim=optax.sgd(0.1)), "in the optimiser's state, .* is missing, not int32"),
    "step size": (dict(optim=optax.adam(0.2)), OPTIM),
    "noise": (
        dict(optim=optax.chain(optax.add_noise(0.1, 0.5, key=1), optax.adam(0.1))),
        "in the optimiser's state",
    ),
    "losses": (dict(losses={"a": noisy}), r"in the history, `\['a'\]` is float64\[\], not missing"),
    "no metric": (dict(losses=without_metric), r"in the history, `\['norm'\]` is missing"),
    "other metric": (
        dict(losses=other_metric),
        r"in the history, `\['size'\]` is float64",
    ),
    "code": (dict(losses=twice), CODE),
    "trainable": (dict(losses=rs.Objective(noisy, trainable=by_name)), CODE),
    "batch size": (dict(batch_size=3), "the batch size is 3, not None"),
    "validation": (dict(validation=rs.Validation(DATA)), "the steps between validations is 10"),
}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    made = rs.Checkpoint(tmp_path_factory.mktemp("first"))
    run(made)
    return made


@pytest.mark.parametrize("options, message", OTHERS.values(), ids=OTHERS)
def test_another_fit_is_refused(checkpoint, options, message):
    with pytest.raises(ValueError, match=f"of another fit: now .*{message}.*Remove the file"):
        run(checkpoint, **options)


def test_the_same_fit_goes_on(checkpoint):
    again: dict[str, Any] = dict(globals())
    # With the imports: calls of imported modules are compiled in their own way.
    imports = "import jax.numpy as jnp\nimport jax.random as jr\n"
    exec(imports + inspect.getsource(noisy), again)
    # What a loss and an optimiser are made of is compared, not which object they are.
    same(run(checkpoint, losses=again["noisy"], optim=optax.adam(0.1)), whole())
    # Trained parameters come from the checkpoint.
    same(run(checkpoint, model=dict(MODEL, x=jnp.ones(3))), whole())


@pytest.mark.parametrize("names", ["ac", "zb", "bc"])
def test_renamed_leaves_are_another_fit(tmp_path, names):
    """They would swap where the new names come in another order."""
    loss = lambda model, data, key: sum(jnp.sum(x**2) for x in model.values())
    fit = lambda names: run(
        rs.Checkpoint(tmp_path), model={name: jnp.ones(2) for name in names}, losses=loss
    )
    fit("ab")
    new = next(name for name in names if name not in "ab")
    with pytest.raises(ValueError, match=rf"in the model, `\['{new}'\]` is float64\[2\], not miss"):
        fit(names)


def test_a_metric_called_loss_is_refused_before_the_first_step(tmp_path):
    checkpoint = rs.Checkpoint(tmp_path)
    with pytest.raises(ValueError, match="must not be called 'loss'"):
        run(checkpoint, losses=called_loss)
    assert not checkpoint.file.exists()


class Weighted:
    def __init__(self, weight):
        self.weight = weight

    def __call__(self, model, data, key):
        value, metrics = noisy(model, data, key)
        return self.weight * value, metrics


@dataclasses.dataclass
class Settings:
    weight: float
    names: frozenset[str]

    def __float__(self):
        return self.weight


class Module(eqx.Module):
    weight: float = eqx.field(static=True)

    def __call__(self, model, data, key):
        value, metrics = noisy(model, data, key)
        return self.weight * value, metrics


class Renewed(eqx.Module):
    weight: float = eqx.field(static=True)

    def __call__(self, model, data, key):
        value, metrics = noisy(model, data, key)
        return self.weight**2 * value, metrics


# It has the name, so only its code tells it from the other.
Renewed.__name__ = Renewed.__qualname__ = "Module"


class Holder(eqx.Module):
    loss: Any = eqx.field(static=True)

    def __call__(self, model, data, key):
        return self.loss(model, data, key)


def scaled(weight, model, data, key):
    return Weighted(weight)(model, data, key)


def closure(weight):
    return lambda model, data, key: scaled(weight, model, data, key)


KINDS: dict[str, Any] = {
    "object": Weighted,
    "method": lambda weight: Weighted(weight).__call__,
    "dataclass": lambda weight: closure(Settings(weight, frozenset("abcdef"))),
    "module": Module,
    "static field": lambda weight: Holder(closure(weight)),
    "partial": lambda weight: functools.partial(scaled, weight),
    "closure": closure,
    "compiled by equinox": lambda weight: eqx.filter_jit(closure(weight)),
    "compiled": lambda weight: jax.jit(closure(weight)),
}


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_losses_of_all_kinds_are_told_apart(kind):
    assert digest(kind(2.0)) == digest(kind(2.0)) != digest(kind(3.0))


def test_the_code_of_a_module_counts():
    assert digest(Module(2.0)) != digest(Renewed(2.0))


def test_losses_are_the_same_in_another_process():
    code = f"from {__name__} import KINDS, digest\nfor k in KINDS.values(): print(digest(k(2.0)))"
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    options: dict[str, Any] = dict(env=environment, cwd=Path(__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, **options
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [digest(kind(2.0)) for kind in KINDS.values()]


def test_noise_of_another_seed_is_another_fit(tmp_path):
    """The key of `optax.add_noise` is trained neither, nor closed over: it begins a state."""
    checkpoint = rs.Checkpoint(tmp_path)
    noise = lambda seed: optax.chain(optax.add_noise(0.1, 0.5, key=seed), optax.sgd(0.1))
    run(checkpoint, optim=noise(1), steps=3)
    with pytest.raises(ValueError, match=OPTIM):
        run(checkpoint, optim=noise(2), steps=3)
