"""What the supervisor knows, as metrics; put together anew for each scrape."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import get_args

from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from streamfer import __version__, metrics
from streamfer.ledger import Row
from streamfer.plan import Plan
from streamfer.stages.spec import ClassifySpec
from streamfer.status import Status
from streamfer.types import StreamState

LIVE_STATES = [state for state in get_args(StreamState) if state not in ("waiting", "reading", "done")]


@dataclass(frozen=True)
class Snapshot:
    """The state of a run at one time."""

    status: Status
    rows: list[Row]


class ServiceCollector(Collector):
    """Reads the newest snapshot; `shm` is the directory in which frames lie."""

    def __init__(self, plan: Plan, shm: str, snapshot: Callable[[], Snapshot]) -> None:
        self._sources = {stream.name: stream.capture.source.name for stream in plan.streams}
        specs = [spec for _, spec in plan.shared.values()]
        self._classifiers = {
            one.classifier: one.component.name for one in specs if isinstance(one, ClassifySpec)
        }
        self._shm = shm
        self._snapshot = snapshot

    def collect(self) -> Iterator[Metric]:
        """All of `streamfer.metrics.FAMILIES`."""
        now = self._snapshot()
        yield from _streams(now.status)
        yield from _stages(now.status)
        yield from _ledger(now.rows)
        yield _family(metrics.stream_info, (((*item,), 1.0) for item in self._sources.items()))
        yield _family(metrics.classifier_info, (((*item,), 1.0) for item in self._classifiers.items()))
        yield _family(metrics.build_info, [((__version__,), 1.0)])
        yield _family(metrics.started, [((), now.status.started)])
        space = os.statvfs(self._shm)
        yield _family(metrics.shared_memory_free, [((), float(space.f_bavail * space.f_frsize))])
        yield _family(metrics.shared_memory_size, [((), float(space.f_blocks * space.f_frsize))])


def _family(family: metrics.Family, samples: Iterable[tuple[tuple[str, ...], float]]) -> Metric:
    result = family.empty()
    for labels, value in samples:
        result.add_metric(labels, value)
    return result


def _streams(status: Status) -> Iterator[Metric]:
    yield _family(
        metrics.stream_state,
        (
            ((stream.name, state), float(stream.state == state))
            for stream in status.streams
            if stream.live and stream.state != "done"
            for state in LIVE_STATES
        ),
    )


def _stages(status: Status) -> Iterator[Metric]:
    """A process that has done its work has no sign of life to give, and is not missed."""
    stages = [stage for stage in status.stages if stage.state != "stopped"]
    yield _family(
        metrics.progress,
        (((one.stage, one.name), one.last_progress) for one in stages if one.last_progress is not None),
    )
    yield _family(
        metrics.circuit_open, (((one.stage, one.name), float(one.state == "broken")) for one in stages)
    )
    yield _family(metrics.restarts, (((one.stage, one.name), float(one.restarts)) for one in status.stages))


def _ledger(rows: list[Row]) -> Iterator[Metric]:
    yield _family(
        metrics.ledger,
        (
            ((row.stream, row.classifier, row.sink, state), float(count))
            for row in rows
            for state, count in (
                ("captured", row.captured),
                ("delivered", row.delivered),
                ("dropped", sum(row.dropped.values())),
                ("in_flight", row.in_flight),
            )
        ),
    )
    yield _family(
        metrics.ledger_dropped,
        (
            ((row.stream, row.classifier, row.sink, reason), float(count))
            for row in rows
            for reason, count in row.dropped.items()
        ),
    )
