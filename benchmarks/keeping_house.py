"""What keeping house costs: python -m benchmarks.keeping_house [DIR].

Reading a JSON Lines record of 300 MB back, as a sink does when it resumes; and the time of each flush of a
SQLite sink of 50 frames with two faces, before and while it deletes rows to stay within 100 MB, with a reader
beside it in another thread.
"""

from __future__ import annotations

import sqlite3
import sys
import tempfile
import threading
import time
from itertools import count, islice
from pathlib import Path

import msgspec
import numpy as np

from streamfer.api import StreamPlan
from streamfer.sinks import SqliteOptions
from streamfer.sinks.record import Tallies, read_record
from streamfer.sinks.sqlite import SqliteSink
from streamfer.types import LABELS, Face, Result

RECORD = 300_000_000
DATABASE = 100_000_000
BATCH = 50
CHANCES = dict.fromkeys(LABELS, 0.1428)


def result(seq: int, faces: int) -> Result:
    """A live frame of one of four streams."""
    seen = [
        Face(1 + seq // 500 + n, (10.5, 20.0, 30.1, 40.2), 0.97, "ok", "happy", 0.91, CHANCES)
        for n in range(faces)
    ]
    return Result(
        stream=f"s{seq % 4}", epoch=0, seq=seq, pts=None, time=1.8e9 + seq / 25, classifier="cnn", faces=seen
    )


def read_back(path: Path) -> None:
    size = seq = 0
    with path.open("wb") as file:
        while size < RECORD:
            size += file.write(msgspec.json.encode(result(seq, seq % 3)) + b"\n")
            seq += 1
    began = time.process_time()
    read_record(path, Tallies())
    seconds = time.process_time() - began
    print(
        f"read back: {size / 1e6:.0f} MB, {seq:,} lines in {seconds:.2f} s: {size / 1e6 / seconds:.0f} MB/s"
    )


class Reader(threading.Thread):
    """Asks for the newest frame again and again, and never waits for a lock."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        self.stopping = False
        self.worst = 0.0

    def run(self) -> None:
        db = sqlite3.connect(self._path, timeout=0)
        while not self.stopping:
            began = time.perf_counter()
            db.execute("SELECT max(seq) FROM frames WHERE (stream, classifier, epoch) = ('s0', 'cnn', 0)")
            self.worst = max(self.worst, time.perf_counter() - began)
            time.sleep(0.005)
        db.close()


def prune(path: Path) -> None:
    sink = SqliteSink(SqliteOptions.model_validate({"path": str(path), "keep": {"size": DATABASE}}))
    sink.open([StreamPlan(f"s{n}", ("cnn",)) for n in range(4)], resume=True)
    seqs, times = count(), []

    def flush(pause: float = 0.0) -> float:
        for seq in islice(seqs, BATCH):
            sink.write(result(seq, 2), None)
        began = time.perf_counter()
        sink.flush()
        took = time.perf_counter() - began
        time.sleep(pause)
        return took

    while path.stat().st_size < 0.99 * DATABASE:
        times.append(flush())
    tell("before deleting", times)
    for _ in range(100):
        flush()  # until it is at its size
    reader = Reader(path)
    reader.start()
    tell("while deleting", [flush(0.02) for _ in range(300)])
    reader.stopping = True
    reader.join()
    print(f"the reader's longest question: {reader.worst * 1000:.1f} ms")
    print(f"file: {path.stat().st_size / 1e6:.1f} MB")
    sink.close()


def tell(what: str, times: list[float]) -> None:
    median, worst = np.median(times) * 1000, max(times) * 1000
    print(f"flush {what}: {median:.1f} ms, at most {worst:.1f} ms")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else None) as folder:
        read_back(Path(folder) / "results.jsonl")
        prune(Path(folder) / "results.db")
