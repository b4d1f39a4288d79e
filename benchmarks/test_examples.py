"""One training step of each example: value and gradient of its loss, after compilation.

python -m pytest benchmarks/test_examples.py --benchmark-columns=min,median,rounds
"""

import functools
import importlib.util
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import roughsnn as rs

EXAMPLES = Path(__file__).parents[1] / "examples"


def example(name: str, monkeypatch) -> Any:
    """The module of an example."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    return importlib.import_module(name)


def input_estimation(module):
    sigma, c = jnp.asarray(0.25), jnp.asarray(module.C_INIT)
    data = module.first_spikes(sigma, jnp.asarray(module.C_TRUE), jr.key(0), 128)
    fn = lambda c, key: module.distance("signature", module.first_spikes(sigma, c, key, 128), data)
    return fn, c


def weight_estimation(module):
    data = jax.jit(module.simulate, static_argnums=2)(module.true_weights(0), jr.key(0), 512)
    target = rs.losses.Moments.of(jax.vmap(module.moments)(data))
    fn = lambda w, key: rs.losses.moment_distance(module.statistics(w, key), target)
    return fn, module.initial_weights(0)


def kernels(module):
    model, truth, start = module.MODELS["network: input and weight"]
    data = model(jnp.asarray(truth), jr.key(0), 128)
    kernel = rs.losses.default_kernel().fitted(data)
    fn = lambda p, key: rs.losses.mmd(model(p, key, 64), data, kernel=kernel)
    return fn, jnp.asarray(start)


def recorded_neuron(module):
    pytest.importorskip("nitime")
    recording = rs.io.read_grasshopper(1)
    level = module.stimulus_level(recording)
    split = module.SPLIT * module.DT * len(level)
    spikes = np.asarray(recording.spikes.to_lists()[0], float)
    losses, train = module.make_losses("score", level, 32, 8), module.train_of(spikes, split)
    start = module.Receptor(
        log_tau=jnp.log(5.0),
        log_reset=jnp.log(1.0),
        log_beta=jnp.log(5.0),
        gain=jnp.array(0.3),
        offset=jnp.array(0.8),
        fatigue=jnp.array(0.0),
        log_delay=jnp.log(4.0),
    )
    return lambda model, key: losses(model, train, key)["score"], start


def large_network(module):
    model = module.build(10_000, 0), jnp.full(10_000, module.INPUT)
    moving, fixed = eqx.partition(model, eqx.is_inexact_array)
    return lambda moving, key: module.loss(eqx.combine(moving, fixed), key)[0], moving


CASES = [input_estimation, weight_estimation, kernels, recorded_neuron, large_network]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_training_step(benchmark, case, monkeypatch):
    fn, start = case(example(case.__name__, monkeypatch))
    key = jr.key(1)
    compiled = jax.jit(jax.value_and_grad(fn)).lower(start, key).compile()
    run = functools.partial(compiled, start, key)
    benchmark.pedantic(lambda: jax.block_until_ready(run()), rounds=5, warmup_rounds=1)
