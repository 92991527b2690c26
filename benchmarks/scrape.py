"""Measure what one answer of /metrics costs: services under load, and a hundred streams made up.

    python -m benchmarks.scrape [--out benchmarks/scrape.md]

Real services play the sample clip as if live, with two classifiers and two sinks, and are asked with what
Prometheus sends. CPU time is that of the supervisor's threads that do nothing else; other work on the machine
still makes it dearer, as it takes caches and shares cores. Takes about three minutes.
"""

from __future__ import annotations

import argparse
import gzip
import os
import platform
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from benchmarks import many_streams
from streamfer.endpoints import Endpoints
from streamfer.gather import WorkerCollector
from streamfer.status import Status

TARGET_MS = 20.0
STREAMS = (1, 4, 8)
MANY = 100
REPEATS = 5
SCRAPES = 20
"""Of each repeat."""
PAUSE = 0.1
SETTLED = 5.0
"""Seconds from the first frame of the last stream until it counts."""
HEADERS = {
    "Accept": "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
    "Accept-Encoding": "gzip",
}
"""What Prometheus 2 sends."""


@dataclass(frozen=True)
class Page:
    """One answer: its series, its bytes on the wire, the names of streams that give frames."""

    series: int
    size: int
    up: frozenset[str]


@dataclass(frozen=True)
class Measured:
    """Milliseconds of each answer, a mean for each repeat."""

    page: Page
    cpu: list[float]
    wall: list[float]


def scrape(url: str) -> Page:
    """Ask once, as Prometheus does."""
    with urllib.request.urlopen(urllib.request.Request(url, headers=HEADERS), timeout=30) as answer:
        packed = answer.read()
    text = gzip.decompress(packed).decode()
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    up = re.findall(r'^streamfer_stream_up\{stream="(.*)"\} 1\.0$', text, re.MULTILINE)
    return Page(len(lines), len(packed), frozenset(up))


def cpu_seconds(pid: int) -> float:
    """CPU time of the threads of a process but its main thread and those of ZeroMQ."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        if int(task.name) != pid and not (task / "comm").read_text().startswith("ZMQ"):
            total += int((task / "schedstat").read_text().split()[0])
    return total / 1e9


def measure(url: str, pid: int) -> Measured:
    """What an answer of the process at this URL costs."""
    page = scrape(url)
    cpu, wall = [], []
    for _ in range(REPEATS):
        before, waited = cpu_seconds(pid), 0.0
        for _ in range(SCRAPES):
            began = time.perf_counter()
            scrape(url)
            waited += time.perf_counter() - began
            time.sleep(PAUSE)
        cpu.append(1000 * (cpu_seconds(pid) - before) / SCRAPES)
        wall.append(1000 * waited / SCRAPES)
    return Measured(page, cpu, wall)


def running(streams: int, folder: Path) -> Measured:
    """A service under load."""
    config = many_streams.configuration(
        streams, folder, metrics={"listen": "127.0.0.1:0"}, detector={"workers": 2 if streams > 1 else 1}
    )
    command = [sys.executable, "-c", "from streamfer.cli import main; main()", "run", str(config)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as service:
        assert service.stderr is not None
        try:
            found = next(
                filter(None, (re.search(r"http://\S+/metrics", line) for line in service.stderr)), None
            )
            if found is None:
                raise SystemExit("the service did not start")
            deadline = time.monotonic() + 120
            while len(scrape(found[0]).up) < streams:
                if time.monotonic() > deadline:
                    raise SystemExit("not all streams came")
                time.sleep(0.5)
            time.sleep(SETTLED)
            return measure(found[0], service.pid)
        finally:
            service.send_signal(signal.SIGINT)
            service.communicate(timeout=60)


def made_up(streams: int, folder: Path) -> tuple[Measured, dict[str, float]]:
    """A service with so many streams as far as its metrics go, and what the time goes into."""
    files = folder / "metrics"
    files.mkdir()
    config = many_streams.configuration(streams, folder, detector={"workers": 4})
    many_streams.write(config, files)
    registry = many_streams.registry(many_streams.plan_of(config), files)
    status = Status(version="", started=0.0, ready=True)
    endpoints = Endpoints("127.0.0.1", [0], registry, lambda: status, lambda: 0.0)
    endpoints.start()
    try:
        return measure(f"{endpoints.url}/metrics", os.getpid()), parts(files, registry)
    finally:
        endpoints.close()


def parts(files: Path, registry: CollectorRegistry) -> dict[str, float]:
    """CPU milliseconds of the parts of an answer, the least of several."""
    ours = WorkerCollector(files)
    theirs = MultiProcessCollector(None, path=str(files))  # type: ignore[no-untyped-call]
    ready = CollectorRegistry()
    ready.register(_Collected(list(registry.collect())))
    text = generate_latest(ready)
    return {
        "the workers' files, read and added up": _least(lambda: list(ours.collect())),
        "the same with prometheus_client's own collector": _least(theirs.collect),
        "everything as text": _least(lambda: generate_latest(ready)),
        "gzip": _least(lambda: gzip.compress(text, compresslevel=1)),
    }


@dataclass(frozen=True, eq=False)
class _Collected(Collector):
    """Metrics that are there already."""

    metrics: list[Metric]

    def collect(self) -> list[Metric]:
        return self.metrics


def _least(do: Callable[[], object]) -> float:
    times = []
    for _ in range(10):
        began = time.thread_time()
        do()
        times.append(time.thread_time() - began)
    return 1000 * min(times)


def report(rows: dict[str, Measured], split: dict[str, float]) -> str:
    """The page."""
    lines = [
        "# One answer of /metrics, measured",
        "",
        f"{_machine()}; sample clip played as if live, two classifiers, two sinks. {REPEATS} repeats of "
        f"{SCRAPES} answers; a figure is the median of their means, in brackets the least and the largest. "
        "Written by `make bench-scrape`.",
        "",
        f"The target is {TARGET_MS:.0f} ms of CPU time for a service of eight live streams under load.",
        f"Of the {MANY} streams there are only the metrics, in as many files as their processes would have.",
        "",
        "| live streams | series | bytes sent | CPU, ms | until it is there, ms |",
        "|---|---:|---:|---:|---:|",
    ]
    for name, one in rows.items():
        lines.append(
            f"| {name} | {one.page.series} | {one.page.size} | {_median(one.cpu)} | {_median(one.wall)} |"
        )
    lines += [
        "",
        f"What the CPU time goes into, {MANY} streams (the least of ten):",
        "",
        "| part | ms |",
        "|---|---:|",
    ]
    lines += [f"| {name} | {value:.1f} |" for name, value in split.items()]
    return "\n".join(lines) + "\n"


def _median(values: list[float]) -> str:
    return f"{statistics.median(values):.1f} ({min(values):.1f}–{max(values):.1f})"


def _machine() -> str:
    model = re.search(r"model name\s*:\s*(.*)", Path("/proc/cpuinfo").read_text())
    return f"{os.cpu_count()} cores, {model[1] if model else platform.machine()}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/scrape.md"))
    options = parser.parse_args()
    rows = {}
    for streams in STREAMS:
        with tempfile.TemporaryDirectory() as directory:
            rows[str(streams)] = running(streams, Path(directory))
    with tempfile.TemporaryDirectory() as directory:
        rows[f"{MANY}, made up"], split = made_up(MANY, Path(directory))
    text = report(rows, split)
    options.out.write_text(text)
    print(text, end="")
    eight = statistics.median(rows["8"].cpu)
    if eight > TARGET_MS:
        print(f"8 streams: {eight:.1f} ms, more than {TARGET_MS:.0f} ms", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
