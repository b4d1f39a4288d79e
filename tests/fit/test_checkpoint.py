import functools
import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest

import roughsnn as rs
from roughsnn._sealed import Seal

MODEL = {"x": jnp.zeros(3), "net": rs.neurons.LIF(15.0), "name": "m"}


def noisy(model, data, key):
    """Each step has a gradient of its own."""
    x = model["x"]
    return jnp.sum((x - data - jr.normal(key, x.shape, x.dtype)) ** 2), {"norm": jnp.sum(x**2)}


DATA = jnp.arange(3.0)
ADAM = optax.adam(0.1)


def mean(model, data, key):
    return noisy(model, jnp.atleast_2d(data).mean(0), key)


def run(
    checkpoint=None,
    steps=20,
    model: Any = MODEL,
    losses: Any = noisy,
    data: Any = DATA,
    optim=ADAM,
    callback=None,
    key=0,
    **options,
):
    loop = rs.Loop(callback=callback, checkpoint=checkpoint, progress=False)
    return rs.fit(model, losses, data, optim, steps=steps, key=jr.key(key), loop=loop, **options)


@functools.cache
def whole(steps=20):
    """The same fit, not interrupted."""
    return run(steps=steps)


def same(a: rs.Fit, b: rs.Fit):
    assert bool(eqx.tree_equal(a.model, b.model))
    assert a.history.keys() == b.history.keys() and a.steps == b.steps
    for name in a.history:
        np.testing.assert_array_equal(a.history[name], b.history[name])


