"""A soak: a live service under random kills, stalls and overload, and what must be true of it afterwards.

    python -m tests.soak --minutes 20 [--seed 0] [--json FILE]

Four streams: a replay, the same at 5 frames/s, a scripted source that stalls, vanishes, changes its size and
damages frames, and, where one is installed, a camera on a real RTSP server that is paused, killed and
restarted. One classifier keeps up, the other is far too slow. Every few seconds a stage is killed or stopped
(SIGSTOP), or the RTSP server is. Status 0 if memory, descriptors, processes, files and the ledger are as they
must be.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import signal
import statistics
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from rich.progress import Progress

from tests import rtsp
from tests.live import JSON, config, ledger
from tests.rtsp import RtspServer
from tests.service import SAMPLE, Run, rows

WARM_UP = 0.15
"""Share of the time after which memory is taken for warm; the last of the same length is compared to it."""
GROWTH = 1.05
EVERY = (3.0, 9.0)
"""Seconds between two blows, at random."""


@dataclass
class Soak:
    """One soak of a running service."""

    run: Run
    server: RtspServer | None
    random: random.Random
    samples: list[tuple[float, float, int, int]] = field(default_factory=list)
    """Seconds, PSS of all processes in MB, descriptors of the supervisor, processes."""
    blows: Counter[str] = field(default_factory=Counter)
    waiting: list[tuple[float, str]] = field(default_factory=list)

    def go(self, seconds: float) -> None:
        began = time.monotonic()
        blow_at = began + 10
        with Progress(transient=True) as progress:
            task = progress.add_task("soak", total=seconds)
            while (passed := time.monotonic() - began) < seconds:
                assert self.run.process.poll() is None, "the service has ended"
                progress.update(task, completed=passed)
                self._sample(passed)
                now = time.monotonic()
                for due, what in list(self.waiting):
                    if now >= due:
                        self.waiting.remove((due, what))
                        assert self.server is not None
                        self.server.resume() if what == "resume" else self.server.start()
                if now >= blow_at and passed < seconds - 15:  # the end is calm, so that all comes back
                    self._blow(now)
                    blow_at = now + self.random.uniform(*EVERY)
                time.sleep(1.0)
        for _, what in self.waiting:
            assert self.server is not None
            self.server.resume() if what == "resume" else self.server.start()

    def _sample(self, passed: float) -> None:
        memory, count = 0.0, 0
        parent = psutil.Process(self.run.process.pid)
        for process in [parent, *parent.children()]:
            try:
                memory += process.memory_full_info().pss / 1e6
                count += 1
            except psutil.Error:
                continue  # just killed
        self.run.workers()  # so that none is overlooked in the end
        self.samples.append((passed, memory, parent.num_fds(), count))

    def _blow(self, now: float) -> None:
        kinds = ["kill", "kill", "stop"] + ["pause server", "kill server"] * (self.server is not None)
        kind = self.random.choice(kinds)
        if kind in ("kill", "stop"):
            workers = self.run.workers()
            if not workers:
                return
            title = self.random.choice(sorted(workers))
            number = signal.SIGKILL if kind == "kill" else signal.SIGSTOP
            try:
                workers[title].send_signal(number)
            except psutil.NoSuchProcess:
                return
            self.blows[f"{kind} {title.split()[0].partition('[')[0]}"] += 1
            return
        if self.waiting or self.server is None:
            return
        seconds = self.random.uniform(1, 10)
        if kind == "pause server":
            self.server.pause()
            self.waiting.append((now + seconds, "resume"))
        else:
            self.server.stop()
            self.waiting.append((now + seconds, "start"))
        self.blows[kind] += 1


def jsonl_lines(folder: Path) -> Counter[tuple[str, str]]:
    """Lines per (stream, classifier) in the current file and all rotated ones, each frame once."""
    frames: set[tuple[str, str, int, int]] = set()
    count = 0
    for path in [*folder.glob("results*.jsonl"), *folder.glob("results*.jsonl.gz")]:
        content = path.read_bytes()
        for line in (gzip.decompress(content) if path.suffix == ".gz" else content).splitlines():
            one = json.loads(line)
            frames.add((one["stream"], one["classifier"], one["epoch"], one["seq"]))
            count += 1
    assert count == len(frames), f"{count - len(frames)} lines stand there twice"
    return Counter((stream, classifier) for stream, classifier, _, _ in frames)


def soak(minutes: float, seed: int) -> dict[str, object]:
    """Run it; what was measured. AssertionError if something is not as it must be."""
    before = set(Path("/dev/shm").iterdir())
    replay = {"source": "file", "path": str(SAMPLE), "realtime": True, "loop": True}
    script = [
        {"frames": 200},
        {"hang": 4.0},
        {"frames": 100, "size": [320, 240]},
        {"lose": "ended"},
        {"frames": 50, "corrupt": True},
        {"frames": 200},
        {"lose": "timeout"},
        {"frames": 300, "size": [160, 120], "pts": None},
        {"lose": "refused"},
        {"frames": 100000000},
    ]
    streams = {
        "cam": {**replay, "classifiers": ["cnn"]},
        "capped": {**replay, "fps": 5},
        "script": {"source": "script", "script": script, "retry": 2.0, "stale_after": 1.5},
    }
    server = RtspServer("cam?size=640x360&fps=25") if rtsp.available() else None
    with (
        tempfile.TemporaryDirectory(prefix="soak-") as directory,
        tempfile.TemporaryDirectory(prefix="sf-", dir="/tmp") as runtime,  # paths of sockets must be short
    ):
        folder = Path(directory)
        if server is not None:
            server.__enter__()
            streams["rtsp"] = {"source": "rtsp", "url": server.url(), "retry": 2.0}
        path = config(
            folder,
            streams,
            classifiers=["cnn", {"name": "slow", "seconds": 0.3}],
            sinks=[
                {"name": "jsonl", "path": str(folder / "results.jsonl"), "rotate": {"size": "1MB"}},
                {"name": "sqlite", "path": str(folder / "results.db")},
                {"name": "measure", "path": str(folder / "ages"), "seconds": 0.02},
            ],
        )
        try:
            with Run("run", path, *JSON, env={"XDG_RUNTIME_DIR": runtime}) as run:
                one = Soak(run, server, random.Random(seed))
                one.go(minutes * 60)
                run.process.send_signal(signal.SIGINT)
                status, error = run.finish(timeout=60)
                left = [process for process in run._seen.values() if process.is_running()]
        finally:
            if server is not None:
                server.__exit__()
        return judged(one, folder, status, error, left, before, Path(runtime))


def judged(
    one: Soak,
    folder: Path,
    status: int,
    error: str,
    left: list[psutil.Process],
    before: set[Path],
    runtime: Path,
) -> dict[str, object]:
    """The figures, once everything is as it must be."""
    assert status == 130, error[-3000:]
    assert not left, f"processes are left: {left}"
    assert not list(runtime.iterdir()), "a runtime directory is left"
    assert set(Path("/dev/shm").iterdir()) <= before, "shared memory is left"
    total: Counter[str] = Counter()
    books = ledger(error)
    for key, (captured, delivered, dropped, in_flight) in books.items():
        assert captured == delivered + sum(dropped.values()) and in_flight == 0, (key, books[key])
        total.update({"captured": captured, "delivered": delivered, **dropped})
    on_disk = jsonl_lines(folder)
    for (stream, classifier, sink), (_, delivered, _, _) in books.items():
        if sink == "jsonl":
            assert on_disk[stream, classifier] == delivered, (stream, classifier, on_disk, books)
        if sink == "sqlite":
            query = f"SELECT count(*) FROM frames WHERE stream = '{stream}' AND classifier = '{classifier}'"
            assert rows(folder / "results.db", query) == [(delivered,)], (stream, classifier)
    length = one.samples[-1][0]
    # A stage that was just killed is missing for a moment: only samples with all processes are compared.
    most = max(count for *_, count in one.samples)
    whole = [sample for sample in one.samples if sample[3] == most]
    warm = [sample for sample in whole if WARM_UP * length <= sample[0] < 2 * WARM_UP * length]
    last = [sample for sample in whole if sample[0] >= (1 - WARM_UP) * length]
    memory = [statistics.median(sample[1] for sample in part) for part in (warm, last)]
    descriptors = [statistics.median(sample[2] for sample in part) for part in (warm, last)]
    figures = {
        "minutes": round(length / 60, 1),
        "blows": dict(one.blows),
        "restarts": sum("starting it again" in line for line in error.splitlines()),
        "frames": dict(total),
        "memory_mb": {"warm": round(memory[0], 1), "end": round(memory[1], 1)},
        "descriptors_of_the_supervisor": {"warm": descriptors[0], "end": descriptors[1]},
    }
    print(json.dumps(figures, indent=2))
    assert memory[1] <= GROWTH * memory[0], f"memory grew from {memory[0]:.1f} to {memory[1]:.1f} MB"
    assert descriptors[1] <= descriptors[0] + 2, f"descriptors grew from {descriptors[0]} to {descriptors[1]}"
    return figures


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="where the figures go as well")
    options = parser.parse_args()
    figures = soak(options.minutes, options.seed)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")
    print("the soak has passed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
