"""Derivatives of random networks with delays and refractory times beside differences, by the
thousand: those of `tests/network/test_delays.py`.

    python -m benchmarks.random_networks
"""

import jax
import numpy as np

from tests.helpers import ENGINES
from tests.network.test_delays import random_slopes

NUMBER = 1000


def main() -> None:
    """Prints a line for each engine and step."""
    jax.config.update("jax_enable_x64", True)
    for name, engine in ENGINES.items():
        for h in (1e-6, 1e-8):
            slopes, differences, same, spikes = map(np.asarray, random_slopes(engine, NUMBER, h))
            error = np.abs(slopes - differences) / np.maximum(1, np.abs(differences))
            print(
                f"{name}, h={h}: {np.sum(error[same] > 1e-6)} of {np.sum(same)} off by more than "
                f"1e-6, largest {np.max(error[same]):.1e}; {np.mean(spikes):.1f} spikes each"
            )


if __name__ == "__main__":
    main()
