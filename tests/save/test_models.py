"""Models come back as they were: a new kind is tested by adding a row to `models.py`."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import roughsnn as rs
from roughsnn._save.registry import CLASSES, is_record

from ..kernels.test_laws import batch
from .models import MODELS, NETWORK, TYPES

GOLDEN = Path(__file__).with_name("format_1.npz")


def bits(x):
    """All that there is to know of a leaf."""
    if isinstance(x, jax.Array):
        if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
            return (str(x.dtype), bits(jr.key_data(x)))
        return ("jax", str(x.dtype), x.shape, x.weak_type and x.ndim == 0, np.asarray(x).tobytes())
    if isinstance(x, np.ndarray | np.generic):
        return (type(x), x.dtype, x.shape, np.asarray(x).tobytes())
    return (type(x), repr(x)) if isinstance(x, float | complex) else (type(x), x)


def same(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    assert [bits(x) for x in jax.tree.leaves(a)] == [bits(x) for x in jax.tree.leaves(b)]


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_a_model_comes_back_as_it_was(tmp_path, model):
    rs.save(tmp_path / "a.npz", model)
    saved = rs.load(str(tmp_path / "a.npz"), types=TYPES)
    same(saved.model, model)
    assert repr(jax.tree.structure(saved.model)) == repr(jax.tree.structure(model))
    assert saved.version == rs.__version__ and saved.metadata == {}
    assert saved.names is None and saved.window is None
    # Also with a model to go by, of which nothing but the structure is used.
    shape = lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype) if isinstance(x, jax.Array) else x
    abstract = jax.tree.map(shape, model)
    same(rs.load(tmp_path / "a.npz", like=abstract).model, model)
    # The file is a function of the model.
    rs.save(tmp_path / "b.npz", saved.model)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


@pytest.mark.slow
def test_fitted_kernels_and_references(tmp_path):
    data = batch(2, 5)
    kernel = rs.SumKernel((rs.LagKernel(0.05), rs.PointKernel(0.1))).fitted(data)
    model = {
        "kernel": kernel,
        "reference": rs.losses.Reference(data, kernel),
        "moments": rs.losses.Moments.of(jnp.arange(6.0).reshape(3, 2)),
        "mean": rs.losses.SignatureMean.of(data, depth=1),
    }
    rs.save(tmp_path / "a", model)
    same(rs.load(tmp_path / "a").model, model)


def test_a_network_fires_the_same_spikes(tmp_path):
    window = rs.Window(0.0, 1.0, 0.05)
    options: dict[str, Any] = dict(max_spikes=80, key=jr.key(0))
    before = rs.simulate(NETWORK, np.full(3, 3.0), window, **options)
    state = {"network": NETWORK, "final": before.final}
    rs.save(tmp_path / "a", state, {"loss": 0.25}, names=["a", "b", "c"], window=window)
    saved = rs.load(tmp_path / "a")
    assert (saved.metadata, saved.names, saved.window) == ({"loss": 0.25}, tuple("abc"), window)
    after = rs.simulate(saved.model["network"], np.full(3, 3.0), window, **options)
    assert int(before.spikes.count) > 0
    same(after.spikes, before.spikes)
    same(saved.model["final"], before.final)


def test_metadata_and_names(tmp_path):
    metadata = {"a": [1, 2.5, None, True, {"b": "ä"}], "c": (1, (2,)), "nan": [float("inf")]}
    rs.save(tmp_path / "a", NETWORK, metadata, names=("x", "y", np.str_("z")))
    saved = rs.load(tmp_path / "a")
    assert saved.metadata == {**metadata, "c": [1, [2]]} and saved.names == ("x", "y", "z")


def test_the_file_is_read_without_roughsnn(tmp_path):
    rs.save(tmp_path / "a.npz", {"net": NETWORK})
    with np.load(tmp_path / "a.npz", allow_pickle=False) as archive:
        stored = archive["model.net.projections.0.weights"]
        np.testing.assert_array_equal(stored, NETWORK.projections[0].weights)
        header = json.loads(archive["header.json"])
    assert header["roughsnn"] == rs.__version__ and header["format"] == 1
    assert zipfile.ZipFile(tmp_path / "a.npz").testzip() is None


# What is no part of a fitted model: what simulations and fits return, and how they are made.
NO_MODELS = {
    *("Clamped", "Eligibility", "Fit", "LogLikelihood", "Multilevel", "OnlineGradient", "Saved"),
    "OnlineSimulation",
    *("Simulation", "Solution", "TwoSampleTest", "CadlagPath", "BrownianPath", "Validation"),
    *("Chandrupatla", "CheckpointAdjoint", "DirectAdjoint", "QuadraticCrossing", "Objective"),
    *("BracketedCrossing", "Event", "EventByEvent", "Lockstep", "RESULTS"),
    # Told at once.
    "Bound",
}


def test_every_part_of_a_model_is_known():
    public = {
        cls
        for module in (rs, rs.losses, rs.neurons, rs.synapses)
        for name, cls in vars(module).items()
        if is_record(cls) and not name.startswith("Abstract")
    }
    unknown = {cls.__name__ for cls in public - set(CLASSES.values())}
    assert unknown == NO_MODELS & unknown


def test_names_in_files_of_format_1_stay():
    """Written once; the names of classes and fields are part of the format.

    Where this fails, raise the format's number or read the old names.
    """
    saved = rs.load(GOLDEN)
    network = saved.model["network"]
    assert isinstance(network, rs.SpikingNetwork)
    population, (projection,) = network["neurons"], network.projections
    assert isinstance(population, rs.Population)
    assert isinstance(population.firing, rs.StochasticFiring)
    assert isinstance(population.ports["syn"], rs.synapses.Exponential)
    np.testing.assert_array_equal(np.asarray(projection.weights), [[0, 0.5], [0.25, 0]])
    assert saved.names == ("a", "b") and saved.metadata == {"loss": 0.5}
    assert saved.window == rs.Window(0.0, 1.0, 0.01)
    layers = saved.model["layers"]
    assert layers.names == ("in", "noise", "hard") and isinstance(layers["in"], rs.Source)
    assert isinstance(layers["hard"].neuron.reset, rs.ResetTo)
    np.testing.assert_array_equal(saved.model["final"].state["v"].shape, (2,))
    assert {f"roughsnn.{name}" for name in ("LIF", "Clock", "LagKernel", "Whitening")} <= set(
        CLASSES
    )


SINGLE = """
import sys, warnings, numpy as np, roughsnn as rs
try:
    rs.load(sys.argv[1])
except ValueError as e:
    print(e)
numbers = rs.load(sys.argv[2]).model
print([str(x.dtype) for x in numbers])
import jax
with jax.enable_x64(True):
    print(rs.load(sys.argv[1]).model["a"].dtype)
"""


@pytest.mark.slow
def test_float64_is_not_cut_in_silence(tmp_path):
    """Saved where JAX has float64, loaded where it has not."""
    rs.save(tmp_path / "double", {"a": jnp.ones(2)})
    rs.save(tmp_path / "single", [jnp.ones(2, jnp.float32), np.ones(2), np.float64(1)])
    command = [sys.executable, "-c", SINGLE, tmp_path / "double", tmp_path / "single"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    error, dtypes, inside = done.stdout.splitlines()
    assert "`model['a']` was saved as float64, and JAX is set to make float32 of it" in error
    assert "jax_enable_x64" in error and inside == "float64"
    assert dtypes == "['float32', 'float64', 'float64']"
