"""Names of finished files that tell their age: results-20261121T103000Z.jsonl, in UTC."""

from __future__ import annotations

import calendar
import os
import re
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

_FORMAT = "%Y%m%dT%H%M%SZ"
_PATTERN = r"([0-9]{8}T[0-9]{6}Z)(?:_([0-9]{3}))?"
_MOST = 999


@dataclass(frozen=True, order=True)
class Stamp:
    """A second (Unix time), and which of the files that fell into it. "_" sorts behind ".", so that the order
    of the names is that of the stamps."""

    second: int
    number: int = 0

    def __str__(self) -> str:
        name = time.strftime(_FORMAT, time.gmtime(self.second))
        return f"{name}_{self.number:03d}" if self.number else name

    def next(self) -> Stamp:
        """The earliest that sorts behind this one."""
        return Stamp(self.second, self.number + 1) if self.number < _MOST else Stamp(self.second + 1)


@dataclass(frozen=True, order=True)
class Finished:
    """A finished file of a series; oldest first when sorted. `size` in bytes."""

    stamp: Stamp
    path: Path
    size: int = field(compare=False)
    series: Series = field(compare=False, repr=False)

    def delete(self) -> None:
        """Delete it, if it is still there."""
        with self.series.lock:
            self.path.unlink(missing_ok=True)


class Series:
    """The finished files that belong to one path: STEM-STAMP.SUFFIX beside it, with one of some endings.

    Whoever gives a file another name or deletes it holds `lock` meanwhile: else a listing could miss the file
    under its old name and under the new one, and its stamp would be given away a second time.
    """

    def __init__(self, path: Path, endings: Sequence[str] = ("",)) -> None:
        self.lock = threading.Lock()
        self._path = path
        tail = "|".join(re.escape(path.suffix + ending) for ending in endings)
        self._name = re.compile(rf"{re.escape(path.stem)}-{_PATTERN}(?:{tail})", re.ASCII)

    def stamp_of(self, name: str) -> Stamp | None:
        """The stamp in a file's name; None if it is not of this series."""
        match = self._name.fullmatch(name)
        if match is None:
            return None
        try:
            second = calendar.timegm(time.strptime(match[1], _FORMAT))
        except ValueError:  # such as a 13th month
            return None
        return Stamp(second, int(match[2] or 0))

    def files(self) -> list[Finished]:
        """What is there, oldest first."""
        found = []
        with self.lock, os.scandir(self._path.parent) as entries:
            for entry in entries:
                stamp = self.stamp_of(entry.name)
                if stamp is None:
                    continue
                try:
                    if entry.is_file(follow_symlinks=False):
                        size = entry.stat(follow_symlinks=False).st_size
                        found.append(Finished(stamp, self._path.with_name(entry.name), size, self))
                except FileNotFoundError:  # deleted in this moment, by somebody else
                    continue
        return sorted(found)

    def following(self, now: float) -> Path:
        """A name for the file that is next, behind all there are, also after the clock was set back."""
        stamp = Stamp(int(now))
        if (files := self.files()) and files[-1].stamp >= stamp:
            stamp = files[-1].stamp.next()
        return self._path.with_name(f"{self._path.stem}-{stamp}{self._path.suffix}")
