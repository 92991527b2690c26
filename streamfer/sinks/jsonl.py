"""Results as JSON Lines: a line per frame and classifier, durable at each flush, resumable after a crash."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from streamfer.api import Position, StreamPlan
from streamfer.errors import StartError
from streamfer.picture import Picture
from streamfer.sinks import JsonlOptions
from streamfer.sinks.files import make_directory, refusal, sync_directory
from streamfer.sinks.record import Tallies, read_record
from streamfer.sinks.rotation import Rotation
from streamfer.types import Result

BUFFER = 1 << 20
"""Bytes held back at most between two flushes."""

LOCK_PATIENCE = 5.0
"""Seconds that a sink waits for its predecessor, told to stop a moment ago, to let go of the file."""


class JsonlSink:
    """Appends results to one file; with `rotate`, sets it aside now and then and begins another."""

    def __init__(self, options: JsonlOptions) -> None:
        self._path = Path(options.path)
        self._rotation = Rotation(self._path, options, options.rotate) if options.rotate else None
        self._encoder = msgspec.json.Encoder()
        self._buffer = bytearray()
        self._size = 0  # of the file, as far as we have written it
        self._fd: int | None = None

    def open(self, streams: Sequence[StreamPlan], *, resume: bool) -> dict[tuple[str, str], Position]:
        make_directory(self._path)
        try:
            self._fd = self._open_file()
            if self._rotation is not None:
                self._size = self._rotation.resume() if resume else self._rotation.anew()
                positions = self._rotation.positions()
            else:
                tallies = Tallies()
                self._size, _ = read_record(self._path, tallies) if resume else (0, None)
                positions = tallies.positions()
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
        deadline = time.monotonic() + LOCK_PATIENCE
        while True:
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
            try:
                if not stat.S_ISREG(os.fstat(fd).st_mode):
                    raise StartError(f"cannot write {self._path}: not a regular file")
                self._lock(fd, deadline)
                if _is_still(self._path, fd):  # not set aside while we waited for the lock
                    return fd
            except BaseException:
                os.close(fd)
                raise
            os.close(fd)

    def _lock(self, fd: int, deadline: float) -> None:
        while True:
            try:
                return fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                if time.monotonic() > deadline:
                    raise StartError(f"cannot write {self._path}: another process is writing it") from error
                time.sleep(0.05)

    def write(self, result: Result, picture: Picture | None) -> None:
        if self._rotation is None:
            self._append(result)
            if len(self._buffer) >= BUFFER:
                self._drain()
            return
        if not self._buffer and self._rotation.is_over(self._size):
            self._rotate(self._rotation, self._opened())
        self._rotation.count(result)
        self._append(result)
        size = self._size + len(self._buffer)
        if self._rotation.is_full(size) or len(self._buffer) >= BUFFER:
            fd = self._drain()
            if self._rotation.is_full(size):
                self._rotate(self._rotation, fd)

    def _append(self, result: Result) -> None:
        self._encoder.encode_into(result, self._buffer, -1)
        self._buffer += b"\n"

    def flush(self) -> None:
        os.fdatasync(self._drain())
        if self._rotation is not None:
            self._rotation.keep_house()

    def _opened(self) -> int:
        if self._fd is None:
            raise OSError(errno.EBADF, "closed after an earlier failure", str(self._path))
        return self._fd

    def _drain(self) -> int:
        """Hand the buffer to the file. If that fails, the file ends with the last line that fits whole."""
        fd = self._opened()
        written, made_room = 0, False
        with memoryview(self._buffer) as view:
            while written < len(view):
                try:
                    written += os.write(fd, view[written:])
                except OSError as error:
                    if not made_room and self._make_room(error):
                        made_room = True
                        continue
                    self._fd = None  # a later write must not leave a gap in the record
                    try:
                        os.ftruncate(fd, self._size + self._buffer.rfind(b"\n", 0, written) + 1)
                    finally:
                        os.close(fd)
                    raise OSError(error.errno, error.strerror, str(self._path)) from error
        self._size += written
        self._buffer.clear()
        return fd

    def _make_room(self, error: OSError) -> bool:
        return error.errno == errno.ENOSPC and self._rotation is not None and self._rotation.make_room()

    def _rotate(self, rotation: Rotation, fd: int) -> None:
        """Set the file aside, all of it durable, and begin another. Nothing is in the buffer."""
        self._fd = None  # until there is another
        try:
            os.fdatasync(fd)
            path = rotation.set_aside()
            self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o666)
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._size = 0
            rotation.settle(path)
        finally:
            os.close(fd)

    def end(self, stream: str) -> None:
        """Nothing to finish: a stream's last line looks like any other."""

    def outputs(self) -> Iterable[str]:
        return [str(self._path)]

    def close(self) -> None:
        try:
            if self._fd is not None and self._buffer:
                self.flush()
        finally:
            self._buffer.clear()
            if self._rotation is not None:
                self._rotation.stop()
            if self._fd is not None:  # last, since it frees the lock
                os.close(self._fd)
                self._fd = None


def _is_still(path: Path, fd: int) -> bool:
    """Whether the file at a path is the one that is open."""
    try:
        return os.path.samestat(path.stat(), os.fstat(fd))
    except FileNotFoundError:
        return False
