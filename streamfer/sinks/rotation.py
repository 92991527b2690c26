"""The files that a JSON Lines sink has set aside: named, told where the next goes on, kept house among."""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path
from typing import Literal

import msgspec

from streamfer.api import Position
from streamfer.errors import FatalError, StartError
from streamfer.sinks import JsonlOptions, RotateOptions
from streamfer.sinks.compression import ENDING, Compressor, sweep
from streamfer.sinks.files import sync_directory
from streamfer.sinks.record import Tallies, Tally, read_record
from streamfer.sinks.retention import Retention
from streamfer.sinks.stamps import Series, Stamp
from streamfer.types import Result

LOOK_BACK = 4
"""Files that are read back at most where the positions' own file is missing."""

log = logging.getLogger(__name__)


class _Positions(msgspec.Struct):
    """How far the record goes at the end of the file `until`: what a start would otherwise read all the files
    that were ever set aside for."""

    v: Literal[1]
    until: str
    tallies: list[Tally]


class Rotation:
    """Sets files aside; knows how far the record goes over all of them."""

    def __init__(self, path: Path, options: JsonlOptions, rotate: RotateOptions) -> None:
        self._path = path
        self._rotate = rotate
        self._positions = path.with_name(path.name + ".positions")
        self._series = Series(path, ("", ENDING))
        self._retention = Retention(options.keep, [self._series])
        self._compressor = Compressor(self._series) if options.compress else None
        self._tallies = Tallies()
        self._period: int | None = None  # in which the current file began, counted from 1970

    # ---- starting ------------------------------------------------------------------------------------------

    def resume(self) -> int:
        """Take up the record that is there. The length in bytes of the current file's sound part."""
        sweep(self._path, self._series)
        until = self._load()
        behind = [one for one in self._series.files() if until is None or one.stamp > until]
        if until is None and len(behind) > LOOK_BACK:
            log.warning(
                "%s is missing: of %d files only the newest %d are read back; a stream that is not in them "
                "begins at frame 0 again",
                self._positions,
                len(behind),
                LOOK_BACK,
            )
            behind = behind[-LOOK_BACK:]
        for one in behind:
            read_record(one.path, self._tallies)
        if behind:
            self._save(behind[-1].path.name.removesuffix(ENDING))
        sound, began = read_record(self._path, self._tallies)
        self._period = self._period_of(time.time() if began is None else began)
        self._start()
        return sound

    def anew(self) -> int:
        """Forget the record that is there. What is left of the current file: 0 bytes."""
        for one in self._series.files():
            one.path.unlink(missing_ok=True)
        sweep(self._path, self._series)
        self._positions.unlink(missing_ok=True)
        self._start()
        return 0

    def _start(self) -> None:
        self._retention.tidy([self._path])
        if self._compressor is not None:
            self._compressor.start()

    def positions(self) -> dict[tuple[str, str], Position]:
        return self._tallies.positions()

    # ---- writing -------------------------------------------------------------------------------------------

    def count(self, result: Result) -> None:
        """Count a result that is about to be written."""
        if result.time is None:
            raise FatalError(
                f"{self._path}: rotate is for live streams, and {result.stream} is a recording, whose record "
                "stays in one file: remove rotate from this sink"
            )
        self._tallies.add(result)

    def is_over(self, size: int) -> bool:
        """Whether the period of a file of this size is over; one without a line begins now."""
        period = self._period_of(time.time())
        if size == 0:
            self._period = period
        return period != self._period  # earlier, too: the clock was set back

    def is_full(self, size: int) -> bool:
        return self._rotate.size is not None and size >= self._rotate.size

    def _period_of(self, seconds: float) -> int | None:
        return None if self._rotate.every is None else int(seconds // self._rotate.every)

    def set_aside(self) -> Path:
        """Give the current file its final name, which is returned."""
        now = time.time()
        path = self._series.following(now)
        self._path.rename(path)
        self._period = self._period_of(now)
        return path

    def settle(self, path: Path) -> None:
        """Another file was begun after `path` was set aside. All results counted so far are in files set
        aside; only after this may any of those go."""
        sync_directory(self._path.parent)
        self._retention.retrying(lambda: self._save(path.name), [self._path])
        self._retention.tidy([self._path])
        if self._compressor is not None:
            self._compressor.wake()

    def make_room(self) -> bool:
        """The disk is full: delete the oldest files, if they may go. Whether any went."""
        return self._retention.make_room([self._path])

    def keep_house(self) -> None:
        """What is to be done now and then."""
        self._retention.tidy_now_and_then([self._path])
        if self._compressor is not None and self._compressor.problem is not None:
            log.warning("%s", self._compressor.problem)
            self._compressor.problem = None

    def stop(self) -> None:
        if self._compressor is not None:
            self._compressor.stop()

    # ---- the positions' own file ---------------------------------------------------------------------------

    def _load(self) -> Stamp | None:
        """Take up the positions; the last file that they cover, None if there are none."""
        try:
            kept = msgspec.json.decode(self._positions.read_bytes(), type=_Positions)
        except FileNotFoundError:
            return None
        except msgspec.DecodeError as error:
            raise StartError(
                f"{self._positions}: damaged ({error}); delete it, and the newest files are read instead"
            ) from error
        self._tallies = Tallies(kept.tallies)
        return self._series.stamp_of(kept.until)

    def _save(self, until: str) -> None:
        draft = self._positions.with_name(self._positions.name + ".new")
        with draft.open("wb") as file:
            file.write(msgspec.json.encode(_Positions(1, until, self._tallies.plain())))
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self._positions)
        sync_directory(self._path.parent)
