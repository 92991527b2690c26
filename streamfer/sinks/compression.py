"""Compresses finished files in the background, so that writing never waits for it."""

from __future__ import annotations

import gzip
import os
import threading
from pathlib import Path

from streamfer.sinks.files import sync_directory
from streamfer.sinks.stamps import Series

ENDING = ".gz"
UNFINISHED = ".gz.part"
CHUNK = 1 << 18
"""Bytes between two looks at whether to stop."""
NICE = 19
"""Priority of the thread: whatever else wants the processor goes first."""


class Compressor:
    """A thread that compresses whatever of a series is not.

    The compressed file gets its name when it is complete and durable, then the original is deleted: after a
    death in between, both are there, and `sweep` deletes the original. The series is locked in that moment,
    so that a file that was deleted meanwhile does not come back. `problem` is for the main thread to log.
    """

    def __init__(self, series: Series) -> None:
        self._series = series
        self._wake = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="compress", daemon=True)
        self.problem: str | None = None

    def start(self) -> None:
        self._thread.start()
        self.wake()

    def wake(self) -> None:
        """There is something to compress."""
        self._wake.set()

    def stop(self) -> None:
        """End the thread; what it was at is begun anew at the next start."""
        self._stopping = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(timeout=2.0)

    def _run(self) -> None:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)  # on Linux, of this thread alone
        while self._wake.wait():
            self._wake.clear()
            try:
                for one in self._series.files():
                    if one.path.suffix != ENDING:
                        self._compress(one.path)
                    if self._stopping:
                        return
            except OSError as error:  # tried again with the next file
                self.problem = f"cannot compress {error.filename or 'a file'}: {error.strerror}"
            if self._stopping:
                return

    def _compress(self, path: Path) -> None:
        unfinished = path.with_name(path.name + UNFINISHED)
        try:
            with path.open("rb") as source:
                times = os.fstat(source.fileno())
                with unfinished.open("wb") as target:
                    with gzip.GzipFile("", "wb", 6, target, mtime=int(times.st_mtime)) as packed:
                        while chunk := source.read(CHUNK):
                            packed.write(chunk)
                            if self._stopping:
                                break
                    target.flush()
                    os.fsync(target.fileno())
                os.utime(unfinished, ns=(times.st_atime_ns, times.st_mtime_ns))
            with self._series.lock:
                if not self._stopping and path.exists():
                    unfinished.replace(path.with_name(path.name + ENDING))
                    sync_directory(path.parent)
                    path.unlink()
        except FileNotFoundError:
            return  # too old by now: deleted
        finally:
            unfinished.unlink(missing_ok=True)


def sweep(path: Path, series: Series) -> None:
    """Remove what a death while compressing left: half a file, or the original beside the whole."""
    for unfinished in path.parent.glob(f"*{UNFINISHED}"):
        if series.stamp_of(unfinished.name.removesuffix(UNFINISHED)) is not None:
            unfinished.unlink(missing_ok=True)
    names = {one.path.name for one in series.files()}
    for one in series.files():
        if one.path.name + ENDING in names:
            one.path.unlink(missing_ok=True)
