"""What NWB, Neo and pynapple hold of a session: the table of the documentation, through files."""

import re
import warnings
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import roughsnn as rs

from .helpers import plain

with warnings.catch_warnings(action="ignore"):
    import neo as neo_
    import neo.io as neo_io
    import pynapple as nap
    import pynwb as pynwb_

neo: Any = neo_
pynwb: Any = pynwb_

pytestmark = pytest.mark.filterwarnings("ignore", "error::roughsnn.io.DataWarning")
PAGE = Path(__file__).parents[2] / "docs" / "recordings.md"
START = datetime(2026, 1, 1, tzinfo=UTC)
SPIKES = [np.array([0.1, 0.5, 1.2, 1.9]), np.array([0.3, 1.5])]
TRIALS = {"start_time": [0.0, 1.0], "stop_time": [0.9, 2.0]}
ODOURS = {"start_time": [0.2, 0.7], "stop_time": [0.7, 0.8], "label": ["amyl", "air"]}
LICKS = {"time": [0.4, 0.6], "label": ["left", "right"]}
PLAIN: dict[str, Any] = {
    "quality": ["good", "mua"],
    "depth": [100.0, 250.0],
    "count": [1, 2],
    "sorted": [True, False],
}


def ragged(*rows):
    out = np.empty(len(rows), object)
    for n, row in enumerate(rows):
        out[n] = np.asarray(row)
    return out


def session(times=SPIKES, names=("7", "3"), units=None, trials=TRIALS, extra=None, **options):
    made = rs.io.Session(
        times, t0=0.0, t1=2.0, names=names, units=units or {}, trials=trials, **options
    )
    return made.with_tables(**extra or {})


# For each row of the table: what NWB, Neo and pynapple do; a session that has it; which of its
# attributes are to come back.
TABLE: dict[str, Any] = {
    "spike times": ("yes", "yes", "to 1 ns", session(), ["times"]),
    "units without spikes": ("yes", "yes", "yes", session([SPIKES[0], []]), ["times"]),
    "from when to when was recorded": ("yes", "yes", "to 1 ns", session(), ["t0", "t1"]),
    "names of units": ("yes", "yes", "yes", session(names=["1", "01"]), ["names"]),
    "columns of units": ("yes", "yes", "yes", session(units=PLAIN), ["units"]),
    "… with several axes": (
        "yes",
        "yes",
        "yes",
        session(units={"place": [[1.0, 2.0], [3.0, 4.0]]}),
        ["units"],
    ),
    "… ragged": (
        "yes",
        "yes",
        "yes",
        session(units={"channels": ragged([1, 2, 3], [4])}),
        ["units"],
    ),
    "… a value for each spike": (
        "yes",
        "yes",
        "yes",
        session(units={"height": ragged(2 * SPIKES[0], 3 * SPIKES[1])}),
        ["units"],
    ),
    "… of mixed types": (
        "error",
        "yes",
        "yes",
        session(units={"note": ["x", 3]}),
        ["units"],
    ),
    "electrodes": (
        "yes",
        "no",
        "no",
        session(
            units={"electrodes": ragged([0, 1], [2])},
            extra={
                "electrodes": {
                    "id": [4, 5, 9],
                    "location": ["CA1", "CA1", "CA3"],
                    "group_name": ["A", "A", "B"],
                    "x": [0.0, 1.0, 2.0],
                    "gain": [1, 2, 3],
                }
            },
        ),
        ["units", "electrodes"],
    ),
    "trials": ("yes", "yes", "to 1 ns", session(), ["trials"]),
    "trials that overlap": (
        "yes",
        "yes",
        "error",
        session(trials={"start_time": [0.0, 0.5], "stop_time": [1.0, 1.5]}),
        ["trials"],
    ),
    "columns of trials": ("yes", "yes", "yes", session(trials=TRIALS | PLAIN), ["trials"]),
    "… with several axes ": (
        "yes",
        "no",
        "yes",
        session(trials=TRIALS | {"place": [[1.0, 2.0], [3.0, 4.0]]}),
        ["trials"],
    ),
    "… ragged ": (
        "yes",
        "no",
        "yes",
        session(trials=TRIALS | {"lick_times": ragged([0.1, 0.2], [1.5])}),
        ["trials"],
    ),
    "events and their labels": (
        "yes",
        "yes",
        "no",
        session(extra={"events": {"lick": LICKS, "reward": {"time": [0.5]}}}),
        ["events"],
    ),
    "columns of events": (
        "yes",
        "yes",
        "no",
        session(extra={"events": {"lick": LICKS | PLAIN | {"duration": [0.1, 0.2]}}}),
        ["events"],
    ),
    "epochs and their labels": (
        "yes",
        "yes",
        "no",
        session(extra={"epochs": {"odour": ODOURS, "epochs": ODOURS}}),
        ["epochs"],
    ),
    "columns of epochs": (
        "yes",
        "yes",
        "no",
        session(extra={"epochs": {"odour": ODOURS | PLAIN}}),
        ["epochs"],
    ),
    "which columns are `time_columns`": (
        "said to the reader",
        "yes",
        "said to the reader",
        session(trials=TRIALS | {"rt": [0.1, 0.2]}, time_columns=["rt"]),
        ["trials", "time_columns"],
    ),
}
CASES = [(row, n) for row in TABLE for n in range(3)]


