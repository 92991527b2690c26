"""Results in a SQLite database: one transaction per flush, readable while it grows, resumable."""

from __future__ import annotations

import errno
import logging
import os
import sqlite3
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from streamfer.api import Position, StreamPlan
from streamfer.errors import StartError
from streamfer.picture import Picture
from streamfer.sinks import SqliteOptions
from streamfer.sinks.database import prepare, read_positions
from streamfer.sinks.files import make_directory, refusal, sync_directory
from streamfer.sinks.pruning import Pruner, is_busy
from streamfer.types import Result

ROWS = 4096
"""Results after which they are written whether or not it is time to flush."""
HELD = 16 * ROWS
"""Results held at most while another program keeps the database locked."""
PATIENCE = 3.0
"""Seconds to wait for a locked database when starting and when ending."""
BUSY_TIMEOUT = 0.1
"""Seconds to wait for it in between: then the results stay where they are until the next flush."""

log = logging.getLogger(__name__)


class SqliteSink:
    """Writes results to one database."""

    def __init__(self, options: SqliteOptions) -> None:
        self._path = Path(options.path)
        self._keep = options.keep
        self._encoder = msgspec.json.Encoder()
        self._frames: list[tuple[object, ...]] = []
        self._faces: list[tuple[object, ...]] = []
        self._db: sqlite3.Connection | None = None
        self._pruner: Pruner | None = None
        self._locked = False

    def open(self, streams: Sequence[StreamPlan], *, resume: bool) -> dict[tuple[str, str], Position]:
        make_directory(self._path)
        try:
            if not resume:
                self._path.unlink(missing_ok=True)  # SQLite discards a log that lies beside an empty database
            # autocommit: transactions begin and end where we say so
            self._db = sqlite3.connect(self._path, timeout=PATIENCE, isolation_level=None)
            prepare(self._db, self._path)
            sync_directory(self._path.parent)
            positions = read_positions(self._db, self._path)
            if self._keep is not None:
                self._pruner = Pruner(self._db, self._path, self._keep)
            self._db.execute(f"PRAGMA busy_timeout = {round(BUSY_TIMEOUT * 1000)}")
            return positions
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
            place = (number, face.track, result.pts, result.time, *face.box)
            verdict = (face.score, face.status, face.label, face.confidence)
            more = map(self._json, (face.probabilities, face.window, face.raw))
            self._faces.append((*key, *place, *verdict, *more))
        if len(self._frames) % ROWS == 0 and not self.flush() and len(self._frames) >= HELD:
            raise self._refused()

    def _json(self, value: object) -> str | None:
        """A value as JSON text; None for one that is not there."""
        return None if value is None or value is msgspec.UNSET else self._encoder.encode(value).decode()

    def flush(self) -> bool:
        """False: another program keeps the database locked, the results are held and written later."""
        if self._db is None:
            raise OSError(errno.EBADF, "closed after an earlier failure", str(self._path))
        written = len(self._frames)
        try:
            if self._frames:
                self._insert(self._db)
        except sqlite3.DatabaseError as error:
            if is_busy(error):
                self._is_locked(self._db)
                return False
            raise self._failed(error) from error
        self._unlocked()
        try:
            if self._pruner is not None:
                self._pruner.step(written)
        except sqlite3.DatabaseError as error:
            if not is_busy(error):
                raise self._failed(error) from error
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
        return True

    def _insert(self, db: sqlite3.Connection) -> None:
        db.execute("BEGIN IMMEDIATE")
        db.executemany("INSERT INTO frames VALUES (?,?,?,?,?,?,?,?)", self._frames)
        db.executemany(f"INSERT INTO faces VALUES ({','.join(19 * '?')})", self._faces)
        db.execute("COMMIT")
        self._forget()

    def _failed(self, error: sqlite3.DatabaseError) -> OSError:
        self._forget()
        self.close()  # rolls back; a later flush must not leave a gap in the record
        return as_oserror(error, self._path)

    def _forget(self) -> None:
        self._frames.clear()
        self._faces.clear()

    def _is_locked(self, db: sqlite3.Connection) -> None:
        if db.in_transaction:
            db.execute("ROLLBACK")
        if not self._locked:
            self._locked = True
            log.warning("%s: another program keeps it locked; results wait", self._path)

    def _unlocked(self) -> None:
        if self._locked:
            self._locked = False
            log.warning("%s: no longer locked; the results are written", self._path)

    def _refused(self) -> OSError:
        return OSError(errno.EBUSY, "another program keeps the database locked", str(self._path))

    def end(self, stream: str) -> None:
        """Nothing to finish: a stream's last row looks like any other."""

    def outputs(self) -> Iterable[str]:
        return [str(self._path)]

    def close(self) -> None:
        if self._db is None:
            return
        deadline = time.monotonic() + PATIENCE
        try:
            while self._frames and not self.flush():
                if time.monotonic() > deadline:
                    raise self._refused()
        finally:
            self._forget()
            if self._db is not None:
                self._db.close()  # the last connection moves the log into the database and removes it
                self._db = None


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
