"""What a process takes of the machine, and what the supervisor knows, as metrics."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest
from prometheus_client import REGISTRY

from benchmarks import many_streams
from streamfer import __version__, metrics
from streamfer.exposition import LIVE_STATES, ServiceCollector, Snapshot
from streamfer.ledger import Row
from streamfer.stages.resources import SECONDS, Resources
from streamfer.status import StageStatus, Status, StreamStatus

Found = dict[str, dict[tuple[str, ...], float]]


# ---- what a process takes ----------------------------------------------------------------------------------


def value(name: str, worker: str) -> float:
    found = REGISTRY.get_sample_value(f"streamfer_worker_{name}", {"stage": "detect", "worker": worker})
    assert found is not None
    return found


def test_memory_cpu_and_files_of_this_process() -> None:
    process = psutil.Process()
    resources = Resources("detect", "detect[7]")
    began = time.process_time()
    assert resources.due(0.0)
    assert value("resident_memory_bytes", "detect[7]") == pytest.approx(process.memory_info().rss, rel=0.1)
    assert value("cpu_seconds_total", "detect[7]") == pytest.approx(time.process_time(), abs=1.0)
    fds, used = value("open_fds", "detect[7]"), value("cpu_seconds_total", "detect[7]")
    burnt = time.process_time() + 0.05
    while time.process_time() < burnt:
        pass
    more = os.pipe(), os.pipe()
    assert not resources.due(SECONDS / 2), "it is not looked at all the time"
    assert value("open_fds", "detect[7]") == fds
    assert resources.due(SECONDS)
    assert value("open_fds", "detect[7]") == fds + 4
    assert 0.05 <= value("cpu_seconds_total", "detect[7]") - used <= time.process_time() - began
    for end in (*more[0], *more[1]):
        os.close(end)


def test_a_successor_adds_its_cpu_time_to_its_predecessors() -> None:
    for _ in range(2):  # two lives: each counts its own from 0
        before = REGISTRY.get_sample_value(
            "streamfer_worker_cpu_seconds_total", {"stage": "detect", "worker": "detect[8]"}
        )
        Resources("detect", "detect[8]").due(0.0)
        used = value("cpu_seconds_total", "detect[8]") - (before or 0.0)
        assert used == pytest.approx(time.process_time(), abs=1.0)


# ---- what the supervisor knows -----------------------------------------------------------------------------


class Service:
    """A collector over what a test says."""

    def __init__(self, folder: Path) -> None:
        config = many_streams.configuration(2, folder)
        self.status = Status(version=__version__, started=1234.5, ready=True)
        self.rows: list[Row] = []
        plan = many_streams.plan_of(config)
        self.collector = ServiceCollector(plan, str(folder), lambda: Snapshot(self.status, self.rows))

    def set(self, **changes: Any) -> None:
        self.status = msgspec.structs.replace(self.status, **changes)

    def found(self) -> Found:
        """Values by metric and labels."""
        return {
            metric.name: {tuple(sample.labels.values()): sample.value for sample in metric.samples}
            for metric in self.collector.collect()
        }


@pytest.fixture
def service(tmp_path: Path) -> Service:
    return Service(tmp_path)


def test_it_has_every_family(service: Service) -> None:
    assert sorted(service.found()) == sorted(one.name for one in metrics.FAMILIES)


def test_what_is_always_there(service: Service, tmp_path: Path) -> None:
    found = service.found()
    assert found["streamfer_build_info"] == {(__version__,): 1}
    assert found["process_start_time_seconds"] == {(): 1234.5}
    assert found["streamfer_stream_info"] == {("camera-0", "file"): 1, ("camera-1", "file"): 1}
    assert found["streamfer_classifier_info"] == {("cnn", "cnn"): 1, ("prior", "prior"): 1}
    size, free = (found[f"streamfer_shared_memory_{name}_bytes"][()] for name in ("size", "free"))
    usage = psutil.disk_usage(str(tmp_path))
    assert size == usage.total and 0 < free <= size


@pytest.mark.parametrize("state", LIVE_STATES)
def test_a_live_stream_is_in_one_state(service: Service, state: Any) -> None:
    service.set(streams=[StreamStatus(name="door", live=True, state=state, since=0)])
    found = service.found()["streamfer_stream_state"]
    assert found == {("door", one): float(one == state) for one in LIVE_STATES}


def test_recordings_and_streams_that_are_done_have_no_state(service: Service) -> None:
    service.set(
        streams=[
            StreamStatus(name="a", live=False, state="reading", since=0),
            StreamStatus(name="b", live=False, state="waiting", since=0),
            StreamStatus(name="c", live=True, state="done", since=0),
        ]
    )
    assert service.found()["streamfer_stream_state"] == {}


def test_stages(service: Service) -> None:
    def one(name: str, state: Any, restarts: int, last: float | None) -> StageStatus:
        return StageStatus(name=name, stage="detect", state=state, restarts=restarts, last_progress=last)

    service.set(
        stages=[
            one("up", "up", 0, 10.0),
            one("hung", "up", 1, 3.0),
            one("new", "starting", 0, None),
            one("dead", "restarting", 2, 9.0),
            one("broken", "broken", 6, 8.0),
            one("done", "stopped", 1, 7.0),
        ]
    )
    found = service.found()

    def of(metric: str) -> dict[str, float]:
        return {worker: value for (_, worker), value in found[f"streamfer_{metric}"].items()}

    assert of("stage_progress_timestamp_seconds") == {"up": 10, "hung": 3, "dead": 9, "broken": 8}
    assert of("circuit_open") == {"up": 0, "hung": 0, "new": 0, "dead": 0, "broken": 1}
    assert of("stage_restarts") == {"up": 0, "hung": 1, "new": 0, "dead": 2, "broken": 6, "done": 1}


def test_the_ledger_adds_up(service: Service) -> None:
    service.rows = [
        Row("a", "cnn", "jsonl", 100, 60, {"overload": 20, "restart": 5}),
        Row("a", "cnn", "sqlite", 100, 100, {}),
    ]
    found = service.found()
    states = found["streamfer_ledger_frames"]
    for sink, values in (("jsonl", (100, 60, 25, 15)), ("sqlite", (100, 100, 0, 0))):
        names = ("captured", "delivered", "dropped", "in_flight")
        assert tuple(states["a", "cnn", sink, name] for name in names) == values
    assert found["streamfer_ledger_dropped_frames"] == {
        ("a", "cnn", "jsonl", "overload"): 20,
        ("a", "cnn", "jsonl", "restart"): 5,
    }
