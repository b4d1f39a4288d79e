"""Calls of recordings, files and pictures."""

import numpy as np

import roughsnn as rs

from . import given as g
from .call import Call


def _loaded(**arguments):
    rs.save("model.npz", g.NETWORK, overwrite=True)
    return rs.load(**arguments)


CALLS: dict[str, Call] = {
    "save": Call(
        rs.save,
        dict(
            path="model.npz",
            model=g.NETWORK,
            metadata={"a": 1},
            names=("a", "b"),
            window=g.WINDOW,
            overwrite=True,
        ),
    ),
    "load": Call(_loaded, dict(path="model.npz", like=None, types=())),
    "io.Session": Call(
        rs.io.Session,
        g.SPAN
        | dict(
            times=[[0.05, 0.2], [0.11]],
            names=["a", "b"],
            units={"depth": [1.0, 2.0]},
            trials=None,
            unit="s",
            time_columns=(),
            invalid="raise",
        ),
    ),
    "io.Session.select": Call(g.SESSION.select, dict(units=[0])),
    "io.Session.aligned": Call(
        g.SESSION.aligned, dict(events="event_time", window=(0.0, 0.4), max_spikes=9)
    ),
    "io.Session.select_trials": Call(g.SESSION.select_trials, dict(keep=[0, 2])),
    "io.Session.with_tables": Call(
        g.SESSION.with_tables,
        dict(
            units={"depth": [1.0, 2.0]},
            trials={"start_time": [0.1], "stop_time": [0.2]},
            electrodes={"x": [1.0]},
            events={"lick": {"time": [0.1]}},
            epochs={"run": {"start_time": [0.1], "stop_time": [0.2]}},
        ),
    ),
    "io.Session.in_units": Call(g.SESSION.in_units, dict(unit="ms")),
    "io.Session.restrict": Call(g.SESSION.restrict, dict(t0=0.1, t1=0.4)),
    "io.Session.train": Call(g.SESSION.train, dict(max_spikes=64)),
    "io.Session.from_trials": Call(rs.io.Session.from_trials, dict(batch=g.BATCH, gap=0.1)),
    "io.split_time": Call(rs.io.split_time, dict(train=g.TRAIN, at=0.2)),
    "io.split_trials": Call(rs.io.split_trials, dict(batch=g.BATCH, test=0.4, seed=0)),
    "io.read_grasshopper": Call(rs.io.read_grasshopper, dict(recording=1, folder="nowhere")),
    "io.from_neo": Call(rs.io.from_neo, dict(source=None)),
    "io.to_neo": Call(rs.io.to_neo, dict(session=g.SESSION)),
    "io.from_nwb": Call(rs.io.from_nwb, dict(nwbfile=None)),
    "io.read_nwb": Call(rs.io.read_nwb, dict(path="nowhere.nwb")),
    "io.to_nwb": Call(rs.io.to_nwb, dict(session=g.SESSION)),
    "io.write_nwb": Call(rs.io.write_nwb, dict(session=g.SESSION, path="a.nwb", overwrite=True)),
    "io.from_pynapple": Call(rs.io.from_pynapple, dict(group=None)),
    "io.to_pynapple": Call(rs.io.to_pynapple, dict(session=g.SESSION)),
    "plot.matrix": Call(rs.plot.matrix, dict(values=np.eye(2), limit=1.0)),
    "plot.ks": Call(rs.plot.ks, dict(quantiles=g.QUANTILES)),
    "plot.qq": Call(rs.plot.qq, dict(quantiles=g.QUANTILES)),
    "plot.training": Call(rs.plot.training, dict(fit=g.FITTED, names=("loss",))),
    "plot.weights": Call(rs.plot.weights, dict(estimate=np.eye(2), truth=np.eye(2))),
    "plot.psth": Call(rs.plot.psth, g.PAIR | g.SMOOTH | dict(neuron=0)),
    "plot.raster": Call(rs.plot.raster, dict(train=g.BATCH, neuron=0)),
}
