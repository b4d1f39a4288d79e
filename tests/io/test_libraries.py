"""Files and objects that other libraries wrote, and what they make of ours."""

import random
import warnings
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

import roughsnn as rs

with warnings.catch_warnings(action="ignore"):
    import neo as neo_
    import neo.io as neo_io
    import pynapple as nap
    import pynwb as pynwb_
    import quantities as pq

# Without the annotations of their decorators.
neo: Any = neo_
pynwb: Any = pynwb_

pytestmark = pytest.mark.filterwarnings("ignore")
A, B = np.array([0.1, 0.5, 1.2, 1.9]), np.array([0.3, 1.5])
START = datetime(2026, 1, 1, tzinfo=UTC)
SESSION = rs.io.Session(
    [A, B],
    t0=0.0,
    t1=2.0,
    names=["7", "3"],
    trials={"start_time": [0.0, 1.0], "stop_time": [0.9, 2.0], "choice": ["left", "right"]},
)
NAMED = rs.io.Session([A, B], t0=0.0, t1=2.0, names=["a", "b"], trials=SESSION.trials)


def same(a: rs.io.Session, b: rs.io.Session, names: bool = True):
    assert (a.t0, a.t1, a.unit) == (b.t0, b.t1, b.unit)
    assert not names or a.names == b.names
    for x, y in zip(a.times, b.times, strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-12)
    assert set(a.trials) == set(b.trials)
    for name in a.trials:
        if a.trials[name].dtype.kind == "f":
            np.testing.assert_allclose(a.trials[name], b.trials[name], rtol=1e-12)
        else:
            assert a.trials[name].tolist() == b.trials[name].tolist()


def nwbfile(times=(A, B), intervals=None, trials=True, **unit):
    file = pynwb.NWBFile("a session", "id", START)
    file.add_trial_column("choice", "what it chose")
    for n, t in enumerate(times):
        more = {} if intervals is None else {"obs_intervals": intervals[n]}
        file.add_unit(spike_times=t, **more, **unit)
    if trials:
        file.add_trial(start_time=0.0, stop_time=0.9, choice="left")
        file.add_trial(start_time=1.0, stop_time=2.0, choice="right")
    return file


def saved(file, path):
    with pynwb.NWBHDF5IO(str(path), "w") as stream:
        stream.write(file)
    return path


class TestNWB:
    def test_a_file_that_pynwb_wrote(self, tmp_path):
        path = saved(nwbfile(intervals=[[[0.0, 2.0]]] * 2), tmp_path / "a.nwb")
        for found in (rs.io.read_nwb(path), rs.io.from_nwb(nwbfile(intervals=[[[0.0, 2.0]]] * 2))):
            same(found, SESSION, names=False)
            assert found.names == ("0", "1")
        batch = rs.io.read_nwb(path).aligned("start_time", (0.0, 0.9))
        np.testing.assert_allclose(batch.to_lists()[1][1], [0.5])

    @pytest.mark.parametrize("session", [SESSION, NAMED], ids=["numbers", "names"])
    def test_there_and_back(self, tmp_path, session):
        rs.io.write_nwb(session.in_units("ms"), tmp_path / "a.nwb", start=START)
        same(rs.io.read_nwb(tmp_path / "a.nwb"), session)
        # It is a file that pynwb finds valid.
        assert not pynwb.validate(path=str(tmp_path / "a.nwb"))

    def test_the_window(self):
        file = nwbfile()
        assert (rs.io.from_nwb(file).t0, rs.io.from_nwb(file).t1) == (0.0, 2.0)
        assert rs.io.from_nwb(nwbfile(trials=False)).t1 == 1.9
        assert rs.io.from_nwb(file, window=(-1.0, 5.0)).t0 == -1.0
        with pytest.raises(ValueError, match="intervals that have gaps: give the `window`"):
            rs.io.from_nwb(nwbfile(intervals=[[[0.0, 1.0], [1.1, 2.0]]] * 2))
        for intervals, message in (
            ([[[0.0, 2.0]], [[0.0, 3.0]]], "intervals that differ: give the `window`"),
            ([[[0.0, 1.8]]] * 2, "the spike at 1.9 lies outside"),
        ):
            with pytest.raises(ValueError, match=message):
                rs.io.from_nwb(nwbfile(intervals=intervals), invalid="raise")

    def test_bad_content(self, tmp_path):
        with pytest.raises(ValueError, match="no table of units"):
            rs.io.from_nwb(pynwb.NWBFile("a session", "id", START))
        for times, message in (
            ((A, np.array([0.2, np.nan])), "Unit 1: a spike time is nan"),
            ((A, np.array([0.2, 0.2])), "there twice"),
        ):
            path = saved(nwbfile(times), tmp_path / "a.nwb")
            with pytest.raises(ValueError, match=message):
                rs.io.read_nwb(path, invalid="raise")
        with pytest.raises(FileNotFoundError, match="no file"):
            rs.io.read_nwb(tmp_path / "b.nwb")
        (tmp_path / "c.nwb").write_text("no HDF5")
        with pytest.raises(ValueError, match=r"c\.nwb is no NWB file, or it is damaged"):
            rs.io.read_nwb(tmp_path / "c.nwb")

    def test_truncated_files(self, tmp_path):
        """At 500 random lengths: always one clear error."""
        whole = saved(nwbfile(intervals=[[[0.0, 2.0]]] * 2), tmp_path / "a.nwb").read_bytes()
        rng, path = random.Random(0), tmp_path / "cut.nwb"
        for _ in range(500):
            path.write_bytes(whole[: rng.randrange(len(whole))])
            with pytest.raises(ValueError, match=r"cut\.nwb is no NWB file, or it is damaged"):
                rs.io.read_nwb(path)


