"""What labs write and no session can hold: repaired, left out or refused, each kind once."""

import itertools
import warnings
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

import roughsnn as rs

with warnings.catch_warnings(action="ignore"):
    import neo as neo_
    import pynapple as nap
    import pynwb as pynwb_

neo: Any = neo_
pynwb: Any = pynwb_

START = datetime(2026, 1, 1, tzinfo=UTC)
NAN = float("nan")
GOOD = [0.1, 0.5, 1.2, 1.9]
TRIALS = [(0.0, 1.0), (1.0, 2.0)]
CLOSE = np.array([0.3, 1.5, 1.5 + 1e-9], np.float32)

# The spikes of a second unit, its id and the trials; what `repair` makes of spikes, names and
# trials; which units and trials `drop` keeps; the error; the report.
KINDS: dict[str, Any] = {
    "spike that is NaN": (
        ([0.3, NAN, 1.5], 1, TRIALS),
        ([0.3, 1.5], ("0", "1"), [0, 1]),
        (["0"], [0, 1]),
        "Unit 1: a spike time is nan",
        "spikes that are not finite (unit 1): 1 left out",
    ),
    "spike outside": (
        ([-0.2, 0.3, 1.5, 7.0], 1, TRIALS),
        ([0.3, 1.5], ("0", "1"), [0, 1]),
        (["0"], [0, 1]),
        r"Unit 1: the spike at -0.2 lies outside of the recording, \[0.0, 2.0\]",
        "spikes outside of the recording (unit 1): 2 left out",
    ),
    "out of order": (
        ([1.5, 0.3, 0.4], 1, TRIALS),
        ([0.3, 0.4, 1.5], ("0", "1"), [0, 1]),
        (["0"], [0, 1]),
        "Unit 1: the spike times are not in order, 0.3 comes after 1.5",
        "spikes that are not in order (unit 1): 1 sorted",
    ),
    "doubled spike": (
        ([0.3, 0.3, 1.5, 1.5, 1.5], 1, TRIALS),
        ([0.3, 1.5], ("0", "1"), [0, 1]),
        (["0"], [0, 1]),
        "Unit 1: the spike at 0.3 is there twice",
        "spikes that are there twice (unit 1): 3 left out, one kept",
    ),
    "doubled in float32": (
        (CLOSE, 1, TRIALS),
        (CLOSE[:2], ("0", "1"), [0, 1]),
        (["0"], [0, 1]),
        "Unit 1: the spike at 1.5 is there twice",
        "spikes that are there twice (unit 1): 1 left out, one kept",
    ),
    "repeated id": (
        ([0.3, 1.5], 0, TRIALS),
        ([0.3, 1.5], ("0", "0.1"), [0, 1]),
        (["0"], [0, 1]),
        "`names` must be 2 different ones",
        "names of several units (unit 0.1): 1 renamed",
    ),
    "trial that does not stop": (
        ([0.3, 1.5], 1, [(0.0, 1.0), (1.0, NAN)]),
        ([0.3, 1.5], ("0", "1"), [0]),
        (["0", "1"], [0]),
        "Trial 1 goes from 1.0 to nan",
        "trials without a finite start and a later stop (trial 1): 1 left out",
    ),
    "trial of no length": (
        ([0.3, 1.5], 1, [(0.5, 0.5), (1.0, 2.0)]),
        ([0.3, 1.5], ("0", "1"), [1]),
        (["0", "1"], [1]),
        "Trial 0 goes from 0.5 to 0.5",
        "trials without a finite start and a later stop (trial 0): 1 left out",
    ),
}


def nwbfile(spikes, unit=1, trials=TRIALS, group=None):
    file = pynwb.NWBFile("a session", "id", START)
    if group is not None:
        device = file.create_device("probe")
        group = [file.create_electrode_group(name, name, name, device) for name in group]
    for n, (times, number) in enumerate(((GOOD, 0), (spikes, unit))):
        more = {} if group is None else {"electrode_group": group[n]}
        file.add_unit(spike_times=times, obs_intervals=[[0.0, 2.0]], id=number, **more)
    file.add_trial_column("number", "its number")
    for n, (start, stop) in enumerate(trials):
        file.add_trial(start_time=start, stop_time=stop, number=n)
    return file


