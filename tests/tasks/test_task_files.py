"""Files of the layouts of MNIST and of SHD, and events as tonic gives them."""

import gzip
import struct
from typing import Any

import numpy as np
import pytest

import roughsnn as rs

IMAGES = np.random.default_rng(0).integers(256, size=(6, 4, 3), dtype=np.uint8)
LABELS = np.array([0, 1, 2, 2, 1, 0], np.uint8)


def idx(array: np.ndarray, code: int = 8) -> bytes:
    head = struct.pack(f">BBBB{array.ndim}i", 0, 0, code, array.ndim, *array.shape)
    return head + array.tobytes()


@pytest.fixture
def pair(tmp_path):
    """The paths of two idx files, whose bytes may be other ones."""

    def write(images: bytes = idx(IMAGES), labels: bytes = idx(LABELS)):
        paths = tmp_path / "images", tmp_path / "labels"
        for path, content in zip(paths, (images, labels), strict=True):
            path.write_bytes(content)
        return paths

    return write


@pytest.mark.parametrize("zipped", [False, True])
def test_idx(pair, zipped):
    pack = gzip.compress if zipped else bytes
    data = rs.tasks.read_idx(*pair(pack(idx(IMAGES)), pack(idx(LABELS))), classes=3)
    np.testing.assert_array_equal(data.inputs, IMAGES / 255)
    np.testing.assert_array_equal(data.labels, LABELS)


def test_labels_may_be_larger_numbers(pair):
    labels = idx(LABELS.astype(">i4"), 12)
    data = rs.tasks.read_idx(*pair(labels=labels), classes=3)
    np.testing.assert_array_equal(data.labels, LABELS)


BAD_IDX: dict[str, tuple[dict[str, bytes], str]] = {
    "no idx file": (dict(images=b"PNG\r" + idx(IMAGES)), "`images`.* no idx file: it begins with"),
    "empty": (dict(images=b""), "it begins with nothing"),
    "cut": (dict(images=idx(IMAGES)[:-1]), "72 bytes for shape .6, 4, 3., there are 71"),
    "more": (dict(labels=idx(LABELS) + b"1"), "`labels`.*6 bytes for shape .6,., there are 7"),
    "header": (dict(labels=b"\0\0\x08\x01\0"), "ends within its header"),
    "gzip": (dict(images=gzip.compress(idx(IMAGES))[:-9]), "its gzip cannot be read"),
    "labels for images": (dict(images=idx(LABELS)), "must hold bytes of shape"),
    "fewer labels": (dict(labels=idx(LABELS[:5])), "the 5 samples of the labels"),
    "another class": (dict(labels=idx(LABELS + 1)), r"integers in 0 ... 2.*got 1 ... 3"),
}


@pytest.mark.parametrize("name", BAD_IDX)
def test_idx_files_that_are_wrong(pair, name):
    files, message = BAD_IDX[name]
    with pytest.raises(ValueError, match=message):
        rs.tasks.read_idx(*pair(**files), classes=3)


TIMES = [[0.1, 0.05, 0.3], [], [0.2, 0.2]]
UNITS = [[5, 0, 699], [], [3, 2]]


def shd(path, times=TIMES, units=UNITS, labels=(0, 1, 1)) -> Any:
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "w") as file:
        group = file.create_group("spikes")
        for key, rows, kind in (("times", times, "f4"), ("units", units, "u2")):
            column = group.create_dataset(key, (len(rows),), h5py.vlen_dtype(np.dtype(kind)))
            for n, row in enumerate(rows):
                column[n] = np.asarray(row, kind)
        file["labels"] = np.asarray(labels, "u2")
    return path


