"""What the end of a run says of its classifiers: how steady each was, and how often two of them agreed."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from prometheus_client import Counter
from prometheus_client.metrics_core import Metric

from streamfer import metrics
from streamfer.gather import WorkerCollector

UNREADABLE = (OSError, RuntimeError, struct.error, ValueError)
"""What a worker's file of counters can give if it was killed while it made it."""

_Totals = Mapping[tuple[str, ...], float]


@dataclass(frozen=True)
class Followed:
    """One classifier on one stream. `seconds` is the time for which faces were followed and classified, all
    faces added up, `changes` how often a face's label changed in it.

    `raw_changes` are those before smoothing, None where nothing was smoothed. `warming` of the `faces` that
    got a label got it while their window was not yet full; None of a classifier without windows.
    """

    stream: str
    classifier: str
    seconds: float
    changes: int
    faces: int
    raw_changes: int | None = None
    warming: int | None = None

    @property
    def flicker(self) -> float | None:
        """Label changes per second of a face; None if none was followed."""
        return self.changes / self.seconds if self.seconds else None

    @property
    def raw_flicker(self) -> float | None:
        """The same before smoothing; None also where nothing was smoothed."""
        return self.raw_changes / self.seconds if self.seconds and self.raw_changes is not None else None

    @property
    def warming_share(self) -> float | None:
        """Share 0..1 of its faces whose window was not yet full; None if it has no windows or no faces."""
        return self.warming / self.faces if self.faces and self.warming is not None else None


@dataclass(frozen=True)
class Compared:
    """Two classifiers of one stream: of the `faces` that both labelled, `agreed` got the same label."""

    stream: str
    classifier: str
    other: str
    faces: int
    agreed: int

    @property
    def share(self) -> float | None:
        """Share 0..1 of agreement; None if there was nothing to agree on."""
        return self.agreed / self.faces if self.faces else None


@dataclass(frozen=True)
class Summary:
    """Of one run, in the order of its configuration; what earlier runs counted is not in it."""

    followed: tuple[Followed, ...] = ()
    compared: tuple[Compared, ...] = ()

    @property
    def worth_telling(self) -> bool:
        """Whether there is something to compare: two classifiers, or one with windows or smoothing."""
        temporal = any(one.raw_changes is not None or one.warming is not None for one in self.followed)
        return bool(self.compared) or temporal


def summarise(directory: Path, streams: Mapping[str, tuple[str, ...]]) -> Summary:
    """What the workers counted in the files of `directory`; `streams` has the classifiers of each stream.

    Raises one of `UNREADABLE`.
    """
    found = {metric.name: metric for metric in WorkerCollector(directory).collect()}
    one, two = ("stream", "classifier"), ("stream", "classifier", "other")
    changes, seconds = (
        _totals(found, counter, one) for counter in (metrics.label_changes, metrics.track_seconds)
    )
    raw, warming = (
        _totals(found, counter, one) for counter in (metrics.raw_label_changes, metrics.warming_faces)
    )
    both, same = (_totals(found, counter, two) for counter in (metrics.compared_faces, metrics.agreements))
    faces = _totals(found, metrics.predictions, one)
    followed = [
        Followed(
            *key,
            seconds.get(key, 0.0),
            int(changes.get(key, 0)),
            int(faces.get(key, 0)),
            int(raw[key]) if key in raw else None,
            int(warming[key]) if key in warming else None,
        )
        for stream, classifiers in streams.items()
        for key in ((stream, classifier) for classifier in classifiers)
    ]
    compared = [
        Compared(*key, int(both[key]), int(same.get(key, 0)))
        for stream, classifiers in streams.items()
        for key in ((stream, first, second) for first in classifiers for second in classifiers)
        if key in both
    ]
    return Summary(tuple(followed), tuple(compared))


def _totals(found: Mapping[str, Metric], counter: Counter, names: tuple[str, ...]) -> _Totals:
    """What a counter has come to, by the values of these of its labels."""
    (described,) = counter.describe()
    metric = found.get(described.name)
    totals: dict[tuple[str, ...], float] = {}
    for sample in metric.samples if metric is not None else ():
        key = tuple(sample.labels[name] for name in names)
        totals[key] = totals.get(key, 0.0) + sample.value
    return totals
