"""The pipeline as it is: CPU of all its processes and wall time per frame once it flows, and its memory.

`python -m streamfer.benchmark.pipeline CLIP WARM_UP FULL_EVERY CLASSIFIER` prints JSON.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from streamfer import wire
from streamfer.benchmark import children, cpu_seconds
from streamfer.config import load
from streamfer.ledger import StreamBooks
from streamfer.logs import LogLine
from streamfer.service import run
from streamfer.status import Status


def memory_mb(pids: list[int]) -> float:
    """Proportional set size: shared pages counted once."""
    kilobytes = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                kilobytes += int(line.split()[1])
    return kilobytes / 1024


@dataclass
class Meter:
    """Observes a run: samples when it has warmed up and when the last frame is acknowledged."""

    warm_up: int
    samples: list[tuple[int, float, float]] = field(default_factory=list)  # frames, CPU, wall
    memory: float = 0.0
    by_process: dict[str, float] = field(default_factory=dict)

    def status(self, status: Status) -> None: ...

    def opened(self, stream: str, opened: wire.Opened) -> None: ...

    def log(self, line: LogLine) -> None:
        print(line.text, file=sys.stderr)

    def progress(self, streams: list[StreamBooks]) -> None:
        (books,) = streams
        done = books.finished_frames()
        if (not self.samples and done >= self.warm_up) or (len(self.samples) == 1 and books.done()):
            pids = [os.getpid(), *children(os.getpid())]
            spent = {self._name(pid): cpu_seconds(pid) for pid in pids}
            self.by_process = {name: cpu - self.by_process.get(name, 0) for name, cpu in spent.items()}
            self.samples.append((done, sum(spent.values()), time.perf_counter()))
            self.memory = max(self.memory, memory_mb(pids))

    @staticmethod
    def _name(pid: int) -> str:
        return Path(f"/proc/{pid}/cmdline").read_text().strip("\0 ").removeprefix("streamfer: ")


def main(clip: str, warm_up: int, full_every: int, classifier: str) -> dict[str, object]:
    """CPU and wall seconds per frame behind the warm-up, memory in MB (PSS)."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "bench.yaml"
        sections = {
            "version": 1,
            "streams": {"bench": {"path": str(Path(clip).absolute())}},
            "detector": {"full_every": full_every},
            "classifiers": [classifier],
            "sinks": [{"name": "jsonl", "path": "results.jsonl"}],
        }
        path.write_text(json.dumps(sections))  # JSON is YAML
        meter = Meter(warm_up)
        outcome = run(load(path), meter)
    (first, cpu, wall), (last, cpu_end, wall_end) = meter.samples
    frames = last - first
    return {
        "status": outcome.status,
        "frames": frames,
        "cpu": (cpu_end - cpu) / frames,
        "wall": (wall_end - wall) / frames,
        "memory_mb": meter.memory,
        "cpu_ms_by_process": {name: cpu / frames * 1000 for name, cpu in meter.by_process.items()},
    }


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])))
