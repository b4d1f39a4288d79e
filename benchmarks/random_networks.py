"""Derivatives of random networks with delays beside differences, by the thousand: those of
`tests/network/test_delays.py`, with refractory times, and of `tests/network/test_peaks.py`.

    python -m benchmarks.random_networks
"""

import jax
import numpy as np

from tests.helpers import ENGINES
from tests.network import test_delays, test_peaks
from tests.zoo import NONLINEAR

NUMBER = 1000


def report(name: str, h: float, slopes, differences, same, spikes) -> None:
    """Prints a line."""
    error = np.abs(slopes - differences) / np.maximum(1, np.abs(differences))
    error = np.max(error.reshape(NUMBER, -1), 1)[same]
    print(
        f"{name}, h={h}: {np.sum(error > 1e-6)} of {len(error)} off by more than 1e-6, median "
        f"{np.median(error):.1e}, largest {np.max(error):.1e}; {np.mean(spikes):.1f} spikes each",
        flush=True,
    )


def main() -> None:
    """Prints lines for each engine, neuron and step."""
    jax.config.update("jax_enable_x64", True)
    for name, engine in ENGINES.items():
        for h in (1e-6, 1e-8):
            found = test_delays.random_slopes(engine, NUMBER, h)
            report(f"LIF, {name}", h, *map(np.asarray, found))
        for neuron in NONLINEAR:
            found = test_peaks.random_slopes(neuron, name, NUMBER, 1e-8)
            report(f"{neuron}, {name}", 1e-8, *found)


if __name__ == "__main__":
    main()
