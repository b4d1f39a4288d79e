"""Recorded spike trains."""

from ._io.grasshopper import Recording as Recording
from ._io.grasshopper import read_grasshopper as read_grasshopper
