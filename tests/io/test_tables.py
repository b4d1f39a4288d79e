"""What is known of units and trials: kept, selected by, and in the right unit of time."""

from typing import Any

import numpy as np
import pytest

import roughsnn as rs

A, B, C = [0.1, 0.5, 1.2], [0.3, 1.5], [0.7]
UNITS = {
    "quality": ["good", "mua", "good"],
    "depth": [100.0, 300.0, 700.0],
    "number": [1, 2, 3],
    "text": ["1", "2", "3"],
    "sorted": [True, False, True],
    "position": np.arange(6.0).reshape(3, 2),
    "electrodes": [[0, 1], [1], []],
}
TRIALS = {
    "start_time": [0.0, 1.0],
    "stop_time": [1.0, 2.0],
    "choice": ["left", "right"],
    "go_time": [0, 1],
    "response_times": [0.4, np.nan],
    "start_time_text_time": ["early", "late"],
    "repeat_times": [3, 5],
    "rt": [0.4, 0.5],
    "lick_times": [[0.1, 0.2], [1.5]],
    "place": [[1.0, 2.0], [3.0, 4.0]],
}


def session(**options):
    given: dict[str, Any] = dict(t0=0.0, t1=2.0, units=UNITS, trials=TRIALS) | options
    return rs.io.Session([A, B, C], names=["a", "b", "c"], **given)


def rows(column):
    """Rows of any kind, as lists."""
    return [row.tolist() if isinstance(row, np.ndarray) else row for row in column]


def test_tables_are_kept_and_cut_with_their_rows():
    s = session()
    for name, column in UNITS.items():
        assert rows(s.units[name]) == rows(np.asarray(column, object))
        assert rows(s.select(["c", "a"]).units[name]) == rows(s.units[name][[2, 0]])
    assert s.units["position"].shape == (3, 2) and s.units["depth"].dtype == float
    assert rows(s.select_trials([1]).trials["lick_times"]) == [[1.5]]
    assert s.select_trials([]).num_trials == 0
    objects = np.array(["x", "y", "z"], object), np.array([1, 2.5, np.int32(3)], object)
    texts, numbers = session(units={"a": objects[0], "b": objects[1]}).units.values()
    assert texts.dtype.kind == "U" and numbers.dtype == float
    mixed = session(units={"a": ["x", None, 3]}).units["a"]
    assert mixed.tolist() == ["x", None, 3]


@pytest.mark.parametrize(
    ("where", "kept"),
    [
        ({"quality": "good"}, "ac"),
        ({"quality": ["good", "mua"]}, "abc"),
        ({"quality": {"mua"}}, "b"),
        ({"quality": np.array(["mua"])}, "b"),
        ({"quality": "good", "depth": lambda d: d < 500}, "a"),
        ({"number": 2}, "b"),
        ({"number": range(2, 9)}, "bc"),
        ({"sorted": True}, "ac"),
        ({"position": lambda p: p[:, 1] > 2}, "bc"),
        ({"electrodes": lambda e: [1 in row for row in e]}, "ab"),
        ({}, "abc"),
    ],
)
def test_units_by_what_is_known_of_them(where, kept):
    assert "".join(session().select(where=where).names) == kept


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"where": {"qualty": "good"}}, r"no column 'qualty' of units; there are \['depth', 'elec"),
        ({"where": {"quality": "bad"}}, "No units are left of 3 by {'quality': 'bad'}"),
        # A number is not the text of it.
        ({"where": {"text": 1}}, "No units are left"),
        ({"where": {"position": 1.0}}, "'position' has several values for each row: give a func"),
        ({"where": {"electrodes": 1}}, "'electrodes' has several values for each row"),
        ({"where": {"depth": lambda d: d}}, "must return 3 booleans, got float64 of shape"),
        ({"where": {"depth": lambda d: True}}, r"3 booleans, got bool of shape \(\)"),
        ({"units": ["a"], "where": {}}, "Give either `units` or `where`"),
        ({}, "Give either `units` or `where`"),
        ({"units": []}, "No units are left"),
        ({"units": 0.5}, "a list of names, numbers or booleans, got 0.5"),
    ],
)
def test_units_that_cannot_be_selected(options, message):
    with pytest.raises(ValueError, match=message):
        session().select(**options)


