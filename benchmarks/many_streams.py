"""The metrics of a service with many streams, without the streams.

    python -m benchmarks.many_streams CONFIG DIRECTORY

Writes the metrics files of all workers of a configuration into a directory: a process for each, with its
number, and every series that it may ever have. `registry` adds what the supervisor of such a service knows.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import yaml

from streamfer import __version__
from streamfer.config import load
from streamfer.plan import Plan, make_plan
from streamfer.shm import DEFAULT_DIRECTORY
from streamfer.stages.spec import CaptureSpec, ClassifySpec, DetectSpec, SinkSpec, StageSpec
from streamfer.types import LABELS, FoundStatus, LostReason

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from streamfer.exposition import Snapshot

ROOT = Path(__file__).parents[1]
DROPS = {
    "capture": ("overload", "fps_cap", "corrupt"),
    "detect": ("overload", "max_age", "restart"),
    "classify": ("overload", "max_age", "restart"),
    "sink": ("overload", "max_age", "restart"),
}
"""The reasons for which each stage drops frames of live streams."""
EVERYBODY = ("worker_memory", "worker_cpu", "worker_fds")
WRITTEN = {
    "supervisor": ("lost", "bad_messages"),
    "capture": (
        *("frames", "dropped", "stage_seconds", "frame_captured", "stream_up", "reconnects"),
        "bad_messages",
    ),
    "detect": ("frames", "dropped", "stage_seconds", "faces", "discontinuities", "bad_messages"),
    "classify": (
        *("frames", "dropped", "stage_seconds", "predictions", "confidence", "batch_faces"),
        *("label_changes", "track_seconds", "raw_label_changes", "warming_faces", "bad_messages"),
    ),
    "sink": (
        *("frames", "dropped", "stage_seconds", "end_to_end_seconds", "disk_free", "disk_size"),
        "bad_messages",
    ),
}
"""The metrics that each kind of process writes, by their names in `streamfer.metrics`."""


def configuration(streams: int, folder: Path, **sections: Any) -> Path:
    """A configuration of so many live streams, two classifiers and two sinks at FOLDER/config.yaml."""
    clip = str(ROOT / "streamfer" / "data" / "sample.mp4")
    document = {
        "version": 1,
        "plugins": [str(ROOT / "examples" / "prior.py")],
        "streams": {f"camera-{n}": {"path": clip, "realtime": True, "loop": True} for n in range(streams)},
        "classifiers": ["cnn", "prior"],
        "sinks": [
            {"name": "jsonl", "path": str(folder / "results.jsonl")},
            {"name": "sqlite", "path": str(folder / "results.db")},
        ],
        **sections,
    }
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


def plan_of(config: Path) -> Plan:
    """The processes of a configuration."""
    return make_plan(load(config), lambda name: f"ipc://{name}", config.parent)


def processes(plan: Plan) -> dict[str, StageSpec]:
    """All workers by name."""
    captures = {f"capture {stream.name}": stream.capture for stream in plan.streams}
    return {name: spec for name, (_, spec) in plan.shared.items()} | captures


def write(config: Path, directory: Path) -> None:
    """Write what the processes of a service would have written by now into an empty directory."""
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(directory)}
    command = [sys.executable, "-m", "benchmarks.many_streams", str(config), str(directory)]
    subprocess.run(command, env=environment, cwd=ROOT, check=True)


def registry(plan: Plan, directory: Path) -> CollectorRegistry:
    """What /metrics shows of it."""
    from prometheus_client import CollectorRegistry

    from streamfer.exposition import ServiceCollector
    from streamfer.gather import WorkerCollector

    found, now = CollectorRegistry(), snapshot(plan)
    found.register(WorkerCollector(directory))
    found.register(ServiceCollector(plan, DEFAULT_DIRECTORY, lambda: now))
    return found


def snapshot(plan: Plan) -> Snapshot:
    """A supervisor's view of a service that has met every trouble."""
    from streamfer.exposition import Snapshot
    from streamfer.ledger import Row
    from streamfer.stages.spec import stage_of
    from streamfer.status import StageStatus, Status, StreamStatus

    now = time.time()
    reasons = sorted({reason for reasons in DROPS.values() for reason in reasons})
    return Snapshot(
        Status(
            version=__version__,
            started=now,
            ready=True,
            streams=[StreamStatus(name=one.name, live=True, state="live", since=now) for one in plan.streams],
            stages=[
                StageStatus(name=name, stage=stage_of(spec), state="up", restarts=2, last_progress=now)
                for name, spec in processes(plan).items()
            ],
        ),
        [
            Row(one.name, classifier, sink, 123456, 123400, dict.fromkeys(reasons, 10))
            for one in plan.streams
            for classifier in one.classifiers
            for sink in plan.sinks
        ],
    )


def _labels(name: str, stage: str, spec: StageSpec | None, plan: Plan) -> dict[str, list[str]]:
    """The values of each label that a process may use."""
    mine = [stream.name for stream in plan.streams if name in stream.path]
    labels: dict[str, list[str]] = {"stage": [stage], "worker": [name], "stream": mine}
    labels["reason"] = list(DROPS.get(stage, get_args(LostReason)))
    match spec:
        case None:
            labels["stream"] = [stream.name for stream in plan.streams]
        case CaptureSpec():
            labels |= {"stream": [spec.stream], "component": [spec.source.name]}
        case DetectSpec():
            labels |= {"component": [spec.detector.name], "status": list(get_args(FoundStatus))}
        case ClassifySpec():
            labels |= {"component": [spec.classifier], "classifier": [spec.classifier], "label": list(LABELS)}
        case SinkSpec():
            labels |= {"component": [spec.sink], "sink": [spec.sink]}
    return labels


def _write_one(name: str, spec: StageSpec | None, plan: Plan) -> None:
    """Write all series of one process; None stands for the supervisor."""
    from prometheus_client import Gauge, Histogram

    from streamfer import metrics
    from streamfer.stages.agreement import Agreement
    from streamfer.stages.spec import stage_of

    stage = stage_of(spec) if spec is not None else "supervisor"
    labels = _labels(name, stage, spec, plan)
    for attribute in (*WRITTEN[stage], *EVERYBODY):
        metric = getattr(metrics, attribute)
        for values in product(*(labels[label] for label in metric._labelnames)):
            child = metric.labels(*values)
            if isinstance(metric, Gauge):
                child.set(1234567890.123)
            elif isinstance(metric, Histogram):
                for bound in metric._kwargs["buckets"]:
                    child.observe(0.9 * bound)
            else:
                child.inc(123456)
    if isinstance(spec, SinkSpec) and spec.compares:
        for stream, classifiers in spec.streams.items():
            Agreement(stream, classifiers)


def main() -> int:
    import prometheus_client  # noqa: F401 - once, for all the processes that follow

    plan = plan_of(Path(sys.argv[1]))
    for number, (name, spec) in enumerate([("supervisor", None), *processes(plan).items()]):
        pid = os.fork()
        if pid == 0:
            os.environ["STREAMFER_WORKER"] = str(number)
            _write_one(name, spec, plan)
            os._exit(0)
        if os.waitpid(pid, 0)[1]:
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
