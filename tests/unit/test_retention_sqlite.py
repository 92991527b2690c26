"""Rows that are deleted when they are old or too many, and a database that another program keeps locked."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from streamfer.api import Position, StreamPlan
from streamfer.sinks import SqliteOptions, pruning
from streamfer.sinks import sqlite as sqlite_module
from streamfer.sinks.sqlite import SqliteSink
from streamfer.types import LABELS, Face, Result

PLANS = [StreamPlan("lobby", ("cnn",)), StreamPlan("door", ("cnn",))]
LOBBY, DOOR = ("lobby", "cnn"), ("door", "cnn")


def result(
    seq: int, at: float | None, *, stream: str = "lobby", epoch: int = 0, track: int = 1, faces: int = 2
) -> Result:
    chances = dict.fromkeys(LABELS, 0.1428)
    seen = [Face(track + n, (1.0, 2.0, 3.0, 4.0), 0.9, "ok", "happy", 0.9, chances) for n in range(faces)]
    return Result(stream=stream, epoch=epoch, seq=seq, pts=None, time=at, classifier="cnn", faces=seen)


def resumed(path: Path, **keep: Any) -> tuple[SqliteSink, dict[tuple[str, str], Position]]:
    sink = SqliteSink(SqliteOptions.model_validate({"path": str(path), "keep": keep or None}))
    return sink, sink.open(PLANS, resume=True)


def ask(path: Path, question: str) -> list[Any]:
    db = sqlite3.connect(path)
    try:
        return db.execute(question).fetchall()
    finally:
        db.close()


# ---- age ---------------------------------------------------------------------------------------------------


def test_age(tmp_path: Path) -> None:
    """Rows older than that go with the next flush; what is younger stays, and the view shows it."""
    path, now = tmp_path / "r.db", time.time()
    sink, _ = resumed(path, age="1h")
    for seq in range(200):
        sink.write(result(seq, now - 7200 + seq * 36 - 18), None)  # the newest is of now
    sink.flush()
    sink.close()
    assert ask(path, "SELECT min(seq), max(seq), count(*) FROM frames") == [(101, 199, 99)]
    assert ask(path, "SELECT min(seq), count(*) FROM faces") == [(101, 198)]


def test_a_step_is_bounded(tmp_path: Path) -> None:
    path = tmp_path / "r.db"
    sink, _ = resumed(path)
    for seq in range(5000):
        sink.write(result(seq, 1000.0 + seq, faces=0), None)
    sink.close()
    sink, _ = resumed(path, age="1h")
    left = 5000
    while left:
        assert sink.flush()
        ((now,),) = ask(path, "SELECT count(*) FROM frames")
        assert 0 < left - now <= pruning.ROWS
        left = now
    sink.close()


def test_position_outlives_the_rows(tmp_path: Path) -> None:
    """A camera that was off for so long that nothing of it is left goes on where it was."""
    path = tmp_path / "r.db"
    sink, _ = resumed(path)
    for seq in range(300):
        sink.write(result(seq * 3, 1000.0 + seq, epoch=seq // 100, track=900 - seq, faces=1), None)
    sink.write(result(5, time.time(), stream="door", epoch=1, track=40, faces=1), None)
    sink.close()
    for _ in range(2):
        sink, found = resumed(path, age="1d")
        assert found == {
            LOBBY: Position(897, 300, last_track=found[LOBBY].last_track, epoch=2),
            DOOR: Position(5, 1, last_track=40, epoch=1),
        }
        sink.flush()
        sink.close()
        assert ask(path, "SELECT stream FROM frames") == [("door",)]
    assert found[LOBBY].last_track == 900
    sink, _ = resumed(path, age="1d")
    sink.write(result(898, time.time(), epoch=3, track=901, faces=1), None)
    sink.close()
    assert resumed(path)[1][LOBBY] == Position(898, 301, last_track=901, epoch=3)


def test_recordings_are_never_pruned(tmp_path: Path) -> None:
    path = tmp_path / "r.db"
    sink, _ = resumed(path, age="1s", size=1_000_000)
    for seq in range(3000):
        sink.write(result(seq, None), None)
        if seq % 100 == 0:
            sink.flush()
    sink.close()
    assert path.stat().st_size > 1_500_000
    assert resumed(path)[1] == {LOBBY: Position(2999, 3000, last_track=2)}


def test_a_recording_behind_live_rows_stays(tmp_path: Path) -> None:
    path = tmp_path / "r.db"
    sink, _ = resumed(path, age="1h")
    for seq in range(20):
        sink.write(result(seq, 1000.0 if seq < 10 else None), None)
    sink.close()
    assert ask(path, "SELECT min(seq), count(*) FROM frames") == [(10, 10)]


# ---- size --------------------------------------------------------------------------------------------------


def test_size(tmp_path: Path) -> None:
    """The file and its log never grow beyond the size and a little; the oldest go, whoever's they are."""
    path, size, log = tmp_path / "r.db", 2_000_000, tmp_path / "r.db-wal"
    sink, _ = resumed(path, size=size)
    most = 0
    for seq in range(12_000):
        sink.write(result(seq, 1000.0 + seq), None)
        if seq % 3 == 0:
            sink.write(result(seq, 1000.0 + seq, stream="door"), None)
        if seq % 50 == 0:
            assert sink.flush()
            most = max(most, path.stat().st_size)
            assert log.stat().st_size < 6_000_000  # SQLite moves it into the file at 1000 pages
    sink.close()
    assert 0.9 * size < most < 1.1 * size
    assert path.stat().st_size <= 1.02 * size
    rows = dict(ask(path, "SELECT stream, min(seq) FROM frames GROUP BY 1"))
    assert abs(rows["lobby"] - rows["door"]) < 400 and rows["lobby"] > 6000
    assert ask(path, "PRAGMA integrity_check") == [("ok",)]
    assert resumed(path)[1] == {
        LOBBY: Position(11_999, 12_000, last_track=2),
        DOOR: Position(11_997, 4000, last_track=2),
    }