def test_trials_by_what_is_known_of_them():
    s = session()
    assert s.select_trials(where={"choice": "right"}).trials["go_time"].tolist() == [1]
    answered = s.select_trials(where={"response_times": np.isfinite})
    assert answered.aligned("response_times", (-0.1, 0.1)).origin.tolist() == [0.4]
    with pytest.raises(ValueError, match=r"`select_trials\(where=\{column: np.isfinite\}\)`"):
        s.aligned("response_times", (-0.1, 0.1))
    wrong: tuple[tuple[dict[str, Any], str], ...] = (
        ({"where": {"side": "left"}}, "no column 'side' of trials"),
        ({"keep": [2]}, r"`keep` must be in 0 \.\.\. 1, got \[2\]"),
        ({"keep": np.array([True])}, "a boolean for each of the 2 trials"),
        ({"keep": ["left"]}, "a list of numbers or of booleans"),
        ({}, "Give either `keep` or `where`"),
    )
    for options, message in wrong:
        with pytest.raises(ValueError, match=message):
            s.select_trials(**options)


def test_which_columns_are_times():
    marks = {"time": [0.5], "duration": [0.1], "label": ["x"], "peak_time": [0.6], "size": [2.0]}
    epochs = {"start_time": [0.0], "stop_time": [1.0], "label": ["x"], "size": [2.0]}
    # Also ragged ones.
    assert rows(
        session(time_columns=["licks"], trials=TRIALS | {"licks": [[1], [2, 3]]})
        .in_units("ms")
        .trials["licks"]
    ) == [[1e3], [2e3, 3e3]]
    s = session(time_columns=["rt"]).with_tables(events={"e": marks}, epochs={"p": epochs})
    ms = s.in_units("ms")
    changed = {"start_time", "stop_time", "go_time", "response_times", "rt", "lick_times"}
    for name, column in s.trials.items():
        factor = 1e3 if name in changed else None
        for x, y in zip(column, ms.trials[name], strict=True):
            np.testing.assert_array_equal(y, x * factor if factor else x)
    np.testing.assert_array_equal(ms.units["depth"], s.units["depth"])
    events = {name: column.tolist() for name, column in ms.events["e"].items()}
    assert events == dict(time=[500.0], duration=[100.0], label=["x"], peak_time=[600.0], size=[2])
    assert ms.epochs["p"]["stop_time"].tolist() == [1e3] and ms.epochs["p"]["size"] == 2
    back = ms.in_units("s")
    assert back.trials["rt"].tolist() == [0.4, 0.5] and back.time_columns == ("rt",)
    for wrong, kind, message in (
        (["rf"], ValueError, r"no column 'rf' of trials to hold times; there are \['choice'"),
        (["choice"], ValueError, "'choice' of the trials holds no numbers"),
        ("rt", TypeError, "must be a list of names, got 'rt'"),
    ):
        with pytest.raises(kind, match=message):
            session(time_columns=wrong)


def test_spikes_that_become_one_in_another_unit():
    """Numbers next to 1.1, of which some are one when they are times 1000; the report says so."""
    near = 1.1 + np.arange(200) * np.spacing(1.1)
    merged = 200 - len(np.unique(near * 1e3))
    found = rs.io.Session([near], t0=0.0, t1=2.0).in_units("ms")
    assert merged > 0 and [finding.count for finding in found.report] == [merged]


def test_other_tables():
    s = session()
    s = s.with_tables(units=s.units | {"rate": [3, 2, 1]}, electrodes={"id": [5, 7]})
    assert s.units["rate"].tolist() == [3, 2, 1] and "depth" in s.units
    assert s.select([2]).electrodes["id"].tolist() == [5, 7]
    assert s.with_tables(trials={}).num_trials == 0
    assert s.with_tables(events={"e": {"time": []}}).events["e"]["time"].shape == (0,)


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ({"units": {"depth": [1.0]}}, "'depth' of the units must have 3 values, one for each"),
        ({"units": {"depth": 1.0}}, "columns of the units must have one length, got"),
        ({"events": {"e": {"label": ["x"]}}}, "events 'e' have no column 'time'"),
        ({"events": {"e": {"time": ["x"]}}}, "'time' of the events 'e' must be a list of numbers"),
        ({"epochs": {"e": {"start_time": [0.0]}}}, "epochs 'e' have no column 'stop_time'"),
        ({"epochs": {"trials": {}}}, "Epochs cannot be called 'trials'"),
        ({"electrodes": {"id": [1], "x": [1, 2]}}, "columns of the electrodes must have one len"),
        ({"invalid": "mend"}, "`invalid` must be .*got 'mend'"),
    ],
)
def test_bad_tables(tables, message):
    with pytest.raises(ValueError, match=message):
        session().with_tables(**tables)


def test_a_table_is_a_mapping_or_of_pandas():
    pandas = pytest.importorskip("pandas")
    s = session(units=pandas.DataFrame({"quality": ["a", "b", "c"], "depth": [1.0, 2.0, 3.0]}))
    assert s.select(where={"quality": "b"}).units["depth"].tolist() == [2.0]
    with pytest.raises(TypeError, match="The units must be a table {column: values}"):
        session(units=[1, 2, 3])
