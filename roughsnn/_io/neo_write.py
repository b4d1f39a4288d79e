"""Neo objects of sessions."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .neo import neo_module
from .report import Finding, Report
from .session import Session, as_session
from .tables import Table, follows_spikes, holds_times, is_ragged, without


def to_neo(session: Session) -> Any:
    """A `neo.Segment` with the spike trains of a session, its trials, events and epochs.

    Columns of the units become annotations of the trains, and those with a value for each spike
    array annotations. The trials become an epoch "trials" of times, durations and labels (their
    column `label`, or numbers); other columns of trials, events and epochs become array
    annotations, those that hold times as quantities.

    Neo has no table of electrodes, and its array annotations have one value for each row: one
    [`roughsnn.io.DataWarning`][] names what is left out.
    """
    neo = neo_module()
    session = as_session(session).in_units("s")
    segment, losses = neo.Segment(), []
    counts = [len(times) for times in session.times]
    units = without(session.units, "electrodes")
    spikewise = {name: c for name, c in units.items() if follows_spikes(name, c, counts)}
    for n, (name, times) in enumerate(zip(session.names, session.times, strict=True)):
        train = neo.SpikeTrain(
            times,
            units="s",
            t_start=session.t0,
            t_stop=session.t1,
            name=name,
            array_annotations={key: column[n] for key, column in spikewise.items()},
        )
        segment.spiketrains.append(train)
    for name, column in without(units, *spikewise).items():
        try:
            for train, value in zip(segment.spiketrains, column, strict=True):
                if value is not None:
                    train.annotate(**{name: value})
        except ValueError:
            losses.append(Finding.column("units", name, "that are no annotations of Neo"))
    if session.electrodes or "electrodes" in session.units:
        losses.append(Finding("electrodes", "table", ("electrodes",), 1, "not kept"))
    if session.num_trials:
        labels = np.arange(session.num_trials).astype(str)
        trials = {"label": labels, **session.trials}
        segment.epochs.append(_marks(neo.Epoch, "trials", trials, losses, session.time_columns))
    for name, table in session.epochs.items():
        segment.epochs.append(_marks(neo.Epoch, name, table, losses))
    for name, table in session.events.items():
        segment.events.append(_marks(neo.Event, name, table, losses))
    Report(tuple(losses)).warn("Neo cannot hold all of the session")
    return segment


def _marks(
    kind: Callable[..., Any],
    name: str,
    table: Table,
    losses: list[Finding],
    time_columns: Sequence[str] = (),
) -> Any:
    """Events or epochs with the columns that array annotations can hold."""
    # What neo itself needs.
    import quantities as pq

    if "time" in table:
        when, main = {"times": table["time"]}, ("time",)
    else:
        start, stop = table["start_time"], table["stop_time"]
        when, main = {"times": start, "durations": stop - start}, ("start_time", "stop_time")
    annotations = {}
    for key, column in without(table, "label", *main).items():
        if column.ndim > 1 or is_ragged(column) or key in ("labels", "durations"):
            losses.append(Finding.column(name, key, "that are no array annotations of Neo"))
        elif holds_times(key, column, time_columns):
            annotations[key] = pq.Quantity(column, "s")
        else:
            annotations[key] = column
    labels = table["label"].astype(str) if "label" in table else None
    return kind(**when, units="s", name=name, labels=labels, array_annotations=annotations)