def nwb(given, folder, **options):
    rs.io.write_nwb(given, folder / "a.nwb", start=START)
    return rs.io.read_nwb(folder / "a.nwb", **options)


def through_neo(given, folder, **options):
    block = neo.Block()
    block.segments.append(rs.io.to_neo(given))
    neo_io.PickleIO(str(folder / "a.pkl")).write_block(block)
    return rs.io.from_neo(neo_io.PickleIO(str(folder / "a.pkl")).read_block(), **options)


def pynapple(given, folder, **options):
    group, trials = rs.io.to_pynapple(given)
    group.save(str(folder / "group.npz"))
    trials.save(str(folder / "trials.npz"))
    loaded = nap.load_file(str(folder / "group.npz")), nap.load_file(str(folder / "trials.npz"))
    return rs.io.from_pynapple(*loaded, **options)


WAYS = (nwb, through_neo, pynapple)


def same(found, expected, atol):
    if isinstance(expected, dict):
        assert set(found) == set(expected)
        for name, part in expected.items():
            same(found[name], part, atol)
    elif isinstance(expected, list):
        assert len(found) == len(expected)
        for x, y in zip(found, expected, strict=True):
            same(x, y, atol)
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, rel=0, abs=atol)
    else:
        assert found == expected and type(found) is type(expected)


@pytest.mark.parametrize(("row", "way"), CASES, ids=lambda x: str(x).strip())
def test_there_and_back(row, way, tmp_path):
    cell, (*_, given, attributes) = TABLE[row][way], TABLE[row]
    if cell == "error":
        with pytest.raises(ValueError, match="cannot hold column 'note'|trials overlap"):
            WAYS[way](given, tmp_path)
        return
    if cell == "no":
        lost = "place|lick_times|electrodes|events|epochs"
        with pytest.warns(rs.io.DataWarning, match=f"cannot hold all.*({lost})"):
            found = WAYS[way](given, tmp_path)
        same(plain(found.select(given.names).times), plain(given.times), 1e-9)
        return
    options = {"time_columns": given.time_columns} if cell == "said to the reader" else {}
    found = WAYS[way](given.in_units("ms"), tmp_path, **options).select(given.names)
    assert found.unit == "s" and not found.report
    for name in attributes:
        atol = 1e-9 if cell == "to 1 ns" else 1e-12
        same(plain(getattr(found, name)), plain(getattr(given, name)), atol)


def test_the_page_has_this_table():
    lines = re.findall(r"^\| (.+) \|$", PAGE.read_text(), re.MULTILINE)
    found = [[cell.strip() for cell in line.split(" | ")] for line in lines]
    start = found.index(["", "NWB", "Neo", "pynapple"])
    rows = [row for row in found[start + 1 :] if len(row) == 4]
    assert rows == [[name.strip(), *row[:3]] for name, row in TABLE.items()]


RICH = session(
    names=["a", "b"],
    units=PLAIN | {"electrodes": ragged([0, 1], [1])},
    trials=TRIALS | {"choice": ["left", "right"]},
    extra={
        "electrodes": {"id": [4, 5], "location": ["CA1", "CA3"], "group_name": ["A", "B"]},
        "events": {"lick": LICKS},
        "epochs": {"odour": ODOURS},
    },
)