class TestNeo:
    def segment(self, names=True, **options):
        segment = neo.Segment()
        for name, t in (("7", A), ("3", B)):
            segment.spiketrains.append(
                neo.SpikeTrain(
                    t * 1e3 * pq.ms,
                    t_start=0 * pq.s,
                    t_stop=2 * pq.s,
                    name=name if names else None,
                    **options,
                )
            )
        segment.epochs.append(
            neo.Epoch(
                [0.0, 1000.0] * pq.ms,
                durations=[900.0, 1000.0] * pq.ms,
                name="trials",
                labels=["x", "y"],
                array_annotations={"choice": ["left", "right"]},
            )
        )
        return segment

    def test_segments_blocks_and_lists(self):
        segment = self.segment()
        block = neo.Block()
        block.segments.append(segment)
        labelled = SESSION.with_tables(trials=SESSION.trials | {"label": ["x", "y"]})
        for source in (segment, block):
            same(rs.io.from_neo(source), labelled)
        alone = rs.io.from_neo(list(self.segment(names=False).spiketrains))
        assert alone.names == ("0", "1") and alone.num_trials == 0
        assert len(rs.io.from_neo(segment.spiketrains[0]).times) == 1

    @pytest.mark.parametrize("session", [SESSION, NAMED], ids=["numbers", "names"])
    def test_there_and_back(self, session):
        same(rs.io.from_neo(rs.io.to_neo(session.in_units("us"))), session)

    def test_a_file_that_neo_wrote(self, tmp_path):
        block = neo.Block()
        block.segments.append(self.segment())
        writer = neo_io.PickleIO(str(tmp_path / "block.pkl"))
        writer.write_block(block)
        found = rs.io.from_neo(neo_io.PickleIO(str(tmp_path / "block.pkl")).read_block())
        same(found, SESSION.with_tables(trials=SESSION.trials | {"label": ["x", "y"]}))

    def test_segments_are_trials(self):
        block = neo.Block()
        for n, (a, b) in enumerate(((A[:2], B[:1]), (A[2:], B[1:]))):
            segment = neo.Segment()
            for t in (a, b):
                segment.spiketrains.append(
                    neo.SpikeTrain(t, units="s", t_start=float(n), t_stop=n + 1.0)
                )
            block.segments.append(segment)
        found = rs.io.from_neo(block)
        np.testing.assert_allclose(found.times[0], A)
        np.testing.assert_allclose(found.trials["start_time"], [0.0, 1.0])
        assert found.aligned("start_time", (0.0, 1.0)).times.shape == (2, 3)
        block.segments.append(self.segment(names=False))
        with pytest.raises(ValueError, match="overlap in time"):
            rs.io.from_neo(block)

    def test_bad_input(self):
        with pytest.raises(TypeError, match="got a int"):
            rs.io.from_neo(3)
        with pytest.raises(ValueError, match="no spike trains"):
            rs.io.from_neo(neo.Segment())
        with pytest.raises(ValueError, match="no segments"):
            rs.io.from_neo(neo.Block())
        other = neo.SpikeTrain([0.1], units="s", t_stop=3.0)
        with pytest.raises(ValueError, match="different windows"):
            rs.io.from_neo([self.segment().spiketrains[0], other])


class TestPynapple:
    def group(self):
        support = nap.IntervalSet(0.0, 2.0)
        return nap.TsGroup({7: nap.Ts(A), 3: nap.Ts(B)}, time_support=support)

    def test_groups_and_trials(self):
        trials = nap.IntervalSet([0.0, 1.0], [0.9, 2.0], metadata={"choice": ["left", "right"]})
        found = rs.io.from_pynapple(self.group(), trials)
        # It sorts by key.
        assert found.names == ("3", "7")
        same(found.select(["7", "3"]), SESSION)

    @pytest.mark.parametrize("session", [SESSION, NAMED], ids=["numbers", "names"])
    def test_there_and_back(self, session):
        group, trials = rs.io.to_pynapple(session.in_units("ms"))
        found = rs.io.from_pynapple(group, trials)
        same(found.select(session.names), session)
        bare = rs.io.Session(SESSION.times, t0=0.0, t1=2.0)
        assert rs.io.to_pynapple(bare)[1] is None

    def test_bad_input(self):
        with pytest.raises(TypeError, match="got a list"):
            rs.io.from_pynapple([A])
        with pytest.raises(TypeError, match="IntervalSet, got a list"):
            rs.io.from_pynapple(self.group(), [0.0])
        gaps = self.group().restrict(nap.IntervalSet([0.0, 1.0], [0.6, 2.0]))
        with pytest.raises(ValueError, match="has 2 intervals"):
            rs.io.from_pynapple(gaps)
        overlap = rs.io.Session(
            [A], t0=0.0, t1=2.0, trials={"start_time": [0.0, 0.5], "stop_time": [1.0, 1.5]}
        )
        with pytest.raises(ValueError, match="overlap"):
            rs.io.to_pynapple(overlap)
