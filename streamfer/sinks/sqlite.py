"""Results in a SQLite database: one transaction per flush, readable while it grows, resumable."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from streamfer.api import Position, StreamPlan
from streamfer.errors import StartError
from streamfer.picture import Picture
from streamfer.sinks import SqliteOptions
from streamfer.sinks.files import make_directory, refusal, sync_directory
from streamfer.types import Result

APPLICATION_ID = 0x73666572  # "sfer": tells `file` and us whose database this is
SCHEMA_VERSION = 1
ROWS = 4096
"""Results held back at most between two flushes."""
BUSY_TIMEOUT = 30.0
"""Seconds to wait for another writer, such as a person who deletes old rows."""

# Keys are the names themselves, short and readable, so that no query needs a join. Each face repeats its
# frame's times for the same reason, and so that the view is answered from `faces_by_track` alone.
# The view is made of windows and range scans, not GROUP BY: a condition on stream … track reaches the index.
SCHEMA = """
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
  SELECT stream, classifier, epoch, track, seq, pts, time, label,
    label IS NOT lag(label) OVER face OR pts - lag(pts) OVER face > 1.0 AS begins
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
"""


class SqliteSink:
    """Writes results to one database."""

    def __init__(self, options: SqliteOptions) -> None:
        self._path = Path(options.path)
        self._encoder = msgspec.json.Encoder()
        self._frames: list[tuple[object, ...]] = []
        self._faces: list[tuple[object, ...]] = []
        self._db: sqlite3.Connection | None = None

    def open(self, streams: Sequence[StreamPlan], *, resume: bool) -> dict[tuple[str, str], Position]:
        make_directory(self._path)
        try:
            if not resume:
                self._path.unlink(missing_ok=True)  # SQLite discards a log that lies beside an empty database
            # autocommit: transactions begin and end where we say so
            self._db = sqlite3.connect(self._path, timeout=BUSY_TIMEOUT, isolation_level=None)
            prepare(self._db, self._path)
            sync_directory(self._path.parent)
            return read_positions(self._db, self._path)
        except sqlite3.Error as error:
            self.close()
            raise StartError(f"cannot write {self._path}: {error}") from error
        except OSError as error:
            self.close()
            raise refusal(self._path, error) from error
        except StartError:
            self.close()
            raise

    def write(self, result: Result, picture: Picture | None) -> None:
        key = (result.stream, result.classifier, result.epoch, result.seq)
        dropped = None if result.dropped is msgspec.UNSET else result.dropped
        self._frames.append((*key, result.pts, result.time, result.discontinuity is True, dropped))
        for number, face in enumerate(result.faces):
            probabilities = None
            if face.probabilities is not None:
                probabilities = self._encoder.encode(face.probabilities).decode()
            place = (number, face.track, result.pts, result.time, *face.box)
            verdict = (face.score, face.status, face.label, face.confidence, probabilities)
            self._faces.append((*key, *place, *verdict))
        if len(self._frames) >= ROWS:
            self.flush()

    def flush(self) -> None:
        if self._db is None:
            raise OSError(errno.EBADF, "closed after an earlier failure", str(self._path))
        if not self._frames:
            return
        try:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.executemany("INSERT INTO frames VALUES (?,?,?,?,?,?,?,?)", self._frames)
            self._db.executemany("INSERT INTO faces VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)", self._faces)
            self._db.execute("COMMIT")
        except sqlite3.DatabaseError as error:
            self._frames.clear()
            self._faces.clear()
            self.close()  # rolls back; a later flush must not leave a gap in the record
            raise as_oserror(error, self._path) from error
        self._frames.clear()
        self._faces.clear()

    def end(self, stream: str) -> None:
        """Nothing to finish: a stream's last row looks like any other."""

    def outputs(self) -> Iterable[str]:
        return [str(self._path)]

    def close(self) -> None:
        if self._db is None:
            return
        try:
            self.flush()
        finally:
            if self._db is not None:
                self._db.close()  # the last connection moves the log into the database and removes it
                self._db = None


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
    db.execute("PRAGMA journal_mode = WAL")  # readers read while we write
    db.execute("PRAGMA synchronous = FULL")  # a commit survives a power cut
    if empty:
        # one transaction: a crash leaves either nothing or all of it
        db.executescript(
            f"BEGIN; PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {SCHEMA_VERSION};"
            f"{SCHEMA} COMMIT;"
        )


def read_positions(db: sqlite3.Connection, path: Path) -> dict[tuple[str, str], Position]:
    """How far the record goes; `StartError` if a recording's frames are not contiguous from 0."""
    tracks: dict[tuple[str, str], int] = {}
    for stream, classifier, track in db.execute(
        "SELECT stream, classifier, max(track) FROM faces GROUP BY 1, 2"
    ):
        tracks[stream, classifier] = track
    dropped: dict[tuple[str, str], dict[str, int]] = {}
    for stream, classifier, reason, count in db.execute(
        "SELECT stream, classifier, dropped, count(*) FROM frames WHERE dropped NOT NULL GROUP BY 1, 2, 3"
    ):
        dropped.setdefault((stream, classifier), {})[reason] = count
    positions: dict[tuple[str, str], Position] = {}
    for stream, classifier, frames, live in db.execute(
        "SELECT stream, classifier, count(*), count(time) FROM frames GROUP BY 1, 2"
    ).fetchall():
        key = stream, classifier
        last = (
            "SELECT seq FROM frames WHERE (stream, classifier) = (?, ?) ORDER BY epoch DESC, seq DESC LIMIT 1"
        )
        (seq,) = db.execute(last, key).fetchone()
        if not live and frames != seq + 1:
            which = f"{frames} frames of {stream}/{classifier}"
            raise StartError(f"{path}: {which} where the last is frame {seq}; cannot resume")
        reasons = dropped.get(key, {})
        positions[key] = Position(seq, frames - sum(reasons.values()), reasons, tracks.get(key, 0))
    return positions


def as_oserror(error: sqlite3.DatabaseError, path: Path) -> OSError:
    """What the operating system would have said: no space, or no luck."""
    code = error.sqlite_errorcode
    full = code == sqlite3.SQLITE_FULL
    if code & 0xFF == sqlite3.SQLITE_IOERR:  # a log that cannot grow on a full disk ends here
        disk = os.statvfs(path.parent)
        full = disk.f_bavail * disk.f_frsize < 1 << 20
    if full:
        return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
    return OSError(errno.EIO, str(error), str(path))