def quiet(read, *args, **options):
    """What is read, which gives no warning."""
    with warnings.catch_warnings(action="error"):
        return read(*args, **options)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("where", ["file", "object"])
def test_nwb(kind, where, tmp_path):
    given, (spikes, names, trials), (left, left_trials), message, report = KINDS[kind]
    file = nwbfile(*given)
    if where == "file":
        with (
            warnings.catch_warnings(action="ignore"),
            pynwb.NWBHDF5IO(str(tmp_path / "a.nwb"), "w") as stream,
        ):
            stream.write(file)
    read = lambda **options: (
        rs.io.from_nwb(file, **options)
        if where == "object"
        else rs.io.read_nwb(tmp_path / "a.nwb", **options)
    )
    with pytest.warns(rs.io.DataWarning) as caught:
        found = read()
    assert len(caught) == 1 and caught[0].filename == __file__
    assert str(found.report) == report and report in str(caught[0].message)
    np.testing.assert_array_equal(found.times[0], GOOD)
    np.testing.assert_array_equal(found.times[1], spikes)
    assert found.names == names and found.trials["number"].tolist() == trials
    with pytest.warns(rs.io.DataWarning):
        dropped = read(invalid="drop")
    assert list(dropped.names) == left and dropped.trials["number"].tolist() == left_trials
    with pytest.raises(ValueError, match=message):
        read(invalid="raise")


@pytest.mark.parametrize("kind", KINDS)
def test_arrays(kind):
    """A session that one makes oneself refuses what readers repair."""
    (spikes, number, pairs), (mended, names, kept), _, message, report = KINDS[kind]
    start, stop = zip(*pairs, strict=True)
    trials = {"start_time": start, "stop_time": stop, "number": [0, 1]}
    make = lambda **options: rs.io.Session(
        [GOOD, spikes], t0=0.0, t1=2.0, names=["0", str(number)], trials=trials, **options
    )
    with pytest.raises(ValueError, match=message):
        make()
    found = quiet(make, invalid="repair")
    np.testing.assert_array_equal(found.times[1], mended)
    assert found.names == names and found.trials["number"].tolist() == kept
    assert str(found.report) == report and found.report


@pytest.mark.parametrize("invalid", ["repair", "drop", "raise"])
def test_units_without_spikes_are_no_fault(invalid):
    found = quiet(rs.io.from_nwb, nwbfile([]), invalid=invalid)
    assert len(found.times[1]) == 0 and not found.report
    assert str(found.report) == "Nothing was repaired or left out."
    silent = neo.SpikeTrain([], units="s", t_stop=3.0)
    assert len(quiet(rs.io.from_neo, [silent], invalid=invalid).times[0]) == 0
    support = nap.IntervalSet(0.0, 2.0)
    group = nap.TsGroup({0: nap.Ts(np.zeros(0), time_support=support)}, time_support=support)
    assert len(quiet(rs.io.from_pynapple, group, invalid=invalid).times[0]) == 0


def test_units_of_several_probes_are_named_by_them():
    with pytest.warns(rs.io.DataWarning, match=r"units A 0, B 0\): 2 renamed"):
        found = rs.io.from_nwb(nwbfile([0.3], 0, group=["A", "B"]))
    assert found.names == ("A 0", "B 0")
    assert found.units["electrode_group"].tolist() == ["A", "B"]
    with pytest.warns(rs.io.DataWarning):
        assert rs.io.from_nwb(nwbfile([0.3], 0, group=["A", "A2"])).names == ("A 0", "A2 0")
    names = ["3", "3", "3.1", "3"]
    made = rs.io.Session([[]] * 4, t0=0.0, t1=1.0, names=names, invalid="repair")
    assert made.names == ("3", "3.2", "3.1", "3.3")


@pytest.mark.parametrize("given", [[0.3, NAN], [0.5, 0.3], [0.3, 0.3]])
def test_neo(given):
    trains = [neo.SpikeTrain(t, units="s", t_stop=2.0) for t in (GOOD, given)]
    with pytest.warns(rs.io.DataWarning, match="unit 1"):
        found = rs.io.from_neo(trains)
    np.testing.assert_array_equal(found.times[1], np.unique(np.array(given)[np.isfinite(given)]))
    with pytest.warns(rs.io.DataWarning):
        assert rs.io.from_neo(trains, invalid="drop").names == ("0",)
    with pytest.raises(ValueError, match="Unit 1"):
        rs.io.from_neo(trains, invalid="raise")


