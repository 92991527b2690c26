"""Results as JSON Lines: a line per frame and classifier, durable at each flush, resumable after a crash."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

import msgspec

from streamfer.api import Position, StreamPlan
from streamfer.errors import StartError
from streamfer.picture import Picture
from streamfer.sinks import JsonlOptions
from streamfer.sinks.files import make_directory, refusal, sync_directory
from streamfer.types import Result

BUFFER = 1 << 20
"""Bytes held back at most between two flushes."""

LOCK_PATIENCE = 5.0
"""Seconds that a sink waits for its predecessor, told to stop a moment ago, to let go of the file."""


class JsonlSink:
    """Appends results to one file."""

    def __init__(self, options: JsonlOptions) -> None:
        self._path = Path(options.path)
        self._encoder = msgspec.json.Encoder()
        self._buffer = bytearray()
        self._size = 0  # of the file, as far as we have written it
        self._fd: int | None = None

    def open(self, streams: Sequence[StreamPlan], *, resume: bool) -> dict[tuple[str, str], Position]:
        make_directory(self._path)
        try:
            self._fd = self._open_file()
            if resume:
                positions, self._size = read_positions(self._path)
            else:
                positions, self._size = {}, 0
            os.ftruncate(self._fd, self._size)
            os.fsync(self._fd)
            sync_directory(self._path.parent)
        except OSError as error:
            self.close()
            raise refusal(self._path, error) from error
        except StartError:
            self.close()
            raise
        return positions

    def _open_file(self) -> int:
        """Open and lock the file, so that two sinks never write between each other's lines."""
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise StartError(f"cannot write {self._path}: not a regular file")
        deadline = time.monotonic() + LOCK_PATIENCE
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                if time.monotonic() > deadline:
                    os.close(fd)
                    raise StartError(f"cannot write {self._path}: another process is writing it") from error
                time.sleep(0.05)
            else:
                return fd

    def write(self, result: Result, picture: Picture | None) -> None:
        self._encoder.encode_into(result, self._buffer, -1)
        self._buffer += b"\n"
        if len(self._buffer) >= BUFFER:
            self._drain()

    def flush(self) -> None:
        fd = self._drain()
        os.fdatasync(fd)

    def _drain(self) -> int:
        """Hand the buffer to the file. If that fails, the file ends with the last line that fits whole."""
        if self._fd is None:
            raise OSError(errno.EBADF, "closed after an earlier failure", str(self._path))
        written = 0
        try:
            with memoryview(self._buffer) as view:
                while written < len(view):
                    written += os.write(self._fd, view[written:])
        except OSError as error:
            whole = self._buffer.rfind(b"\n", 0, written) + 1
            fd, self._fd = self._fd, None  # a later write must not leave a gap in the record
            self._buffer.clear()
            try:
                os.ftruncate(fd, self._size + whole)
            finally:
                os.close(fd)
            raise OSError(error.errno, error.strerror, str(self._path)) from error
        self._size += written
        self._buffer.clear()
        return self._fd

    def end(self, stream: str) -> None:
        """Nothing to finish: a stream's last line looks like any other."""

    def outputs(self) -> Iterable[str]:
        return [str(self._path)]

    def close(self) -> None:
        if self._fd is None:
            return
        try:
            if self._buffer:
                self.flush()
        finally:
            if self._fd is not None:
                os.close(self._fd)
                self._fd = None


# ---- reading back ------------------------------------------------------------------------------------------


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
    dropped: str | None = None


class _Tally:
    """A Position in the making."""

    __slots__ = ("delivered", "dropped", "epoch", "last_track", "seq")

    def __init__(self) -> None:
        self.epoch = 0
        self.seq = -1
        self.delivered = 0
        self.dropped: dict[str, int] = {}
        self.last_track = 0

    def add(self, line: _Line) -> bool:
        """Count one line; false if it does not follow the one before it."""
        if line.time is None:  # a recording: every frame is on record
            follows = line.seq == self.seq + 1
        else:
            follows = line.epoch > self.epoch or (line.epoch == self.epoch and line.seq > self.seq)
        self.epoch, self.seq = line.epoch, line.seq
        if line.dropped is None:
            self.delivered += 1
        else:
            self.dropped[line.dropped] = self.dropped.get(line.dropped, 0) + 1
        for face in line.faces:
            if face.track > self.last_track:
                self.last_track = face.track
        return follows


def read_positions(path: Path) -> tuple[dict[tuple[str, str], Position], int]:
    """How far the record in a file goes, and the length in bytes of its sound part.

    Cut off is only a torn last line: one without its newline, or one that is no JSON. Anything else that is
    not a result, or that does not follow the line before it, raises `StartError` with its line number.
    """
    decode = msgspec.json.Decoder(_Line).decode
    tallies: dict[tuple[str, str], _Tally] = {}
    sound = 0
    with path.open("rb", buffering=BUFFER) as file:
        size = os.fstat(file.fileno()).st_size
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
            key = line.stream, line.classifier
            tally = tallies.get(key)
            if tally is None:
                tally = tallies[key] = _Tally()
            before = tally.seq
            if not tally.add(line):
                which = f"frame {line.seq} of {line.stream}/{line.classifier}"
                raise StartError(f"{path}:{number}: {which} follows frame {before}; cannot resume")
            sound += len(raw)
    return {
        key: Position(tally.seq, tally.delivered, tally.dropped, tally.last_track)
        for key, tally in tallies.items()
    }, sound


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