def test_space_is_given_back(tmp_path: Path) -> None:
    path = tmp_path / "r.db"
    sink, _ = resumed(path)
    for seq in range(8000):
        sink.write(result(seq, 1000.0 + seq), None)
    sink.close()
    before = path.stat().st_size
    sink, _ = resumed(path, size=1_000_000)
    for _ in range(40):
        sink.flush()
    sink.close()
    assert before > 4_000_000 and path.stat().st_size <= 1_000_000
    assert ask(path, "PRAGMA integrity_check") == [("ok",)]


# ---- another program ---------------------------------------------------------------------------------------

LOCKER = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
for word in sys.stdin:
    db.execute("BEGIN IMMEDIATE" if word == "lock\\n" else "ROLLBACK")
    print("done", flush=True)
"""


class Locker:
    """Another process, which locks the database and lets it go again."""

    def __init__(self, path: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", LOCKER, str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __call__(self, word: str) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(word + "\n")
        self._process.stdin.flush()
        assert self._process.stdout.readline() == "done\n"

    def end(self) -> None:
        self._process.kill()
        self._process.communicate()


@pytest.fixture
def locker(tmp_path: Path) -> Iterator[Locker]:
    sink, _ = resumed(tmp_path / "r.db")
    sink.close()
    other = Locker(tmp_path / "r.db")
    yield other
    other.end()


@pytest.mark.parametrize("keep", [{}, {"age": "1h"}])
def test_locked_database(
    tmp_path: Path, locker: Locker, keep: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """Results wait, no call waits long, and nothing is lost."""
    path, now = tmp_path / "r.db", time.time()
    sink, _ = resumed(path, **keep)
    sink.write(result(0, now), None)
    assert sink.flush() is True
    locker("lock")
    for seq in range(1, 10):
        sink.write(result(seq, now), None)
        began = time.monotonic()
        assert sink.flush() is False
        assert time.monotonic() - began < 3.0
    assert ask(path, "SELECT count(*) FROM frames") == [(1,)]
    locker("unlock")
    assert sink.flush() is True
    assert ask(path, "SELECT count(*) FROM frames") == [(10,)]
    sink.close()
    assert [one.split(": ")[1].split("; ")[0] for one in caplog.messages] == [
        "another program keeps it locked",
        "no longer locked",
    ]


def test_locked_for_too_long(tmp_path: Path, locker: Locker, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is held is bounded; the sink says so rather than lose anything in silence."""
    monkeypatch.setattr(sqlite_module, "ROWS", 10)
    monkeypatch.setattr(sqlite_module, "HELD", 50)
    sink, _ = resumed(tmp_path / "r.db")
    locker("lock")
    with pytest.raises(OSError, match=r"another program keeps the database locked: '.*r\.db'"):
        for seq in range(60):
            sink.write(result(seq, 1000.0), None)
    assert seq == 49
    locker("unlock")
    sink.close()
    assert ask(tmp_path / "r.db", "SELECT count(*) FROM frames") == [(50,)]


def test_locked_at_the_end(tmp_path: Path, locker: Locker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_module, "PATIENCE", 0.2)
    sink, _ = resumed(tmp_path / "r.db")
    sink.write(result(0, 1000.0), None)
    locker("lock")
    with pytest.raises(OSError, match="another program keeps the database locked"):
        sink.close()
    sink.close()


def test_locked_at_the_start(tmp_path: Path, locker: Locker) -> None:
    """Another program that writes in this moment is no reason not to start."""
    locker("lock")
    sink, _ = resumed(tmp_path / "r.db")
    sink.write(result(0, 1000.0), None)
    assert sink.flush() is False
    locker("unlock")
    assert sink.flush() is True
    sink.close()


def test_readers_read_while_rows_are_pruned(tmp_path: Path) -> None:
    """A reader in the middle of reading sees one moment, holds nobody up, and is never told to wait."""
    path = tmp_path / "r.db"
    sink, _ = resumed(path, size=1_000_000)
    reader = sqlite3.connect(path, timeout=0, isolation_level=None)
    slow = sqlite3.connect(path, timeout=0, isolation_level=None)
    for seq in range(6000):
        sink.write(result(seq, 1000.0 + seq), None)
        if seq == 1000:
            slow.execute("BEGIN")
            (seen,) = slow.execute("SELECT min(seq) FROM frames").fetchone()
        if seq % 50 == 0:
            assert sink.flush()
            assert reader.execute("SELECT max(seq) FROM frames").fetchone() == (seq,)
    assert slow.execute("SELECT min(seq) FROM frames").fetchone() == (seen,)
    assert reader.execute("SELECT min(seq) FROM frames").fetchone()[0] > 2000
    reader.close()
    slow.close()
    sink.close()
