"""Calls of learning tasks."""

from pathlib import Path

import numpy as np

import roughsnn as rs

from . import given as g
from .call import Call


def _idx(**arguments):
    Path("images.idx").write_bytes(b"\0\0\x08\3" + bytes([0, 0, 0, 2] * 3) + bytes(8))
    Path("labels.idx").write_bytes(b"\0\0\x08\1" + bytes([0, 0, 0, 2]) + bytes([0, 1]))
    return rs.tasks.read_idx(**arguments)


def _heidelberg(**arguments):
    import h5py

    with h5py.File("shd.h5", "w") as file:
        for key, value in (("times", 0.1), ("units", 3)):
            kind = h5py.vlen_dtype(np.asarray(value).dtype)
            column = file.create_dataset(f"spikes/{key}", (2,), kind)
            for n in range(2):
                column[n] = np.array([value])
        file["labels"] = np.array([0, 1])
    return rs.tasks.read_heidelberg(**arguments)


EVENTS = np.array([(1, 0, 0, 1)], [(field, "i8") for field in "txyp"])
LABELLED = rs.tasks.Labelled(np.ones((4, 2)), [0, 1, 1, 0], 2)

CALLS: dict[str, Call] = {
    "tasks.Labelled": Call(
        rs.tasks.Labelled, dict(inputs=np.ones((4, 2)), labels=[0, 1, 1, 0], classes=2)
    ),
    "tasks.Labelled.batches": Call(
        lambda **arguments: list(LABELLED.batches(**arguments)), dict(size=2, seed=1)
    ),
    "tasks.yin_yang": Call(rs.tasks.yin_yang, dict(samples=(9, 9, 9), seed=3)),
    "tasks.digits": Call(rs.tasks.digits, dict(seed=3)),
    "tasks.mnist1d": Call(rs.tasks.mnist1d, dict(samples=(10, 10, 10), seed=3)),
    "tasks.store_recall": Call(
        rs.tasks.store_recall, dict(samples=2, steps=8, probability=0.3, seed=3)
    ),
    "tasks.delayed_xor": Call(rs.tasks.delayed_xor, dict(samples=2, steps=8, seed=3)),
    "tasks.evidence_accumulation": Call(
        rs.tasks.evidence_accumulation, dict(samples=2, cues=3, delay=(2, 3), seed=3)
    ),
    "tasks.latency": Call(
        rs.tasks.latency,
        dict(
            values=[0.1, 0.4],
            window=g.WINDOW,
            earliest=0.1,
            latest=0.3,
            silent=0.2,
            reference=[0.2],
        ),
    ),
    "tasks.row_by_row": Call(rs.tasks.row_by_row, dict(image=np.ones((2, 3)), cells=4)),
    "tasks.read_idx": Call(_idx, dict(images="images.idx", labels="labels.idx", classes=2)),
    "tasks.read_heidelberg": Call(
        _heidelberg, dict(path="shd.h5", t1=0.5, neurons=9, classes=2, late="raise")
    ),
    "tasks.from_events": Call(
        rs.tasks.from_events,
        dict(
            samples=[(EVENTS, 0), (EVENTS, 1)],
            t1=0.5,
            shape=(2, 2, 2),
            classes=2,
            unit=1e-3,
            late="raise",
        ),
    ),
}
