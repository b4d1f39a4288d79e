"""Recorded spike trains: from files and objects of other libraries, and to them."""

from ._io.grasshopper import Recording as Recording
from ._io.grasshopper import read_grasshopper as read_grasshopper
from ._io.neo import from_neo as from_neo
from ._io.neo_write import to_neo as to_neo
from ._io.nwb import from_nwb as from_nwb
from ._io.nwb import read_nwb as read_nwb
from ._io.nwb_write import to_nwb as to_nwb
from ._io.nwb_write import write_nwb as write_nwb
from ._io.pynapple import from_pynapple as from_pynapple
from ._io.pynapple import to_pynapple as to_pynapple
from ._io.report import DataWarning as DataWarning
from ._io.report import Finding as Finding
from ._io.report import Report as Report
from ._io.session import Session as Session
from ._io.splits import split_time as split_time
from ._io.splits import split_trials as split_trials
