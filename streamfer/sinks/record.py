"""Reads a JSON Lines record back: how far it goes, and which part of it is sound."""

from __future__ import annotations

import gzip
import os
from pathlib import Path
from typing import BinaryIO, Literal, cast

import msgspec

from streamfer.api import Position
from streamfer.errors import StartError
from streamfer.types import Result

BUFFER = 1 << 20
"""Bytes read at once."""


class _Face(msgspec.Struct, gc=False):
    track: int


class _Line(msgspec.Struct, gc=False):
    """The part of a result that a position is made of."""

    v: Literal[1]
    stream: str
    epoch: int
    seq: int
    classifier: str
    time: float | None
    faces: list[_Face]
    dropped: str | msgspec.UnsetType = msgspec.UNSET


class Tally(msgspec.Struct):
    """The position of one (stream, classifier) in the making, as a plain record that can be stored."""

    stream: str
    classifier: str
    epoch: int = 0
    seq: int = -1
    delivered: int = 0
    dropped: dict[str, int] = {}
    last_track: int = 0

    def add(self, line: _Line | Result) -> bool:
        """Count one line; false if it does not follow the one before it."""
        if line.time is None:  # a recording: every frame is on record
            follows = line.seq == self.seq + 1
        else:
            follows = line.epoch > self.epoch or (line.epoch == self.epoch and line.seq > self.seq)
        self.epoch, self.seq = line.epoch, line.seq
        if line.dropped is msgspec.UNSET:
            self.delivered += 1
        else:
            self.dropped[line.dropped] = self.dropped.get(line.dropped, 0) + 1
        for face in line.faces:
            if face.track > self.last_track:
                self.last_track = face.track
        return follows

    def position(self) -> Position:
        return Position(self.seq, self.delivered, dict(self.dropped), self.last_track, self.epoch)


class Tallies:
    """How far a record goes, by (stream, classifier), over one file or several."""

    def __init__(self, known: list[Tally] | None = None) -> None:
        self._all = {(one.stream, one.classifier): one for one in known or ()}

    def add(self, line: _Line | Result) -> bool:
        """Count one line; false if it does not follow the one before it."""
        key = line.stream, line.classifier
        tally = self._all.get(key)
        if tally is None:
            tally = self._all[key] = Tally(line.stream, line.classifier)
        return tally.add(line)

    def last(self, stream: str, classifier: str) -> int:
        """The last frame counted; -1 if there is none."""
        tally = self._all.get((stream, classifier))
        return -1 if tally is None else tally.seq

    def plain(self) -> list[Tally]:
        return list(self._all.values())

    def positions(self) -> dict[tuple[str, str], Position]:
        return {key: tally.position() for key, tally in self._all.items()}


def read_record(path: Path, tallies: Tallies) -> tuple[int, float | None]:
    """Count a file's lines. The length in bytes of its sound part, and the `time` of its first line.

    Cut off is only a torn last line: one without its newline, or one that is no JSON. Anything else that is
    not a result, or that does not follow the line before it, raises `StartError` with its line number.
    """
    decode = msgspec.json.Decoder(_Line).decode
    sound, began = 0, None
    with _opened(path) as file:
        size = _size(file)
        for number, raw in enumerate(file, 1):
            last = sound + len(raw) >= size
            if last and not raw.endswith(b"\n"):
                _check_ours(path, raw, number)
                break
            try:
                line = decode(raw)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                if _is_json(raw):
                    raise StartError(f"{path}:{number}: not a result of this version ({error})") from error
                if not last:
                    raise StartError(f"{path}:{number}: damaged line ({error}); cannot resume") from error
                _check_ours(path, raw, number)
                break
            before = tallies.last(line.stream, line.classifier)
            if not tallies.add(line):
                which = f"frame {line.seq} of {line.stream}/{line.classifier}"
                raise StartError(f"{path}:{number}: {which} follows frame {before}; cannot resume")
            if number == 1:
                began = line.time
            sound += len(raw)
    return sound, began


def _opened(path: Path) -> BinaryIO:
    if path.suffix == ".gz":
        return cast(BinaryIO, gzip.open(path, "rb"))
    return path.open("rb", buffering=BUFFER)


def _size(file: BinaryIO) -> int:
    """Bytes to be read; of a compressed file, too, which then is read twice."""
    if isinstance(file, gzip.GzipFile):
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        return size
    return os.fstat(file.fileno()).st_size


def _is_json(line: bytes) -> bool:
    try:
        msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False
    return True


def _check_ours(path: Path, torn: bytes, number: int) -> None:
    """Refuse to cut the only line of a file that was never ours (a power cut may leave NULs in ours)."""
    if number == 1 and torn.strip(b"\0") and not torn.startswith(b"{"):
        raise StartError(f"{path}:1: not a result; cannot resume")
