"""Files that were written before classes had all the fields that they have now."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import roughsnn as rs
from roughsnn._save.save import _archive, _opened

from ..helpers import ENGINES
from .models import NETWORK, TRAIN


def without(node: Any, *fields: str) -> Any:
    """JSON of a file in which no class has these fields."""
    if isinstance(node, list):
        return [without(part, *fields) for part in node]
    if not isinstance(node, dict):
        return node
    return {name: without(part, *fields) for name, part in node.items() if name not in fields}


def test_trains_of_files_without_populations(tmp_path):
    """As they were written before trains had names."""
    named = dataclasses.replace(TRAIN, populations=(("a", 1), ("b", 2)))
    file, model = tmp_path / "trains", {"x": [TRAIN], "named": named}
    rs.save(file, model)
    assert rs.load(file).model["named"]["b"].num_neurons == 2
    header, arrays = _opened(file)
    file.write_bytes(_archive(without(header, "populations"), arrays))
    for found in (
        rs.load(file).model,
        rs.load(file, like=model | {"named": dataclasses.replace(named, populations=())}).model,
    ):
        assert found["x"][0].populations == () == found["named"].populations
        assert bool(found["x"][0].equals(TRAIN)) and bool(found["named"].equals(TRAIN))
    with pytest.raises(ValueError, match="populations"):
        rs.load(file, like=model)


def test_networks_of_files_without_delays(tmp_path):
    """As they were written before spikes travelled, neurons were refractory and synapses tired."""
    file = tmp_path / "network"
    rs.save(file, NETWORK)
    header, arrays = _opened(file)
    later = "delay", "max_delay", "refractory", "plasticity"
    file.write_bytes(_archive(without(header, *later), arrays))
    found = rs.load(file).model
    assert jax.tree.structure(found) == jax.tree.structure(NETWORK)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(NETWORK), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("engine", ENGINES)
def test_ends_of_files_without_plasticity(tmp_path, engine):
    """As they were written before synapses tired, with spikes on their way."""
    ports, neuron = {"syn": rs.synapses.Exponential(0.1)}, rs.neurons.LIF(0.1, rs.ResetTo(0.0))
    own = rs.Projection("n", "n", np.full((2, 2), 0.1), autapses=True, delay=0.05)
    network = rs.SpikingNetwork(
        {"n": rs.Population(2, neuron, rs.HardThreshold(1.0), ports)}, [own]
    )
    window, options = rs.Window(0.0, 0.3, 0.01), dict[str, Any](key=jr.key(0), max_spikes=20)
    options["engine"] = ENGINES[engine]
    final = rs.simulate(network, jnp.full(2, 2.0), window, **options).final
    file = tmp_path / "final"
    rs.save(file, final)
    header, arrays = _opened(file)
    later = "plastic", "coming", "amplitudes", "scale"
    file.write_bytes(_archive(without(header, *later), arrays))
    found = rs.load(file).model
    assert jax.tree.structure(found) == jax.tree.structure(final)
    run = lambda final: rs.simulate(
        network, jnp.full(2, 2.0), window.next(), initial=final, **options
    )
    np.testing.assert_array_equal(run(found).spikes.times, run(final).spikes.times)
