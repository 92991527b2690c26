"""Databases that earlier versions made: brought up to date where they lie, with every row that they have."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from streamfer.api import Position, StreamPlan
from streamfer.errors import StartError
from streamfer.sinks import SqliteOptions
from streamfer.sinks.database import SCHEMA_VERSION
from streamfer.sinks.sqlite import SqliteSink
from streamfer.types import Answer, Face, Result, WindowState

LOBBY = ("lobby", "cnn")
SECOND = """
CREATE TABLE pruned (
  stream TEXT NOT NULL,
  classifier TEXT NOT NULL,
  epoch INTEGER NOT NULL,
  seq INTEGER NOT NULL,
  last_track INTEGER NOT NULL,
  delivered INTEGER NOT NULL,
  PRIMARY KEY (stream, classifier)
) WITHOUT ROWID;
"""
"""What version 2 added to version 1, as it was written then."""

FIRST = """
CREATE TABLE frames (
  stream TEXT NOT NULL,
  classifier TEXT NOT NULL,
  epoch INTEGER NOT NULL,
  seq INTEGER NOT NULL,
  pts REAL,
  time REAL,
  discontinuity INTEGER NOT NULL,
  dropped TEXT,
  PRIMARY KEY (stream, classifier, epoch, seq)
) WITHOUT ROWID;
CREATE TABLE faces (
  stream TEXT NOT NULL,
  classifier TEXT NOT NULL,
  epoch INTEGER NOT NULL,
  seq INTEGER NOT NULL,
  face INTEGER NOT NULL,
  track INTEGER NOT NULL,
  pts REAL,
  time REAL,
  x REAL NOT NULL,
  y REAL NOT NULL,
  w REAL NOT NULL,
  h REAL NOT NULL,
  score REAL NOT NULL,
  status TEXT NOT NULL,
  label TEXT,
  confidence REAL,
  probabilities TEXT,
  PRIMARY KEY (stream, classifier, epoch, seq, face),
  FOREIGN KEY (stream, classifier, epoch, seq) REFERENCES frames
) WITHOUT ROWID;
CREATE INDEX faces_by_track ON faces (stream, classifier, epoch, track, seq, label, confidence, pts, time);
CREATE VIEW who_showed_what_when AS
WITH marked AS (
  SELECT *, label IS NOT lag(label) OVER so_far OR pts - lag(pts) OVER so_far > 1.0 AS begins
  FROM faces
  WINDOW so_far AS (PARTITION BY stream, classifier, epoch, track ORDER BY seq)
), numbered AS (
  SELECT *, sum(begins) OVER (PARTITION BY stream, classifier, epoch, track ORDER BY seq) AS run
  FROM marked
)
SELECT stream, classifier, epoch, track, label, min(pts) AS since, max(pts) AS until, count(*) AS frames
FROM numbered WHERE label IS NOT NULL GROUP BY stream, classifier, epoch, track, run;
"""
"""The tables of version 1, which had a simpler view."""


def make_old(path: Path, version: int) -> Path:
    """A database as that version left it, with one live frame of one face."""
    db = sqlite3.connect(path)
    db.execute("PRAGMA journal_mode = WAL")
    tables = FIRST + (SECOND if version > 1 else "")
    db.executescript(
        f"BEGIN; PRAGMA application_id = 0x73666572; PRAGMA user_version = {version}; {tables} COMMIT;"
    )
    db.execute("INSERT INTO frames VALUES ('lobby', 'cnn', 0, 7, 0.7, 1000.0, 0, NULL)")
    db.execute(
        "INSERT INTO faces VALUES ('lobby', 'cnn', 0, 7, 0, 3, 0.7, 1000.0, 1, 2, 3, 4, 0.9, 'ok', 'happy', "
        """0.9, '{"happy": 0.9}')"""
    )
    db.commit()
    db.close()
    return path


def resumed(path: Path, **keep: Any) -> tuple[SqliteSink, dict[tuple[str, str], Position]]:
    sink = SqliteSink(SqliteOptions.model_validate({"path": str(path), "keep": keep or None}))
    return sink, sink.open([StreamPlan("lobby", ("cnn",))], resume=True)


def ask(path: Path, question: str) -> list[Any]:
    db = sqlite3.connect(path)
    try:
        return db.execute(question).fetchall()
    finally:
        db.close()


@pytest.mark.parametrize("version", [1, 2])
def test_an_old_database_is_upgraded_in_place(tmp_path: Path, version: int) -> None:
    """Old rows stay as they were, new ones have their windows and what was said before it was smoothed."""
    path = make_old(tmp_path / "r.db", version)
    sink, found = resumed(path)
    assert found == {LOBBY: Position(7, 1, last_track=3)}
    chances, place = {"happy": 0.8}, (1.0, 2.0, 3.0, 4.0)
    raw = Answer("happy", 0.7, {"happy": 0.7})
    face = Face(3, place, 0.9, "warming", "happy", 0.8, chances, WindowState(6, 2, 80.0), raw)
    sink.write(
        Result(stream="lobby", epoch=0, seq=8, pts=0.8, time=1000.1, classifier="cnn", faces=[face]), None
    )
    sink.close()
    assert ask(path, "PRAGMA user_version") == [(SCHEMA_VERSION,)]
    (old, new) = ask(path, 'SELECT probabilities, "window", raw FROM faces ORDER BY seq')
    assert old == ('{"happy": 0.9}', None, None)
    assert [json.loads(one) for one in new] == [
        chances,
        {"frames": 6, "filled": 2, "span_ms": 80.0},
        {"label": "happy", "confidence": 0.7, "probabilities": {"happy": 0.7}},
    ]
    shown = "SELECT track, label, since, until, frames FROM who_showed_what_when"
    assert ask(path, shown) == [(3, "happy", 0.7, 0.8, 2)]
    assert ask(path, "PRAGMA integrity_check") == [("ok",)]
    assert resumed(path)[1] == {LOBBY: Position(8, 2, last_track=3)}


@pytest.mark.parametrize("version", [1, 2])
def test_an_upgraded_one_has_the_tables_of_a_new_one(tmp_path: Path, version: int) -> None:
    """Column for column: rows are inserted by their place."""
    old, new = make_old(tmp_path / "old.db", version), tmp_path / "new.db"
    for path in (old, new):
        resumed(path)[0].close()
    for table in ("frames", "faces", "pruned"):
        columns = f"PRAGMA table_info({table})"
        assert ask(old, columns) == ask(new, columns)


def test_an_upgrade_that_fails_leaves_the_database_as_it_was(tmp_path: Path) -> None:
    path = make_old(tmp_path / "r.db", 1)
    db = sqlite3.connect(path)
    db.execute("ALTER TABLE faces ADD COLUMN raw TEXT")  # somebody's own
    db.close()
    with pytest.raises(StartError, match=rf"^cannot write {path}: duplicate column name: raw$"):
        resumed(path)
    assert ask(path, "PRAGMA user_version") == [(1,)]
    assert ask(path, "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY 1") == [
        ("faces",),
        ("frames",),
    ]
    assert "window" not in {name for _, name, *_ in ask(path, "PRAGMA table_info(faces)")}


def test_what_is_deleted_of_an_old_database_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = make_old(tmp_path / "r.db", 1)
    sink, _ = resumed(path)
    sink.close()
    assert caplog.messages == []
    for _ in range(2):
        sink, found = resumed(path, age="1d")
        sink.flush()
        sink.flush()
        sink.close()
        assert found == {LOBBY: Position(7, 1, last_track=3)}
        (warning,) = caplog.messages
        assert "made by an earlier version" in warning and "auto_vacuum" in warning
        caplog.clear()
    assert ask(path, "SELECT count(*) FROM frames") == [(0,)]


def test_advice_for_old_databases_is_right(tmp_path: Path) -> None:
    path = make_old(tmp_path / "r.db", 1)
    db = sqlite3.connect(path, isolation_level=None)
    db.executescript("PRAGMA auto_vacuum = 2; VACUUM")
    db.close()
    assert ask(path, "PRAGMA auto_vacuum") == [(2,)]
    assert resumed(path)[1] == {LOBBY: Position(7, 1, last_track=3)}
