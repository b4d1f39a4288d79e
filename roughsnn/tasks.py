"""Learning tasks: data with labels, and numbers as spikes. Nothing is ever fetched."""

from ._tasks.digits import digits as digits
from ._tasks.digits import mnist1d as mnist1d
from ._tasks.encode import latency as latency
from ._tasks.encode import row_by_row as row_by_row
from ._tasks.episodes import Episodes as Episodes
from ._tasks.episodes import delayed_xor as delayed_xor
from ._tasks.episodes import evidence_accumulation as evidence_accumulation
from ._tasks.episodes import store_recall as store_recall
from ._tasks.files import from_events as from_events
from ._tasks.files import read_heidelberg as read_heidelberg
from ._tasks.files import read_idx as read_idx
from ._tasks.labelled import Labelled as Labelled
from ._tasks.labelled import Splits as Splits
from ._tasks.yin_yang import yin_yang as yin_yang
