"""Data sets in files that a user has; nothing is fetched."""

import gzip
import importlib
import math
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from .._check import as_integers, as_path, check_choice
from .._misc import check_positive_float, check_positive_int, described, static_float
from .._train.spike_train import SpikeTrain
from .labelled import Labelled

# The types of the numbers of an idx file, by the third byte.
_IDX = {8: "u1", 9: "i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}


def read_idx(images: str | Path, labels: str | Path, *, classes: int = 10) -> Labelled:
    """Pictures and their labels from two files of the layout of MNIST, plain or gzipped.

    **Arguments:**

    - `images`: the path of a file of bytes, of shape `(samples, ...)`.
    - `labels`: the path of a file of as many labels.
    - `classes`: how many there are.

    **Returns:** [`roughsnn.tasks.Labelled`][], whose inputs are in [0, 1].

    **Raises:** `ValueError` for files of another layout, and as `Labelled` does.
    """
    pictures, kinds = _idx("images", images), _idx("labels", labels)
    if pictures.dtype != np.uint8 or pictures.ndim < 2:
        raise ValueError(
            f"`images` must hold bytes of shape (samples, ...), got {pictures.dtype} of shape "
            f"{pictures.shape} in {str(images)!r}."
        )
    return Labelled(pictures / 255, kinds, classes)


def _idx(name: str, path: str | Path) -> np.ndarray:
    """The array of an idx file."""
    raw = _existing(name, path).read_bytes()
    wrong = f"`{name}`: {str(path)!r} is no idx file"
    if raw[:2] == b"\x1f\x8b":
        try:
            raw = gzip.decompress(raw)
        except (OSError, EOFError, zlib.error) as error:
            raise ValueError(f"{wrong}, and its gzip cannot be read: {error}.") from error
    if len(raw) < 4 or raw[:2] != b"\0\0" or raw[2] not in _IDX:
        raise ValueError(f"{wrong}: it begins with {raw[:4].hex() or 'nothing'}.")
    rank, dtype = raw[3], np.dtype(_IDX[raw[2]])
    start = 4 + 4 * rank
    shape = tuple(np.frombuffer(raw[4:start], ">i4").tolist()) if len(raw) >= start else ()
    if len(shape) != rank or min(shape, default=0) < 0:
        raise ValueError(f"{wrong}: it ends within its header.")
    size = math.prod(shape) * dtype.itemsize
    if len(raw) != start + size:
        raise ValueError(
            f"{wrong}: there should be {size} bytes for shape {shape}, there are "
            f"{len(raw) - start}."
        )
    return np.frombuffer(raw, dtype, offset=start).reshape(shape).astype(dtype.newbyteorder("="))


def read_heidelberg(
    path: str | Path, *, t1: float, neurons: int = 700, classes: int = 20, late: str = "raise"
) -> Labelled:
    """Spoken digits or words as spikes, from an HDF5 file of the layout of SHD and SSC.

    `spikes/times` (in seconds) and `spikes/units` hold a list for each sample, `labels` its class
    (Cramer, Stradmann, Schemmel & Zenke, *The Heidelberg Spiking Data Sets*, IEEE TNNLS 2022).

    **Arguments:**

    - `path`: of the file.
    - `t1`: the end of the window, which begins at 0.
    - `neurons`: how many units there are.
    - `classes`: 20 for SHD, 35 for SSC.
    - `late`: what to do about spikes behind `t1`: `"raise"`, or `"drop"` them.

    **Returns:** [`roughsnn.tasks.Labelled`][] with a batch of [`roughsnn.SpikeTrain`][].

    **Raises:** `ImportError` without h5py; `ValueError` for files of another layout, units or times
        that cannot be, and late spikes.
    """
    place = _existing("path", path)
    try:
        h5py: Any = importlib.import_module("h5py")
    except ImportError as error:
        raise ImportError("HDF5 files need h5py: `pip install h5py`.") from error
    try:
        with h5py.File(place, "r") as file:
            times, units = (
                [np.asarray(row) for row in file["spikes"][key]] for key in ("times", "units")
            )
            labels = np.asarray(file["labels"])
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{str(path)!r} does not have the layout of SHD, an HDF5 file with 'spikes/times', "
            f"'spikes/units' and 'labels': {error}."
        ) from error
    if not len(times) == len(units) == len(labels):
        raise ValueError(
            f"{str(path)!r} has {len(times)} lists of times, {len(units)} of units and "
            f"{len(labels)} labels: there must be one of each for a sample."
        )
    trains = _trains(times, units, t1, check_positive_int("neurons", neurons), late)
    return Labelled(trains, labels, classes)


