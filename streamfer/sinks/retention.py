"""Deletes the oldest finished files of a sink, so that those that stay are within its limits."""

from __future__ import annotations

import errno
import logging
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TypeVar

from streamfer.sinks import KeepFilesOptions, KeepSegmentsOptions
from streamfer.sinks.stamps import Finished, Series

T = TypeVar("T")

INTERVAL = 5.0
"""Seconds between two looks at what is there, where nothing was finished in between."""

ROOM = 1 << 20
"""Bytes to be gained at least when the disk is full."""

log = logging.getLogger(__name__)


class Retention:
    """Keeps house among the files of some series.

    `ours` is asked before a file is deleted: what it denies stays, and counts for nothing.
    """

    def __init__(
        self,
        keep: KeepSegmentsOptions | None,
        series: Sequence[Series],
        ours: Callable[[Path], bool] = lambda path: True,
    ) -> None:
        self._age = keep.age if keep else None
        self._total = keep.total if keep else None
        self._files = keep.files if isinstance(keep, KeepFilesOptions) else None
        self._series = series
        self._ours = ours
        self._spared: set[Path] = set()  # not ours, or not to be deleted
        self._next = 0.0

    def tidy_now_and_then(self, growing: Collection[Path]) -> None:
        """`tidy`, if that is some seconds ago."""
        if time.monotonic() >= self._next:
            self.tidy(growing)

    def tidy(self, growing: Collection[Path]) -> None:
        """Delete what is too old or too much. `growing` are the files being written: they stay, and their
        sizes count."""
        self._next = time.monotonic() + INTERVAL
        if self._age is None and self._total is None and self._files is None:
            return
        files = self._finished(growing)
        oldest_allowed = time.time() - self._age if self._age is not None else None
        total = sum(one.size for one in files) + sum(_size(path) for path in growing)
        count = len(files)
        for one in files:
            too_old = oldest_allowed is not None and one.stamp.second < oldest_allowed
            too_much = self._total is not None and total > self._total
            too_many = self._files is not None and count > self._files
            if not (too_old or too_much or too_many):
                break
            if self._delete(one):
                total -= one.size
                count -= 1

    def make_room(self, growing: Collection[Path]) -> bool:
        """The disk is full: delete the oldest files, if `total` says that they may go. Whether any went."""
        if self._total is None:
            return False
        gained, went = 0, False
        for one in self._finished(growing):
            if gained >= ROOM:
                break
            if self._delete(one):
                log.warning("no space left on device: deleted %s to make room", one.path)
                gained, went = gained + one.size, True
        return went

    def retrying(self, action: Callable[[], T], growing: Collection[Path]) -> T:
        """What `action` returns; where it finds the disk full it is done once more after `make_room`."""
        try:
            return action()
        except OSError as error:
            if error.errno != errno.ENOSPC or not self.make_room(growing):
                raise
            return action()

    def _finished(self, growing: Collection[Path]) -> list[Finished]:
        found = [one for series in self._series for one in series.files()]
        return sorted(one for one in found if one.path not in growing and one.path not in self._spared)

    def _delete(self, one: Finished) -> bool:
        if not self._ours(one.path):
            self._spared.add(one.path)
            return False
        try:
            one.delete()
        except OSError as error:
            log.warning("cannot delete %s: %s", one.path, error.strerror)
            self._spared.add(one.path)
            return False
        return True


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
