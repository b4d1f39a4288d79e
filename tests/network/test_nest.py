"""Spikes beside those of NEST 3.10, whose numbers `python -m benchmarks.small_nest` printed.

Six leaky neurons with exponential currents, hard thresholds and a delay for each synapse, of which
`iaf_psc_exp_ps` of NEST finds the spikes to rounding. It holds the potential in refractory times,
which are a step at least; ours has none, and is compared with the limit of two steps.
"""

import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import roughsnn as rs

SIZE, TIME, TAU, THRESHOLD, RESET = 6, 150.0, 20.0, 20.0, 10.0
DECAYS = 2.0, 5.0
DRIVE = np.array([24.0, 26.0, 22.0, 28.0, 25.0, 23.0])
START = np.array([0.0, 5.0, 10.0, 15.0, 2.0, 7.0])


def times(text: str) -> list[list[float]]:
    """Of each neuron, parted by semicolons."""
    return [[float(x) for x in neuron.split()] for neuron in text.split(";")]


# With refractory times of 0.001 and 0.002 ms.
FINE = times(
    """
21.733466 41.232758 55.390821 71.560529 99.463067 113.697478 129.956276; 16.234775 30.386929
39.692112 47.715814 55.416451 64.772814 76.220075 86.492342 95.741532 103.552698 111.714445
121.993653 133.219998 143.244700; ; 9.710156 25.365565 35.681467 46.495351 58.147403 70.815840
81.471128 92.421283 103.806198 115.944036 128.005050 138.304006 148.963719; ; 26.311735
41.243785 53.987009 67.609073 81.643619 98.853774 112.144659 126.129213 140.537958
    """
)
COARSE = times(
    """
21.733466 41.236230 55.401636 71.567741 99.466746 113.664352 129.947992; 16.234775 30.387882
39.701864 47.730245 55.429939 64.782981 76.228095 86.504746 95.770718 103.587727 111.741191
122.013235 133.242977 143.268075; ; 9.710156 25.366253 35.683794 46.498297 58.152878 70.821374
81.482009 92.434492 103.817766 115.956874 128.025078 138.325006 148.986248; ; 26.311735
41.245917 53.990788 67.613870 81.649232 98.864352 112.156266 126.152684 140.571202
    """
)
ENGINES = {
    "event": (rs.EventByEvent(), 4e-3),
    "exact": (rs.Lockstep(exact=True), 4e-3),
    "lockstep": (rs.Lockstep(), 8e-3),
}


def synapses() -> tuple[np.ndarray, np.ndarray]:
    """Weights in mV of a constant current, excitatory and inhibitory, and delays in ms."""
    rng = np.random.default_rng(0)
    weights = np.round(rng.normal(size=(SIZE, SIZE)) * 60, 1) * (1 - np.eye(SIZE))
    weights = np.where(rng.random((SIZE, SIZE)) < 0.6, weights, 0)
    return weights, np.round(rng.uniform(1.0, 5.0, (SIZE, SIZE)), 1)


@pytest.mark.parametrize("engine", ENGINES)
def test_spikes_are_those_of_nest(engine):
    """43 spikes of 150 ms, which arrive at each other; the first ones to rounding."""
    ports = {name: rs.synapses.Exponential(tau) for name, tau in zip("ei", DECAYS, strict=True)}
    neuron = rs.neurons.LIF(TAU, rs.ResetTo(RESET))
    weights, delay = synapses()
    projections = [
        rs.Projection("n", "n", part, port, delay=delay, max_delay=5.0)
        for port, part in (("e", np.maximum(weights, 0)), ("i", np.minimum(weights, 0)))
    ]
    network = rs.SpikingNetwork(
        {"n": rs.Population(SIZE, neuron, rs.HardThreshold(THRESHOLD), ports)},
        projections,
        conditions="waive",
    )
    how, within = ENGINES[engine]
    sim = rs.simulate(
        network,
        jnp.asarray(DRIVE),
        rs.Window(0.0, TIME, 0.05),
        key=jr.key(0),
        max_spikes=60,
        initial={"v": START},
        engine=how,
    )
    found = [x[np.isfinite(x)] for x in np.asarray(sim.spikes.per_neuron(20))]
    assert list(map(len, found)) == list(map(len, FINE)) == list(map(len, COARSE))
    assert sum(map(len, found)) == 43
    for own, fine, coarse in zip(found, FINE, COARSE, strict=True):
        if len(own):
            np.testing.assert_allclose(own, 2 * np.array(fine) - coarse, rtol=0, atol=within)
            np.testing.assert_allclose(own[0], fine[0], rtol=0, atol=2e-3)
    # Before anything arrives.
    for k in (1, 3):
        np.testing.assert_allclose(found[k][0], FINE[k][0], rtol=0, atol=2e-6)
