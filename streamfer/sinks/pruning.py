"""Deletes the oldest rows of live streams from the database, a few at a time, and gives the space back."""

from __future__ import annotations

import logging
import sqlite3
import time
from pathlib import Path

from streamfer.sinks import KeepRowsOptions
from streamfer.sinks.database import INCREMENTAL, pairs

ROWS = 1000
"""Frames deleted at most per step, or twice as many as came in, where that is more."""
CHUNK = 100
"""Frames of one (stream, classifier) deleted before the next may be the oldest."""
SECONDS = 0.1
"""After which a step begins no further chunk."""
PAGES = 500
"""Free pages given back per step at most."""
FREE = 0.05
"""Share of the database that stays free for the rows that come next."""
LOOK = 10.0
"""Seconds between two looks for streams that were not there before."""

log = logging.getLogger(__name__)

Key = tuple[str, str]


class Pruner:
    """Keeps a database within an age and a size. Frames of recordings have no time, and are never deleted."""

    def __init__(self, db: sqlite3.Connection, path: Path, keep: KeepRowsOptions) -> None:
        self._db = db
        self._keep = keep
        self._pairs: list[Key] = []
        self._look = 0.0
        self._page: int = db.execute("PRAGMA page_size").fetchone()[0]
        (vacuum,) = db.execute("PRAGMA auto_vacuum").fetchone()
        self._shrinks = vacuum == INCREMENTAL
        if not self._shrinks:
            log.warning(
                "%s: made by an earlier version; what is deleted makes room for new rows, but the file does "
                "not shrink until somebody runs 'PRAGMA auto_vacuum = 2; VACUUM' while it is not in use",
                path,
            )

    def step(self, inserted: int) -> None:
        """Delete what is too old or too much, in one short transaction. sqlite3.DatabaseError if that fails;
        the caller rolls back."""
        now = time.monotonic()
        if now >= self._look:
            self._pairs, self._look = list(pairs(self._db)), now + LOOK
        left = max(ROWS, 2 * inserted)
        oldest_allowed = time.time() - self._keep.age if self._keep.age is not None else None
        while left > 0 and time.monotonic() - now < SECONDS:
            oldest = self._oldest()
            if oldest is None:
                break
            key, since = oldest
            if self._too_much():
                gone = self._delete(key, min(left, CHUNK), None)
            elif oldest_allowed is not None and since < oldest_allowed:
                gone = self._delete(key, min(left, CHUNK), oldest_allowed)
            else:
                break
            left -= gone
        if self._db.in_transaction:
            self._db.execute("COMMIT")
        self._give_back()

    def _oldest(self) -> tuple[Key, float] | None:
        """The (stream, classifier) whose first frame is the oldest, and that frame's time."""
        first = "SELECT time FROM frames WHERE (stream, classifier) = (?, ?) ORDER BY epoch, seq LIMIT 1"
        found: tuple[Key, float] | None = None
        for key in self._pairs:
            (since,) = self._db.execute(first, key).fetchone() or (None,)
            if since is not None and (found is None or since < found[1]):
                found = key, since
        return found

    def _too_much(self) -> bool:
        if self._keep.size is None:
            return False
        pages, free = self._counts()
        return (pages - free) * self._page > self._keep.size

    def _counts(self) -> tuple[int, int]:
        """Pages of the database, and how many of them are free."""
        (pages,) = self._db.execute("PRAGMA page_count").fetchone()
        (free,) = self._db.execute("PRAGMA freelist_count").fetchone()
        return pages, free

    def _delete(self, key: Key, most: int, before: float | None) -> int:
        """Delete the first frames of one (stream, classifier), those of one epoch and before a time if one is
        given, and remember how far they went. How many there were."""
        if not self._db.in_transaction:
            self._db.execute("BEGIN IMMEDIATE")
        rows = self._db.execute(
            "SELECT epoch, seq, time, dropped FROM frames WHERE (stream, classifier) = (?, ?) "
            "ORDER BY epoch, seq LIMIT ?",
            (*key, most),
        ).fetchall()
        chosen = []
        for row in rows:
            if row[0] != rows[0][0] or row[2] is None or (before is not None and row[2] >= before):
                break
            chosen.append(row)
        if not chosen:
            return most  # another program was faster
        last = chosen[-1][:2]
        # worded so that SQLite goes by the primary key; by the other index it would look at every face
        mine = "WHERE (stream, classifier) = (?, ?) AND epoch = ? AND seq <= ?"
        (track,) = self._db.execute(f"SELECT max(+track) FROM faces {mine}", (*key, *last)).fetchone()
        self._db.execute(f"DELETE FROM faces {mine}", (*key, *last))
        self._db.execute(f"DELETE FROM frames {mine}", (*key, *last))
        self._db.execute(
            "INSERT INTO pruned VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET "
            "epoch = excluded.epoch, seq = excluded.seq, last_track = max(last_track, excluded.last_track), "
            "delivered = delivered + excluded.delivered",
            (*key, *last, track or 0, sum(row[3] is None for row in chosen)),
        )
        return len(chosen)

    def _give_back(self) -> None:
        """Shorten the file by some free pages, if there are more than will soon be used."""
        if not self._shrinks:
            return
        pages, free = self._counts()
        spare = free - int(pages * FREE)
        if self._keep.size is not None:
            spare = max(spare, min(free, pages - self._keep.size // self._page))
        if spare > 0:
            # each step of this statement frees one page, and execute() makes only one
            self._db.executescript(f"PRAGMA incremental_vacuum({min(spare, PAGES)})")


def is_busy(error: sqlite3.DatabaseError) -> bool:
    """Whether another connection keeps the database locked."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