@pytest.mark.parametrize("at", [1, 7, 10, 19])
def test_a_fit_goes_on_where_it_was(tmp_path, at):
    checkpoint = rs.Checkpoint(tmp_path / "new" / "folder", every=5)
    first = run(checkpoint, callback=lambda step, model, metrics: step == at)
    assert first.steps == at + 1 and checkpoint.file.exists() == (at >= 4)
    seen = []
    again = run(checkpoint, callback=lambda step, model, metrics: seen.append(step))
    same(again, whole())
    assert seen == list(range((at + 1) // 5 * 5, 20)) and len(again.seconds) == len(seen)
    # It is done: nothing is left to do.
    same(run(checkpoint), again)
    longer = run(checkpoint, steps=23)
    same(longer, whole(23))
    assert {f.name for f in checkpoint.file.parent.iterdir()} == {"fit.checkpoint", "fit.lock"}


@pytest.mark.parametrize(
    "optim",
    [
        optax.chain(optax.add_noise(0.1, 0.5, key=1), optax.sgd(0.1)),
        optax.inject_hyperparams(optax.adam)(optax.linear_schedule(0.1, 0.01, 20)),
        optax.MultiSteps(optax.adam(0.1), 3).gradient_transformation(),
    ],
    ids=["noise", "injected", "multi"],
)
def test_any_state_of_an_optimiser(tmp_path, optim):
    """A random key is one too, of a dtype that no file knows."""
    checkpoint = rs.Checkpoint(tmp_path, every=5)
    run(checkpoint, optim=optim, callback=lambda step, model, metrics: step == 7)
    same(run(checkpoint, optim=optim), run(optim=optim))


def test_batches_and_validation_go_on(tmp_path):
    data = jnp.linspace(-1.0, 1.0, 21).reshape(7, 3)
    options: dict[str, Any] = dict(data=data, batch_size=2, validation=rs.Validation(DATA, every=4))
    checkpoint = rs.Checkpoint(tmp_path, every=5)
    run(checkpoint, callback=lambda step, model, metrics: step == 12, losses=mean, **options)
    again, never = run(checkpoint, losses=mean, **options), run(losses=mean, **options)
    same(again, never)
    np.testing.assert_array_equal(again.validation, never.validation)
    assert again.best_step == never.best_step


def test_what_a_dead_process_left_is_removed_in_time(tmp_path):
    old, young = tmp_path / ".fit.checkpoint.old", tmp_path / ".fit.checkpoint.young"
    old.write_text("")
    young.write_text("")
    os.utime(old, (0, 0))
    run(rs.Checkpoint(tmp_path))
    assert young.exists() and not old.exists()


def test_a_checkpoint_that_is_further_than_asked_for(tmp_path):
    run(rs.Checkpoint(tmp_path), steps=20)
    with pytest.raises(ValueError, match="20 steps far already, `steps` is 7"):
        run(rs.Checkpoint(tmp_path), steps=7)


def test_a_damaged_checkpoint_is_one_clear_error(tmp_path):
    checkpoint = rs.Checkpoint(tmp_path)
    run(checkpoint)
    complete = checkpoint.file.read_bytes()
    rng = random.Random(0)
    for n in range(200):
        cut = bytearray(complete[: rng.randrange(len(complete))])
        if n % 2:
            cut = bytearray(complete)
            cut[rng.randrange(len(cut))] ^= 1 << rng.randrange(8)
        checkpoint.file.write_bytes(cut)
        with pytest.raises(ValueError, match=r"is damaged, .* Remove the file"):
            checkpoint.load({}, None)
    checkpoint.file.write_bytes(complete)
    run(checkpoint)


@pytest.mark.parametrize(
    "seal, message",
    [
        (
            Seal("checkpoint", 3),
            r"a later version of roughsnn \(format 3; this one reads 2\): up",
        ),
        (Seal("checkpoint", 1), r"an earlier version of roughsnn \(format 1; this one reads 2\)"),
        (Seal("model", 2), "is damaged, or is not a checkpoint of roughsnn"),
    ],
    ids=["later", "earlier", "model"],
)
def test_a_checkpoint_of_another_format_is_called_that(tmp_path, seal, message):
    checkpoint = rs.Checkpoint(tmp_path)
    content = b"who knows"
    checkpoint.file.write_bytes(seal.of(content) + b"\n" + content)
    with pytest.raises(ValueError, match=f"{message}.*Remove the file"):
        run(checkpoint)


def test_a_folder_that_cannot_be_written_to(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="Checkpoints cannot be written"):
        run(rs.Checkpoint(tmp_path / "file"))


@pytest.fixture
def full_disk():
    """No file may grow: what a full disk does, as far as a program can tell."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    yield lambda full: resource.setrlimit(resource.RLIMIT_FSIZE, (100 if full else soft, hard))
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    signal.signal(signal.SIGXFSZ, before)


@pytest.mark.parametrize("on_error", ["stop", "continue"])
def test_a_full_disk(tmp_path, full_disk, on_error):
    checkpoint = rs.Checkpoint(tmp_path, every=5, on_error=on_error)

    def callback(step, model, metrics):
        full_disk(7 <= step < 12)

    if on_error == "stop":
        result = run(checkpoint, callback=callback)
        assert result.steps == 10 and result.stopped is not None
        assert "could not be written: File too large" in result.stopped
        full_disk(False)
        # Also if the callback wants to end the same step.
        other = rs.Checkpoint(tmp_path / "other", every=5)

        def both(step, model, metrics):
            callback(step, model, metrics)
            return step == 9

        stopped = run(other, callback=both).stopped
        full_disk(False)
        assert stopped is not None and "could not be written" in stopped
    else:
        with pytest.warns(rs.CheckpointWarning, match=r"File too large\. The fit goes on"):
            result = run(checkpoint, callback=callback)
        same(result, whole())
    # The last good one is still there.
    assert {f.name for f in tmp_path.iterdir() if f.is_file()} == {"fit.checkpoint", "fit.lock"}
    same(run(checkpoint), whole())


def test_bad_input():
    with pytest.raises(ValueError, match="`every` must be a positive integer"):
        rs.Checkpoint("folder", every=0)
    with pytest.raises(TypeError, match="`folder` must be a str or a pathlib.Path, got None"):
        rs.Checkpoint(None)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="'stop' or 'continue'"):
        rs.Checkpoint("folder", on_error="ignore")  # pyright: ignore[reportArgumentType]


SCRIPT = """
import sys, jax, jax.numpy as jnp, jax.random as jr, optax
import roughsnn as rs

def loss(model, data, key):
    return jnp.sum((model - data - jr.normal(key, model.shape)) ** 2)

folder, steps = sys.argv[1], int(sys.argv[2])
result = rs.fit(
    jnp.zeros(1000), loss, jnp.ones(1000), optax.adam(0.1), steps=steps, key=jr.key(0),
    loop=rs.Loop(checkpoint=rs.Checkpoint(folder, every=1), progress=False),
)
jnp.save(folder + "/result.npy", jnp.append(result.model, result.history["loss"]))
"""
KILLS = int(os.environ.get("ROUGHSNN_KILLS", "4"))


@pytest.mark.slow
def test_it_survives_kills_at_random_moments(tmp_path):
    """`ROUGHSNN_KILLS=50` for more of them."""
    steps, rng = 20_000, random.Random(1)
    command = [sys.executable, "-W", "ignore", "-c", SCRIPT]
    folder, file = tmp_path / "killed", tmp_path / "killed" / "fit.checkpoint"
    done = 0
    for _ in range(KILLS):
        process = subprocess.Popen([*command, str(folder), str(steps)])
        # Let it write, then kill it at any moment, as often as not while it writes.
        while process.poll() is None and (not file.exists() or file.stat().st_mtime_ns == done):
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 0.3))
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        done = file.stat().st_mtime_ns
    history = json.loads(file.read_bytes().split(b"\n", 2)[1])["history"]
    reached = history["history/loss"][1]
    assert reached > KILLS
    for where in (folder, tmp_path / "whole"):
        subprocess.run([*command, str(where), str(reached + 3)], check=True)
    a, b = (np.load(where / "result.npy") for where in (folder, tmp_path / "whole"))
    np.testing.assert_array_equal(a, b)
