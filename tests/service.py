"""Runs the real command in a real process and looks at what it leaves."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).parents[1]
SAMPLE = ROOT / "streamfer" / "data" / "sample.mp4"


def command(*arguments: object) -> list[str]:
    """The `streamfer` command of this interpreter."""
    return [sys.executable, "-c", "from streamfer.cli import main; main()", *map(str, arguments)]


def streamfer(
    *arguments: object, cwd: Path | None = None, env: dict[str, str] | None = None, timeout: float = 120
) -> subprocess.CompletedProcess[str]:
    """Run to the end."""
    return subprocess.run(
        command(*arguments),
        cwd=cwd,
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def with_path(folder: Path) -> dict[str, str]:
    """The environment of a process that finds the modules of a folder, and whatever this one finds."""
    return {"PYTHONPATH": os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])}


def wait_until(condition: Callable[[], Any], what: str, timeout: float = 60) -> Any:
    """Poll with a deadline; what the condition returned when it came true."""
    deadline = time.monotonic() + timeout
    while True:
        if value := condition():
            return value
        assert time.monotonic() < deadline, f"not within {timeout} s: {what}"
        time.sleep(0.01)


class Run:
    """A running service. Use it as a context manager; nothing survives it."""

    def __init__(
        self, *arguments: object, cwd: Path | None = None, env: dict[str, str] | None = None
    ) -> None:
        self.process = subprocess.Popen(
            command(*arguments),
            cwd=cwd,
            env={**os.environ, **(env or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._seen: dict[int, psutil.Process] = {}

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *_: object) -> None:
        self.workers()
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate(timeout=30)
        for process in self._seen.values():
            if process.is_running():
                process.kill()

    def workers(self) -> dict[str, psutil.Process]:
        """The workers by title, without 'streamfer: '."""
        found = {}
        try:
            children = psutil.Process(self.process.pid).children()
        except psutil.NoSuchProcess:
            return {}
        for child in children:
            self._seen[child.pid] = child
            try:
                title = " ".join(child.cmdline()).strip()
            except psutil.Error:
                continue
            if title.startswith("streamfer: "):
                found[title.removeprefix("streamfer: ")] = child
        return found

    def worker(self, title: str, *, other_than: int | None = None) -> psutil.Process:
        """Wait for a worker of this title (with another pid than `other_than`)."""

        def there() -> psutil.Process | None:
            found = self.workers().get(title)
            return found if found is not None and found.pid != other_than else None

        found = wait_until(there, f"worker '{title}'")
        assert isinstance(found, psutil.Process)
        return found

    def kill_worker(self, title: str, *, other_than: int | None = None) -> int:
        """kill -9 a worker; its pid."""
        worker = self.worker(title, other_than=other_than)
        worker.send_signal(signal.SIGKILL)
        return worker.pid

    def finish(self, timeout: float = 120) -> tuple[int, str]:
        """Wait for the end; exit status and standard error."""
        _, error = self.process.communicate(timeout=timeout)
        return self.process.returncode, error


def lines(path: Path) -> list[dict[str, Any]]:
    """The complete lines of a results.jsonl."""
    if not path.exists():
        return []
    text = path.read_text("utf-8")
    return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]


def rows(path: Path, query: str) -> list[tuple[Any, ...]]:
    """What a database answers."""
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(query).fetchall()


def frame_count(path: Path) -> int:
    """Frames that PyAV decodes, as the reference for what a run must hold."""
    import av

    with av.open(path) as container:
        return sum(1 for _ in container.decode(video=0))


def repeated(clip: Path, times: int, to: Path) -> Path:
    """A longer recording: the clip's packets, `times` in a row, with rising time stamps."""
    import av

    with av.open(clip) as source, av.open(to, "w") as target:
        stream = source.streams.video[0]
        copy = target.add_stream_from_template(stream)
        assert stream.duration is not None
        for turn in range(times):
            source.seek(0)
            for packet in source.demux(stream):
                if packet.dts is None:
                    continue
                packet.dts += turn * stream.duration
                packet.pts += turn * stream.duration
                packet.stream = copy
                target.mux(packet)
    return to


def assert_complete(out: Path, frames: int, *, streams: tuple[str, ...] | None = None) -> None:
    """results.jsonl and results.db hold every frame exactly once, in order, and agree on all faces where no
    frame was analysed twice; each face is labelled as its probabilities say."""
    found = lines(out / "results.jsonl")
    by_pair: dict[tuple[str, str], list[int]] = {}
    for line in found:
        by_pair.setdefault((line["stream"], line["classifier"]), []).append(line["seq"])
    assert by_pair, "no results"
    for pair, seqs in by_pair.items():
        assert seqs == list(range(frames)), f"{pair}: {len(seqs)} lines, expected {frames} in order"
    for stream, classifier in by_pair:
        of_pair = f"FROM {{}} WHERE stream = '{stream}' AND classifier = '{classifier}' ORDER BY seq"
        in_database = rows(out / "results.db", "SELECT seq, discontinuity " + of_pair.format("frames"))
        assert [seq for seq, _ in in_database] == list(range(frames))
        written = [line for line in found if (line["stream"], line["classifier"]) == (stream, classifier)]
        if any(anew for _, anew in in_database) or any("discontinuity" in line for line in written):
            continue  # after a death each sink goes on where it was: one may have a frame's second analysis
        assert rows(
            out / "results.db",
            "SELECT seq, track, status, label, confidence " + of_pair.format("faces") + ", face",
        ) == [
            (line["seq"], *(face[key] for key in ("track", "status", "label", "confidence")))
            for line in written
            for face in line["faces"]
        ]
    for line in found:
        for face in line["faces"]:
            assert_named(face)


def assert_named(face: dict[str, Any]) -> None:
    """A face has the label of its highest probability. Smoothing may keep another: then `raw` has it."""
    if face["label"] is None:
        assert face["status"] not in ("ok", "warming"), face
        return
    assert face["probabilities"][face["label"]] == face["confidence"], face
    raw = face.get("raw", face)
    assert raw["probabilities"][raw["label"]] == raw["confidence"] == max(raw["probabilities"].values()), face


def nothing_left(run: Run) -> None:
    """No process of the run, and none of its sockets or shared memory."""
    alive = [p for p in run._seen.values() if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
    assert not alive, alive
    assert not list(Path("/dev/shm").glob("*streamfer*"))