class TestOwnReaders:
    """The same numbers, as the libraries themselves read what was written."""

    @pytest.fixture
    def path(self, tmp_path):
        rs.io.write_nwb(RICH, tmp_path / "a.nwb", start=START)
        return str(tmp_path / "a.nwb")

    def test_pynwb(self, path):
        assert not pynwb.validate(path=path)
        with pynwb.NWBHDF5IO(path, "r") as file:
            read: Any = file.read()
            units, electrodes = read.units.to_dataframe(), read.electrodes.to_dataframe()
            assert list(units["unit_name"]) == ["a", "b"]
            assert list(units["depth"]) == [100.0, 250.0]
            assert list(units["electrodes"][0]["location"]) == ["CA1", "CA3"]
            assert electrodes["group"][5].name == "B"
            assert list(read.trials.to_dataframe()["choice"]) == ["left", "right"]
            assert list(read.intervals["odour"].to_dataframe()["label"]) == ["amyl", "air"]
            events = read.events["lick"].to_dataframe()
            assert list(events["timestamp"]) == [0.4, 0.6]
            assert list(events["annotation"]) == ["left", "right"]

    def test_pynapple_reads_nwb(self, path):
        file: Any = nap.load_file(path)
        group, trials, odours = file["units"], file["trials"], file["odour"]
        np.testing.assert_array_equal(group[1].t, SPIKES[1])
        assert list(group["quality"]) == ["good", "mua"] and list(group["unit_name"]) == ["a", "b"]
        assert list(trials["choice"]) == ["left", "right"]
        assert list(odours["label"]) == ["amyl", "air"]

    def test_neo_reads_nwb(self, path):
        (segment,) = neo_io.NWBIO(path, "r").read_all_blocks()[0].segments
        for train, times in zip(segment.spiketrains, SPIKES, strict=True):
            np.testing.assert_array_equal(train.magnitude, times)
            assert (train.t_start, train.t_stop) == (0.0, 2.0)

    def test_neo_objects(self):
        with pytest.warns(rs.io.DataWarning, match=r"electrodes \(table electrodes\): 1 not kept"):
            segment = rs.io.to_neo(RICH)
        assert segment.spiketrains[1].annotations == {
            "quality": "mua",
            "depth": 250.0,
            "count": 2,
            "sorted": False,
        }
        trials, odours = segment.epochs
        assert trials.array_annotations["choice"].tolist() == ["left", "right"]
        assert odours.labels.tolist() == ["amyl", "air"] and odours.name == "odour"
        assert segment.events[0].labels.tolist() == ["left", "right"]

    def test_pynapple_objects(self):
        with pytest.warns(rs.io.DataWarning) as caught:
            group, trials = rs.io.to_pynapple(RICH)
        (ours,) = (w for w in caught if issubclass(w.category, rs.io.DataWarning))
        for name in ("electrodes", "events", "epochs"):
            assert f"{name} (table {name})" in str(ours.message)
        assert ours.filename == __file__
        assert list(group["quality"]) == ["good", "mua"]
        assert list(trials["choice"]) == ["left", "right"]


@pytest.mark.parametrize("name", ["rate", "name"])
def test_what_pynapple_has_itself(name):
    given = session(units={name: [1.0, 2.0]})
    with pytest.warns(rs.io.DataWarning, match=f"pynapple has itself.*{name}"):
        group, _ = rs.io.to_pynapple(given)
    assert rs.io.from_pynapple(group).names == ("3", "7")


@pytest.mark.parametrize(
    ("table", "column", "values", "message"),
    [
        ("units", "spike_times", [1.0, 2.0], "have a column 'spike_times' of their own"),
        ("units", "unit_name", ["a", "b"], "have a column 'unit_name' of their own"),
        ("units", "a/b", [1.0, 2.0], "cannot hold column 'a/b' of 'units'"),
        ("units", "waveform_mean", ["a", "b"], "cannot hold row 0 of 'units'.*'waveform_mean'"),
        ("units", "electrodes", [0, 1], "numbers of the 0 rows"),
        ("units", "electrodes", ["x", "y"], "numbers of the 0 rows"),
        ("trials", "note", np.array([None, "x"], object), "cannot hold column 'note' of 'trials'"),
        ("trials", "note", ragged(["x"], [1]), None),
    ],
)
def test_what_nwb_cannot_hold(table, column, values, message):
    given = session(**{table: (TRIALS if table == "trials" else {}) | {column: values}})
    if message is None:
        rs.io.to_nwb(given)
        return
    with pytest.raises(ValueError, match=message):
        rs.io.to_nwb(given)


def test_tags_are_a_list_for_each_interval(tmp_path):
    """And pynwb would take one with a comma for two."""
    odour = {"start_time": [0.0, 0.5], "stop_time": [0.5, 1.0], "tags": ["a, b", "c"]}
    found = nwb(session(extra={"epochs": {"odour": odour}}), tmp_path)
    assert plain(found.epochs["odour"]["tags"]) == [["a, b"], ["c"]]


def test_text_that_is_called_a_time():
    given = session(trials=TRIALS | {"phase_time": ["early", "late"]}).in_units("ms")
    for way in (rs.io.to_nwb, rs.io.to_neo, rs.io.to_pynapple):
        way(given)
    assert given.trials["phase_time"].tolist() == ["early", "late"]
