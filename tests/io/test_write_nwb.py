"""Nothing is overwritten without being asked, and nothing is left half-written."""

import warnings
from typing import Any

import numpy as np
import pytest

import roughsnn as rs

with warnings.catch_warnings(action="ignore"):
    import pynwb as pynwb_

pynwb: Any = pynwb_

pytestmark = pytest.mark.filterwarnings("ignore")
FIRST = rs.io.Session([[0.1, 0.5]], t0=0.0, t1=1.0)
SECOND = rs.io.Session([[0.2]], t0=0.0, t1=1.0)


def test_a_file_that_is_there(tmp_path):
    path = tmp_path / "a.nwb"
    rs.io.write_nwb(FIRST, path)
    with pytest.raises(FileExistsError, match=r"a\.nwb already; overwrite=True replaces it"):
        rs.io.write_nwb(SECOND, path)
    np.testing.assert_array_equal(rs.io.read_nwb(path).times[0], [0.1, 0.5])
    rs.io.write_nwb(SECOND, str(path), overwrite=True)
    np.testing.assert_array_equal(rs.io.read_nwb(path).times[0], [0.2])
    assert [file.name for file in tmp_path.iterdir()] == ["a.nwb"]


def test_a_file_that_appears_meanwhile(tmp_path, monkeypatch):
    path, write = tmp_path / "a.nwb", pynwb.NWBHDF5IO.write

    def meanwhile(*args, **options):
        path.write_text("by another")
        return write(*args, **options)

    monkeypatch.setattr(pynwb.NWBHDF5IO, "write", meanwhile)
    with pytest.raises(FileExistsError):
        rs.io.write_nwb(FIRST, path)
    assert path.read_text() == "by another" and len(list(tmp_path.iterdir())) == 1


def test_a_failure_leaves_what_was_there(tmp_path, monkeypatch):
    path = tmp_path / "a.nwb"
    rs.io.write_nwb(FIRST, path)
    write = pynwb.NWBHDF5IO.write

    def fail(*args, **options):
        write(*args, **options)
        raise OSError("no space left")

    monkeypatch.setattr(pynwb.NWBHDF5IO, "write", fail)
    with pytest.raises(OSError, match="no space left"):
        rs.io.write_nwb(SECOND, path, overwrite=True)
    with pytest.raises(OSError, match="no space left"):
        rs.io.write_nwb(SECOND, tmp_path / "b.nwb")
    assert [file.name for file in tmp_path.iterdir()] == ["a.nwb"]
    np.testing.assert_array_equal(rs.io.read_nwb(path).times[0], [0.1, 0.5])


@pytest.mark.parametrize(
    ("path", "kind", "message"),
    [
        (None, TypeError, "`path` must be a str or a pathlib.Path, got None"),
        (3, TypeError, "got 3"),
        (".", IsADirectoryError, "is a folder"),
        ("no/such/a.nwb", FileNotFoundError, "There is no folder"),
    ],
)
def test_paths_that_are_none(path, kind, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(kind, match=message):
        rs.io.write_nwb(FIRST, path)
    assert not list(tmp_path.iterdir())
