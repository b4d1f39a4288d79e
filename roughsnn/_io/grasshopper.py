"""The grasshopper auditory-receptor recordings that the package nitime ships."""

import importlib.util
from pathlib import Path

import equinox as eqx
import numpy as np

from .._check import as_path
from .._misc import check_positive_int
from .._train.spike_train import SpikeTrain

_MICROSECONDS = 1e-3  # in milliseconds


class Recording(eqx.Module):
    """Spikes of a receptor neuron and the sound that caused them; times in milliseconds.

    **Attributes:**

    - `spikes`: a [`roughsnn.SpikeTrain`][] of one neuron.
    - `stimulus_times`: shape `(times,)`, evenly spaced.
    - `amplitude`: shape `(times,)`, the amplitude of the sound's envelope, in volts, positive.
    """

    spikes: SpikeTrain
    stimulus_times: np.ndarray
    amplitude: np.ndarray


def read_grasshopper(recording: int = 1, folder: str | Path | None = None) -> Recording:
    """Reads one of the two recordings of a grasshopper auditory receptor.

    A pure tone whose amplitude is modulated by Gaussian noise (up to 200 Hz in recording 1,
    800 Hz in recording 2) was played for ten seconds to *Locusta migratoria*.

    **Arguments:**

    - `recording`: 1 or 2.
    - `folder`: where the files are; by default in the installed package nitime.

    **Returns:** a [`roughsnn.io.Recording`][].

    **Raises:** `ModuleNotFoundError` if nitime is not installed, `FileNotFoundError` if a
    file is missing, `ValueError` if a file is empty, truncated or corrupt.

    ??? cite "Reference"

        A. Rokem, S. Watzl, T. Gollisch, M. Stemmler, A. V. M. Herz, I. Samengo,
        *Spike-timing precision underlies the coding efficiency of auditory receptor
        neurons*, J. Neurophysiology 95 (2006).
    """
    if check_positive_int("recording", recording) > 2:
        raise ValueError(f"`recording` must be 1 or 2, got {recording}.")
    folder = _nitime_data() if folder is None else as_path("folder", folder)
    spikes_file = folder / f"grasshopper_spike_times{recording}.txt"
    stimulus_file = folder / f"grasshopper_stimulus{recording}.txt"
    spikes = _read_columns(spikes_file, 1)[:, 0] * _MICROSECONDS
    stimulus = _read_columns(stimulus_file, 2)
    times, amplitude = stimulus[:, 0] * _MICROSECONDS, stimulus[:, 1]
    if np.any(np.diff(spikes) <= 0):
        raise ValueError(f"{spikes_file}: the spike times are not in increasing order.")
    steps = np.diff(times)
    if len(times) < 2 or not np.allclose(steps, steps[0], rtol=1e-3) or steps[0] <= 0:
        raise ValueError(f"{stimulus_file}: the stimulus is not sampled at even times.")
    if np.any(amplitude <= 0):
        raise ValueError(f"{stimulus_file}: the amplitude must be positive.")
    end = times[-1] + steps[0]
    if spikes[-1] > end:
        raise ValueError(
            f"{stimulus_file} is truncated: the stimulus ends at {end:.1f} ms, the spikes in "
            f"{spikes_file.name} at {spikes[-1]:.1f} ms."
        )
    silence = end - spikes[-1]
    if silence > 20 * np.max(np.diff(spikes)):
        raise ValueError(
            f"{spikes_file} is truncated: its last spike is {silence:.0f} ms before the end "
            f"of the stimulus in {stimulus_file.name}."
        )
    train = SpikeTrain.from_lists([spikes], t0=0.0, t1=float(end))
    return Recording(train, times, amplitude)


def _nitime_data() -> Path:
    spec = importlib.util.find_spec("nitime")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(
            "The recordings come with the package nitime, which is not installed. Install it "
            "with `pip install 'roughsnn[data]'`, or give `folder`."
        )
    return Path(spec.origin).parent / "data"


def _read_columns(file: Path, columns: int) -> np.ndarray:
    if not file.is_file():
        raise FileNotFoundError(f"There is no file {file}.")
    text = file.read_bytes().decode("ascii", errors="replace")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    if not lines:
        raise ValueError(f"{file} holds no numbers: it is empty or truncated.")
    if not text.endswith("\n"):
        raise ValueError(f"{file} is truncated: its last line, {lines[-1]!r}, does not end.")
    rows = [line.split() for line in lines]
    for number, row in enumerate(rows):
        if len(row) != columns:
            raise ValueError(
                f"{file} is corrupt: data line {number + 1}, {lines[number]!r}, should hold "
                f"{columns} number(s)."
            )
    try:
        array = np.array(rows, dtype=float)
    except ValueError as e:
        raise ValueError(f"{file} is corrupt: {e}.") from e
    if not np.all(np.isfinite(array)):
        raise ValueError(f"{file} is corrupt: it holds numbers that are not finite.")
    return array
