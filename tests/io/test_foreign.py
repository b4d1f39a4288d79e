"""Tables, annotations and events as others write them."""

import warnings
from datetime import UTC, datetime
from typing import Any

import h5py
import numpy as np
import pytest

import roughsnn as rs

from .helpers import plain

with warnings.catch_warnings(action="ignore"):
    import neo as neo_
    import pynwb as pynwb_
    import quantities as pq_

neo: Any = neo_
pynwb: Any = pynwb_
pq: Any = pq_

pytestmark = pytest.mark.filterwarnings("ignore", "error::roughsnn.io.DataWarning")
START = datetime(2026, 1, 1, tzinfo=UTC)


class TestForeignNWB:
    """Columns as others write them."""

    def file(self):
        file = pynwb.NWBFile("a session", "id", START)
        file.add_unit_column("spike_heights", "ragged", index=True)
        file.add_unit_column("twice", "doubly ragged", index=2)
        file.add_unit(spike_times=[0.1, 0.2], spike_heights=[1.0, 2.0], twice=[[1.0], [2.0, 3.0]])
        file.add_unit(spike_times=[0.3], spike_heights=[3.0], twice=[[1.0]])
        file.add_trial_column("stimOn_times", "in seconds")
        file.add_trial(start_time=0.0, stop_time=1.0, stimOn_times=0.5)
        file.add_epoch(start_time=0.0, stop_time=1.0, tags=["a", "b"])
        notes = pynwb.misc.AnnotationSeries("notes", data=["u", "v"], timestamps=[0.1, 0.4])
        file.add_acquisition(notes)
        file.add_events_table(pynwb.event.EventsTable(name="none", description="without rows"))
        return file

    def test_what_is_read(self):
        with pytest.warns(rs.io.DataWarning, match=r"no plain values \(column twice\): 1 not kept"):
            found = rs.io.from_nwb(self.file())
        assert plain(found.units) == {"spike_heights": [[1.0, 2.0], [3.0]]}
        assert found.in_units("ms").trials["stimOn_times"].tolist() == [500.0]
        assert plain(found.events) == {"notes": {"time": [0.1, 0.4], "label": ["u", "v"]}}
        assert plain(found.epochs["epochs"]["tags"]) == [["a", "b"]]

    def test_what_cannot_be_is_left_out(self, tmp_path):
        """Alone: the rest of the file is read."""
        with pynwb.NWBHDF5IO(str(tmp_path / "a.nwb"), "w") as stream:
            stream.write(self.file())
        with h5py.File(tmp_path / "a.nwb", "a") as file:
            series: Any = file["acquisition/notes"]
            attributes = dict(series["timestamps"].attrs)
            del series["timestamps"]
            series["timestamps"] = [0.1, 0.4, 0.5]
            series["timestamps"].attrs.update(attributes)
        with pytest.warns(rs.io.DataWarning, match=r"2 annotations at 3 times \(series notes\)"):
            found = rs.io.read_nwb(tmp_path / "a.nwb")
        assert not found.events and "epochs" in found.epochs

    @pytest.mark.parametrize("interval", [[0.0, np.nan], [1.0, 1.0]])
    def test_observation_intervals_that_are_none(self, interval):
        file = pynwb.NWBFile("a session", "id", START)
        file.add_unit(spike_times=[0.1], obs_intervals=[[0.0, 3.0]])
        file.add_unit(spike_times=[2.0], obs_intervals=[interval])
        with pytest.warns(rs.io.DataWarning, match="observation intervals without a finite"):
            found = rs.io.from_nwb(file)
        assert (found.t1, found.times[1].tolist()) == (3.0, [2.0])
        with pytest.raises(ValueError, match="have 1 observation intervals without"):
            rs.io.from_nwb(file, invalid="raise")

    def test_another_object(self):
        with pytest.raises(TypeError, match=r"`nwbfile` must be a pynwb.NWBFile, got a str"):
            rs.io.from_nwb("a.nwb")
        with pytest.raises(ValueError, match="neither spikes nor trials.*give the `window`"):
            empty = pynwb.NWBFile("a session", "id", START)
            empty.add_unit(spike_times=[])
            rs.io.from_nwb(empty)


class TestForeignNeo:
    def train(self, **annotations):
        return neo.SpikeTrain([0.1, 0.2], units="s", t_stop=1.0, **annotations)

    def test_annotations(self):
        trains = [
            self.train(depth=d * pq.mm, latency=4 * pq.ms, odd=x) for d, x in ((1, 3), (2, None))
        ]
        with pytest.warns(
            rs.io.DataWarning, match=r"a unit \(column depth\): 1 kept as numbers in mm"
        ):
            found = rs.io.from_neo(trains)
        assert found.units["depth"].tolist() == [1.0, 2.0]
        assert found.units["latency"].tolist() == [0.004, 0.004]
        assert found.units["odd"].tolist() == [3, None]
        trains[0].annotate(some=1 * pq.mm)
        with pytest.warns(rs.io.DataWarning, match=r"for some values only \(column some\): 1 not"):
            assert "some" not in rs.io.from_neo(trains).units

    def test_times_with_a_unit(self):
        segment = neo.Segment()
        segment.spiketrains.append(self.train())
        annotations = {"rt": [100.0, 200.0] * pq.ms}
        segment.epochs.append(
            neo.Epoch(
                [0.0, 0.5] * pq.s,
                durations=[0.5, 0.5] * pq.s,
                name="trials",
                array_annotations=annotations,
            )
        )
        found = rs.io.from_neo(segment)
        assert found.time_columns == ("rt",) and found.trials["rt"].tolist() == [0.1, 0.2]
        assert found.in_units("us").trials["rt"].tolist() == [1e5, 2e5]

    def test_segments(self):
        block = neo.Block()
        for n in range(2):
            segment, start = neo.Segment(), float(n)
            train = neo.SpikeTrain(
                [n + 0.1], units="s", t_start=start, t_stop=start + 1, quality="good", run=n
            )
            segment.spiketrains.append(train)
            segment.events.append(neo.Event([n + 0.5] * pq.s, labels=[f"e{n}"]))
            segment.events.append(neo.Event([n + 0.6] * pq.s, labels=[f"f{n}"]))
            block.segments.append(segment)
        with pytest.warns(rs.io.DataWarning, match=r"differ between segments \(column run\)"):
            found = rs.io.from_neo(block)
        assert plain(found.units) == {"quality": ["good"]}
        assert plain(found.events) == {
            "events": {"time": [0.5, 1.5], "label": ["e0", "e1"]},
            "events.1": {"time": [0.6, 1.6], "label": ["f0", "f1"]},
        }