def from_events(
    samples: Iterable[tuple[np.ndarray, int]],
    *,
    t1: float,
    shape: Sequence[int],
    classes: int,
    unit: float = 1e-6,
    late: str = "raise",
) -> Labelled:
    """Spikes from the events of a neuromorphic sensor, as data sets of tonic give them.

    An event is a row of a structured array with the time `t`, and some of the places `x`, `y` and
    the polarity `p`; its neuron is number $(p H + y) W + x$.

    **Arguments:**

    - `samples`: pairs (events, label), such as `tonic.datasets.NMNIST(...)`.
    - `t1`: the end of the window in the unit of the simulation; time 0 is that of the events.
    - `shape`: the sensor's `(W, H, P)`, as `sensor_size` of a data set of tonic.
    - `classes`: how many there are.
    - `unit`: what one of `t` is in the unit of the simulation; tonic has microseconds.
    - `late`: what to do about events behind `t1`: `"raise"`, or `"drop"` them.

    **Returns:** [`roughsnn.tasks.Labelled`][] with a batch of [`roughsnn.SpikeTrain`][] of
        `W H P` neurons.

    **Raises:** `TypeError` for events without times; `ValueError` for places outside of the sensor,
        and late events.
    """
    size, unit = as_integers("shape", shape, "three integers (W, H, P)"), static_float("unit", unit)
    if size.shape != (3,) or size.min() < 1:
        raise ValueError(f"`shape` must be three positive integers (W, H, P), got {shape!r}.")
    check_positive_float("unit", unit)
    limits = dict(zip("xyp", size.tolist(), strict=True))
    times, numbers, labels = [], [], []
    for n, (events, label) in enumerate(_pairs(samples)):
        fields = getattr(getattr(events, "dtype", None), "names", None) or ()
        if "t" not in fields:
            raise TypeError(
                f"`samples[{n}]` must be a structured array with a field 't', and some of 'x', 'y' "
                f"and 'p', got {type(events).__name__} with {list(fields)}."
            )
        found = {}
        for field, limit in limits.items():
            place = np.asarray(events[field]).astype(int) if field in fields else np.zeros(1, int)
            if place.size and not 0 <= place.min() <= place.max() < limit:
                raise ValueError(
                    f"`samples[{n}]` has {field} in {place.min()} ... {place.max()}, outside of "
                    f"0 ... {limit - 1} by `shape`."
                )
            found[field] = place
        number = (found["p"] * limits["y"] + found["y"]) * limits["x"] + found["x"]
        times.append(np.asarray(events["t"], float) * unit)
        numbers.append(np.broadcast_to(number, times[-1].shape))
        labels.append(label)
    return Labelled(_trains(times, numbers, t1, int(size.prod()), late), labels, classes)


def _pairs(samples: Any) -> Iterator[tuple[Any, Any]]:
    """Those of events and labels."""
    wanted = "`samples` must give pairs (events, label)"
    try:
        each = iter(samples)
    except TypeError:
        raise TypeError(f"{wanted}, got {described(samples)}.") from None
    for n, pair in enumerate(each):
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise TypeError(f"{wanted}, got {described(pair)} as number {n}.")
        yield pair[0], pair[1]


def _existing(name: str, path: str | Path) -> Path:
    """The path of a file that there is."""
    place = as_path(name, path)
    if not place.is_file():
        raise FileNotFoundError(f"`{name}`: there is no file {str(path)!r}.")
    return place


def _trains(
    times: list[np.ndarray], units: list[np.ndarray], t1: float, neurons: int, late: str
) -> SpikeTrain:
    """A batch from the spikes of each sample."""
    check_choice("late", late, ("raise", "drop"))
    t1 = check_positive_float("t1", t1)
    rows = []
    for n, (t, k) in enumerate(zip(times, units, strict=True)):
        t, k = np.asarray(t, float), np.asarray(k).astype(int)
        if t.shape != k.shape or t.ndim != 1:
            raise ValueError(
                f"Sample {n} has times of shape {t.shape} and units of shape {k.shape}: there must "
                "be one unit for each time."
            )
        if not np.all(np.isfinite(t)) or np.any(t < 0):
            raise ValueError(f"Sample {n} has times that are negative or not finite.")
        if k.size and not 0 <= k.min() <= k.max() < neurons:
            raise ValueError(
                f"Sample {n} has units {k.min()} ... {k.max()}, outside of 0 ... {neurons - 1}."
            )
        if late == "raise" and np.any(t > t1):
            raise ValueError(
                f"Sample {n} has {np.sum(t > t1)} spikes behind t1 = {t1}, the last one at "
                f'{t.max()}: give a later `t1`, or leave them out by `late="drop"`.'
            )
        order = np.argsort(t, kind="stable")
        order = order[t[order] <= t1]
        rows.append((t[order], k[order]))
    room = max(1, max((len(t) for t, _ in rows), default=1))
    dtype = jnp.result_type(float)
    of_all, marks = np.full((len(rows), room), np.inf), np.full((len(rows), room), -1, np.int32)
    for n, (t, k) in enumerate(rows):
        of_all[n, : len(t)], marks[n, : len(k)] = t, k
    return SpikeTrain(
        # Times that are rounded stay in the window.
        times=jnp.asarray(np.where(marks >= 0, np.minimum(of_all, dtype.type(t1)), np.inf), dtype),
        marks=jnp.asarray(marks),
        count=jnp.asarray([len(t) for t, _ in rows], jnp.int32),
        overflow=jnp.zeros(len(rows), bool),
        t0=0.0,
        t1=t1,
        num_neurons=neurons,
    )