def test_pynapple():
    group = nap.TsGroup({3: nap.Ts(np.array([0.3, 0.3, 0.7])), 7: nap.Ts(np.array(GOOD))})
    with pytest.warns(rs.io.DataWarning, match=r"there twice \(unit 3\)"):
        assert rs.io.from_pynapple(group).times[0].tolist() == [0.3, 0.7]
    with pytest.raises(ValueError, match="Unit 3.*there twice"):
        rs.io.from_pynapple(group, invalid="raise")


def test_spikes_in_float32_may_be_a_rounding_outside():
    last = np.array([1.0, 1.9], np.float32)
    t1 = float(np.nextafter(last[1], np.float32(0)))
    found = quiet(rs.io.Session, [last], t0=0.0, t1=t1)
    np.testing.assert_array_equal(found.times[0], [1.0, t1])
    with pytest.raises(ValueError, match="outside"):
        rs.io.Session([last.astype(float)], t0=0.0, t1=t1)
    # NWB widens them.
    file = pynwb.NWBFile("a session", "id", START)
    file.add_unit(spike_times=last.astype(float), obs_intervals=[[0.0, t1]])
    assert quiet(rs.io.from_nwb, file).times[0][1] == t1


def test_several_faults_in_one_report():
    times = [[0.3, NAN, 0.2, 0.2], [NAN], GOOD]
    made = rs.io.Session(times, t0=0.0, t1=2.0, invalid="repair")
    assert str(made.report).splitlines() == [
        "spikes that are not finite (units 0, 1): 2 left out",
        "spikes that are not in order (unit 0): 1 sorted",
        "spikes that are there twice (unit 0): 1 left out, one kept",
    ]
    np.testing.assert_array_equal(made.times[0], [0.2, 0.3])
    dropped = rs.io.Session(times, t0=0.0, t1=2.0, invalid="drop", units={"depth": [1, 2, 3]})
    assert dropped.names == ("2",) and dropped.units["depth"].tolist() == [3]
    with pytest.raises(ValueError, match="so that none is left"):
        rs.io.Session(times[:2], t0=0.0, t1=2.0, invalid="drop")
    many = rs.io.Session([[NAN]] * 9, t0=0.0, t1=2.0, invalid="repair")
    assert "units 0, 1, 2, 3, 4 and 4 more): 9" in str(many.report)
    with pytest.raises(
        ValueError, match="`invalid` must be 'repair', 'drop' or 'raise', got 'ignore'"
    ):
        rs.io.Session(times, t0=0.0, t1=2.0, invalid="ignore")  # pyright: ignore


def test_what_has_a_value_for_each_spike_follows():
    """Amplitudes, through repair, restriction and selection."""
    times = [[0.3, NAN, 0.2, 0.2], [1.5]]
    amplitudes = np.empty(2, object)
    amplitudes[0], amplitudes[1] = np.array([3.0, 0.0, 2.0, 2.5]), np.array([15.0])
    units = {"amplitudes": amplitudes}
    made = rs.io.Session(times, t0=0.0, t1=2.0, units=units, invalid="repair")
    assert [a.tolist() for a in made.units["amplitudes"]] == [[2.0, 3.0], [15.0]]
    part = made.restrict(0.25, 1.5)
    assert [a.tolist() for a in part.units["amplitudes"]] == [[3.0], []]
    assert made.select(["1"]).units["amplitudes"][0].tolist() == [15.0]


def test_rows_of_events_and_epochs():
    made = rs.io.Session([GOOD], t0=0.0, t1=2.0)
    events = {"lick": {"time": [0.1, NAN], "label": ["a", "b"]}}
    epochs = {"odour": {"start_time": [0.5, 1.0, NAN], "stop_time": [0.5, 0.5, 1.0]}}
    found = made.with_tables(events=events, epochs=epochs, invalid="repair")
    assert found.events["lick"]["label"].tolist() == ["a"]
    # An instant is an epoch, but no trial.
    assert found.epochs["odour"]["start_time"].tolist() == [0.5]
    assert [finding.count for finding in found.report] == [1, 2]
    with pytest.raises(ValueError, match="row 1 is at nan"):
        made.with_tables(events=events)
    with pytest.raises(ValueError, match="row 1 goes from 1.0 to 0.5"):
        made.with_tables(epochs=epochs)


