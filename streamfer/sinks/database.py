"""The database of the SQLite sink: its tables, its versions, how far the record in it goes."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

from streamfer.api import Position
from streamfer.errors import StartError

APPLICATION_ID = 0x73666572  # "sfer": tells `file` and us whose database this is
SCHEMA_VERSION = 3
INCREMENTAL = 2
"""Of PRAGMA auto_vacuum: deleted rows' space can be given back bit by bit."""

LOG_BYTES = 8 << 20
"""To which the write-ahead log is cut back after it had to grow."""

PRUNED = """CREATE TABLE pruned (
  stream TEXT NOT NULL,
  classifier TEXT NOT NULL,
  epoch INTEGER NOT NULL,
  seq INTEGER NOT NULL,
  last_track INTEGER NOT NULL,
  delivered INTEGER NOT NULL,
  PRIMARY KEY (stream, classifier)
) WITHOUT ROWID;"""
"""How far the rows went that were deleted for `keep`: a stream of which none is left goes on there."""

# Keys are the names themselves, short and readable, so that no query needs a join. Each face repeats its
# frame's times for the same reason, and so that the view is answered from `faces_by_track` alone.
# The view is made of windows and range scans, not GROUP BY: a condition on stream … track reaches the index.
SCHEMA = f"""
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
  "window" TEXT,
  raw TEXT,
  PRIMARY KEY (stream, classifier, epoch, seq, face),
  FOREIGN KEY (stream, classifier, epoch, seq) REFERENCES frames
) WITHOUT ROWID;

CREATE INDEX faces_by_track ON faces (stream, classifier, epoch, track, seq, label, confidence, pts, time);

CREATE VIEW who_showed_what_when AS
WITH marked AS (
  SELECT stream, classifier, epoch, track, seq, pts, time, label,
    label IS NOT lag(label) OVER face OR round(pts - lag(pts) OVER face, 6) > 1.0 AS begins
  FROM faces
  WINDOW face AS (PARTITION BY stream, classifier, epoch, track ORDER BY seq)
), runs AS (
  SELECT *, lead(seq, 1, 9223372036854775807) OVER face - 1 AS last
  FROM marked
  WHERE begins
  WINDOW face AS (PARTITION BY stream, classifier, epoch, track ORDER BY seq)
)
SELECT stream, classifier, epoch, track, label, pts AS since,
  (SELECT max(pts) FROM faces f
    WHERE (f.stream, f.classifier, f.epoch, f.track) = (runs.stream, runs.classifier, runs.epoch, runs.track)
      AND f.seq BETWEEN runs.seq AND runs.last) AS until,
  (SELECT count(*) FROM faces f
    WHERE (f.stream, f.classifier, f.epoch, f.track) = (runs.stream, runs.classifier, runs.epoch, runs.track)
      AND f.seq BETWEEN runs.seq AND runs.last) AS frames,
  (SELECT avg(confidence) FROM faces f
    WHERE (f.stream, f.classifier, f.epoch, f.track) = (runs.stream, runs.classifier, runs.epoch, runs.track)
      AND f.seq BETWEEN runs.seq AND runs.last) AS confidence,
  seq AS first_seq, time
FROM runs
WHERE label IS NOT NULL;

{PRUNED}
"""

_CHANGES = (
    (2, PRUNED),
    (3, 'ALTER TABLE faces ADD COLUMN "window" TEXT; ALTER TABLE faces ADD COLUMN raw TEXT;'),
)
"""What each version of the tables brought."""


def prepare(db: sqlite3.Connection, path: Path) -> None:
    """Set the connection up, and make the tables if the database is empty; `StartError` if it is not ours."""
    (application,) = db.execute("PRAGMA application_id").fetchone()
    (version,) = db.execute("PRAGMA user_version").fetchone()
    (objects,) = db.execute("SELECT count(*) FROM sqlite_master").fetchone()
    empty = (application, version, objects) == (0, 0, 0)
    if not empty and application != APPLICATION_ID:
        raise StartError(f"cannot write {path}: a database of another program")
    if version > SCHEMA_VERSION:
        raise StartError(
            f"cannot write {path}: its version {version} is newer than this streamfer's {SCHEMA_VERSION}; "
            "upgrade streamfer or choose another file"
        )
    if empty:
        db.execute("PRAGMA auto_vacuum = INCREMENTAL")  # takes effect only before anything is written
    db.execute("PRAGMA journal_mode = WAL")  # readers read while we write
    db.execute("PRAGMA synchronous = FULL")  # a commit survives a power cut
    db.execute(f"PRAGMA journal_size_limit = {LOG_BYTES}")
    # one transaction: a crash leaves either nothing or all of it
    if empty:
        db.executescript(
            f"BEGIN; PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {SCHEMA_VERSION};"
            f"{SCHEMA} COMMIT;"
        )
    elif version < SCHEMA_VERSION:
        steps = "".join(change for since, change in _CHANGES if version < since)
        db.executescript(f"BEGIN IMMEDIATE; {steps} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;")


def pairs(db: sqlite3.Connection) -> Iterator[tuple[str, str]]:
    """Each (stream, classifier) that has rows, without reading them all."""
    key = ("", "")
    following = (
        "SELECT stream, classifier FROM frames WHERE (stream, classifier) > (?, ?) "
        "ORDER BY stream, classifier LIMIT 1"
    )
    while (row := db.execute(following, key).fetchone()) is not None:
        yield (key := (row[0], row[1]))


def read_positions(db: sqlite3.Connection, path: Path) -> dict[tuple[str, str], Position]:
    """How far the record goes; `StartError` if a recording's frames are not contiguous from 0."""
    positions = {
        (stream, classifier): Position(seq, delivered, {}, track, epoch)
        for stream, classifier, epoch, seq, track, delivered in db.execute(
            "SELECT stream, classifier, epoch, seq, last_track, delivered FROM pruned"
        )
    }
    mine = "WHERE (stream, classifier) = (?, ?)"
    for key in pairs(db):
        (frames, not_analysed) = db.execute(
            f"SELECT count(*), count(dropped) FROM frames {mine}", key
        ).fetchone()
        last = f"SELECT epoch, seq, time FROM frames {mine} ORDER BY epoch DESC, seq DESC LIMIT 1"
        (epoch, seq, time) = db.execute(last, key).fetchone()
        if time is None and frames != seq + 1:
            which = f"{frames} frames of {'/'.join(key)}"
            raise StartError(f"{path}: {which} where the last is frame {seq}; cannot resume")
        reasons: dict[str, int] = {}
        if not_analysed:
            by_reason = f"SELECT dropped, count(*) FROM frames {mine} AND dropped NOT NULL GROUP BY 1"
            reasons = dict(db.execute(by_reason, key).fetchall())
        # ids rise: the highest is in the last epoch that saw a face, and that is one look into the index
        highest = f"SELECT track FROM faces {mine} ORDER BY epoch DESC, track DESC LIMIT 1"
        (track,) = db.execute(highest, key).fetchone() or (0,)
        earlier = positions.get(key, Position())
        delivered = earlier.delivered + frames - not_analysed
        positions[key] = Position(seq, delivered, reasons, max(track, earlier.last_track), epoch)
    return positions