def test_heidelberg(tmp_path):
    data = rs.tasks.read_heidelberg(shd(tmp_path / "a.h5"), t1=0.5, classes=2)
    trains = data.inputs
    assert (trains.t0, trains.t1, trains.num_neurons) == (0.0, 0.5, 700)
    np.testing.assert_array_equal(data.labels, [0, 1, 1])
    np.testing.assert_array_equal(trains.count, [3, 0, 2])
    np.testing.assert_array_equal(trains.marks, [[0, 5, 699], [-1, -1, -1], [3, 2, -1]])
    np.testing.assert_allclose(trains.times[0], [0.05, 0.1, 0.3], rtol=1e-6)
    fewer = rs.tasks.read_heidelberg(tmp_path / "a.h5", t1=0.2, classes=2, late="drop").inputs
    np.testing.assert_array_equal(fewer.count, [2, 0, 0])


BAD_SHD: dict[str, tuple[dict[str, Any], str]] = {
    "late": (dict(), "Sample 0 has 1 spikes behind t1 = 0.25, the last one at 0.3"),
    "unit": (dict(units=[[5, 0, 700], [], [3, 2]]), r"Sample 0 has units 0 ... 700"),
    "lengths": (dict(units=[[5, 0], [], [3, 2]]), "Sample 0 has times of shape"),
    "fewer": (dict(units=UNITS[:2]), "3 lists of times, 2 of units and 3 labels"),
    "negative": (dict(times=[[0.1, -0.05, 0.2], [], [0.2, 0.2]]), "Sample 0 .* negative"),
}


@pytest.mark.parametrize("name", BAD_SHD)
def test_heidelberg_files_that_are_wrong(tmp_path, name):
    changes, message = BAD_SHD[name]
    path = shd(tmp_path / "a.h5", **changes)
    with pytest.raises(ValueError, match=message):
        rs.tasks.read_heidelberg(path, t1=0.25, classes=2)


def test_other_files(tmp_path):
    h5py = pytest.importorskip("h5py")
    text, other = tmp_path / "text.h5", tmp_path / "other.h5"
    text.write_text("spikes")
    with h5py.File(other, "w") as file:
        file["spikes"] = np.ones(3)
    for path in (text, other):
        with pytest.raises(ValueError, match="does not have the layout of SHD"):
            rs.tasks.read_heidelberg(path, t1=0.5)
    with pytest.raises(FileNotFoundError, match="there is no file"):
        rs.tasks.read_heidelberg(tmp_path / "none.h5", t1=0.5)


def events(rows, fields="txyp") -> np.ndarray:
    return np.array(rows, [(field, "i8") for field in fields])


def test_events():
    samples = [
        (events([(300, 1, 0, 1), (100, 2, 1, 0)]), 1),
        (events([(50, 0, 0, 0)]), 0),
    ]
    data = rs.tasks.from_events(samples, t1=0.5, shape=(3, 2, 2), classes=2, unit=1e-3)
    assert data.inputs.num_neurons == 12
    # (p H + y) W + x.
    np.testing.assert_array_equal(data.inputs.marks, [[5, 7], [0, -1]])
    np.testing.assert_allclose(data.inputs.times, [[0.1, 0.3], [0.05, np.inf]])
    line = [(events([(7, 4)], "tx"), 0)]
    assert (
        int(rs.tasks.from_events(line, t1=1.0, shape=(5, 1, 1), classes=1).inputs.marks[0, 0]) == 4
    )


def test_events_that_are_wrong():
    options: Any = dict(t1=0.5, shape=(3, 2, 2), classes=1, unit=1e-3)
    with pytest.raises(ValueError, match=r"x in 3 ... 3, outside of 0 ... 2"):
        rs.tasks.from_events([(events([(1, 3, 0, 0)]), 0)], **options)
    with pytest.raises(ValueError, match="1 spikes behind t1 = 0.5"):
        rs.tasks.from_events([(events([(900, 0, 0, 0)]), 0)], **options)
    with pytest.raises(TypeError, match="structured array with a field 't'"):
        rs.tasks.from_events([(np.ones((3, 4)), 0)], **options)
    with pytest.raises(ValueError, match="three positive integers"):
        rs.tasks.from_events([], **options | dict(shape=(3, 2)))
