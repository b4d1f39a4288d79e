import importlib.util
from pathlib import Path

import numpy as np
import pytest

import roughsnn as rs

SPIKES = "# a comment\n1000\n5000\n9000\n"
STIMULUS = "".join(f"{50 * i}  {0.1 + 0.01 * (i % 7)}\n" for i in range(200))


def write(folder, spikes=SPIKES, stimulus=STIMULUS):
    (folder / "grasshopper_spike_times1.txt").write_text(spikes)
    (folder / "grasshopper_stimulus1.txt").write_text(stimulus)
    return folder


def test_units_and_window(tmp_path):
    recording = rs.io.read_grasshopper(1, write(tmp_path))
    np.testing.assert_allclose(recording.spikes.to_lists()[0], [1.0, 5.0, 9.0])
    assert recording.spikes.t1 == pytest.approx(10.0)
    np.testing.assert_allclose(recording.stimulus_times[:2], [0.0, 0.05])


@pytest.mark.parametrize("number", [1, 2])
def test_the_recordings_of_nitime(number):
    pytest.importorskip("nitime")
    recording = rs.io.read_grasshopper(number)
    assert int(recording.spikes.count) == {1: 929, 2: 868}[number]
    assert recording.amplitude.shape == (200_000,)
    assert recording.spikes.t1 == pytest.approx(10_000.0)


BAD = {
    "empty": ({"spikes": ""}, "holds no numbers"),
    "only comments": ({"spikes": "# nothing\n"}, "holds no numbers"),
    "cut in a line": ({"stimulus": STIMULUS[:-4]}, "is truncated: its last line"),
    "cut after a line": (
        {"stimulus": "".join(STIMULUS.splitlines(True)[:100])},
        "is truncated: the stimulus ends",
    ),
    "spikes cut": ({"stimulus": STIMULUS, "spikes": "100\n200\n300\n"}, "its last spike is"),
    "words": ({"spikes": "1000\nabc\n"}, "is corrupt"),
    "nan": ({"spikes": "1000\nnan\n"}, "not finite"),
    "columns": ({"stimulus": "0 1\n50\n"}, "data line 2"),
    "binary": ({"spikes": "\x00\x01\n"}, "is corrupt"),
    "unordered": ({"spikes": "5000\n1000\n"}, "increasing order"),
    "uneven": ({"stimulus": STIMULUS + "20000 0.1\n"}, "even times"),
    "negative": ({"stimulus": STIMULUS + "10000 -0.1\n"}, "must be positive"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files(tmp_path, name):
    files, match = BAD[name]
    with pytest.raises(ValueError, match=match):
        rs.io.read_grasshopper(1, write(tmp_path, **files))


def test_missing_things(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match="There is no file"):
        rs.io.read_grasshopper(1, tmp_path)
    with pytest.raises(ValueError, match="`recording` must be 1 or 2"):
        rs.io.read_grasshopper(3)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r"roughsnn\[data\]"):
        rs.io.read_grasshopper(1)


def test_the_repository_does_not_copy_the_data():
    root = Path(__file__).parents[2]
    assert not [f for f in root.rglob("grasshopper_*.txt") if ".venv" not in str(f)]
