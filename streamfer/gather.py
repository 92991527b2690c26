"""The metrics of all workers, put together from the files in which each keeps its own.

The files are prometheus_client's. Its own collector parses the names of all series (they are JSON) anew for
each scrape, which is most of what it takes; here that is done once.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from prometheus_client.metrics_core import Metric
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample


class _Series(NamedTuple):
    """What is known of a series by its key in the files."""

    metric: str
    documentation: str
    type: str
    sample: str
    labels: dict[str, str]
    child: tuple[str, ...]
    """Of a bucket: what it shares with the other buckets of its histogram."""


class WorkerCollector(Collector):
    """Reads the files in `directory`. Counters and histograms of all workers are added up; of gauges the
    largest value counts."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._known: dict[str, _Series] = {}

    def collect(self) -> Iterable[Metric]:
        """All metrics. OSError or struct.error if a file cannot be read; one that is being made is empty."""
        found: dict[str, Metric] = {}
        below: dict[tuple[str, ...], float] = {}
        for key, value in self._totals().items():
            one = self._known[key]
            metric = found.get(one.metric)
            if metric is None:
                metric = found[one.metric] = Metric(one.metric, one.documentation, one.type)
            if not one.child:
                metric.samples.append(Sample(one.sample, one.labels, value))
                continue
            # The files have the observations of each bucket alone, the smallest first.
            value = below[one.child] = below.get(one.child, 0.0) + value
            metric.samples.append(Sample(one.sample, one.labels, value))
            if one.labels["le"] == "+Inf":
                labels = {name: text for name, text in one.labels.items() if name != "le"}
                metric.samples.append(Sample(f"{one.metric}_count", labels, value))
        return found.values()

    def _totals(self) -> dict[str, float]:
        totals: dict[str, float] = {}
        for path in self._directory.glob("*.db"):
            kind, _, mode = path.stem.rpartition("_")[0].partition("_")
            try:
                values = list(MmapedDict.read_all_values_from_file(str(path)))  # type: ignore[no-untyped-call]
            except FileNotFoundError:  # gauges of a worker that has just been found dead
                continue
            for key, value, _, _ in values:
                if key not in totals:
                    totals[key] = value
                    if key not in self._known:
                        self._known[key] = _parsed(key, kind)
                elif mode == "livemax":
                    totals[key] = max(totals[key], value)
                else:
                    totals[key] += value
        return totals


def _parsed(key: str, kind: str) -> _Series:
    metric, sample, labels, documentation = json.loads(key)
    child = (metric, *(text for name, text in labels.items() if name != "le")) if "le" in labels else ()
    return _Series(metric, documentation, kind, sample, labels, child)