class TestWindow:
    """Of readers: it cuts, and says nothing that was not asked for but in the report."""

    def test_it_crops(self):
        file = nwbfile([0.3, 1.5], trials=[(0.0, 0.9), (0.5, 1.5)])
        found = quiet(rs.io.from_nwb, file, window=(0.0, 1.2))
        # A spike at the end belongs to what comes after.
        assert [t.tolist() for t in found.times] == [[0.1, 0.5], [0.3]]
        assert (found.t0, found.t1) == (0.0, 1.2) and found.trials["number"].tolist() == [0]
        assert str(found.report).splitlines() == [
            "spikes outside of [0.0, 1.2) (units 0, 1): 3 left out",
            "trials not inside of [0.0, 1.2) (table trials): 1 left out",
        ]

    def test_it_reaches_further(self):
        found = quiet(rs.io.from_nwb, nwbfile([0.3, 1.5]), window=(-1.0, 3.0))
        assert (found.t0, found.t1, len(found.times[0])) == (-1.0, 3.0, 4) and not found.report
        # The end of what was observed belongs to it.
        assert quiet(rs.io.from_nwb, nwbfile([2.0]), window=(1.0, 2.0)).times[1].tolist() == [2.0]
        apart = quiet(rs.io.from_nwb, nwbfile([0.3, 1.5]), window=(5.0, 6.0))
        assert [len(t) for t in apart.times] == [0, 0]

    def test_what_is_wrong_outside_is_no_matter(self):
        with pytest.warns(rs.io.DataWarning, match="not finite"):
            found = rs.io.from_nwb(nwbfile([0.3, NAN, 5.0]), window=(0.0, 1.0))
        assert found.times[1].tolist() == [0.3]

    def test_units_that_were_observed_at_different_times(self):
        file = pynwb.NWBFile("a session", "id", START)
        for times, interval in (([0.1, 0.9], [0.0, 1.0]), ([0.6, 1.5], [0.5, 2.0])):
            file.add_unit(spike_times=times, obs_intervals=[interval])
        with pytest.warns(rs.io.DataWarning, match=r"of which \[0.5, 1.0\] is common"):
            found = rs.io.from_nwb(file)
        assert (found.t0, found.t1) == (0.5, 1.0)
        assert [t.tolist() for t in found.times] == [[0.9], [0.6]]


def test_restrict():
    trials = {"start_time": [0.0, 0.5, 1.0], "stop_time": [0.5, 1.0, 2.0]}
    marks = {"time": np.array([0.2, 0.5, 1.0]), "label": ["a", "b", "c"]}
    made = rs.io.Session([GOOD, [1.0, 2.0]], t0=0.0, t1=2.0, trials=trials)
    made = made.with_tables(events={"lick": marks}, epochs={"odour": trials})
    part = made.restrict(0.5, 1.0)
    assert [t.tolist() for t in part.times] == [[0.5], []] and (part.t0, part.t1) == (0.5, 1.0)
    assert part.trials["start_time"].tolist() == [0.5]
    assert part.events["lick"]["label"].tolist() == ["b"]
    assert part.epochs["odour"]["stop_time"].tolist() == [1.0]
    counts = {finding.what.split()[0]: finding.count for finding in part.report}
    assert counts == {"spikes": 5, "trials": 2, "events": 2, "epochs": 2}
    # Parts that touch hold each spike once; the end of the recording is in the last.
    parts = [made.restrict(a, b) for a, b in itertools.pairwise([0.0, 0.5, 1.0, 1.9, 2.0])]
    for n in range(2):
        together = np.concatenate([part.times[n] for part in parts])
        np.testing.assert_array_equal(together, made.times[n])
    assert not made.restrict(0.0, 2.0).report
    for wrong in ((-0.1, 1.0), (1.0, 2.1)):
        with pytest.raises(ValueError, match="reaches beyond the recording"):
            made.restrict(*wrong)
    with pytest.raises(ValueError, match="`t1` must be larger"):
        made.restrict(1.0, 1.0)
