"""The ring of frames in shared memory: one writer, many readers, no name to leak.

The ring is an unnamed file in /dev/shm (O_TMPFILE). Readers of the same user open it through
/proc/PID/fd/N of its owner, so that the memory goes away with the last process that maps it, whatever killed
them, and no segment of a dead run is ever left behind. A plain mmap is used because
`multiprocessing.shared_memory` registers each attach with a resource tracker that unlinks live segments.

Layout: a page of header (magic, version, nonce, slots, slot bytes, a generation per slot), then the slots. A
slot's generation is odd while it is being written and even (and new) afterwards, so that a reader can tell
that a slot was overwritten under it.
"""

from __future__ import annotations

import errno
import mmap
import os
import re
import secrets
import struct
from collections import OrderedDict

import numpy as np
from numpy.typing import NDArray

from streamfer.errors import StartError
from streamfer.picture import Picture, i420_size, view_i420, write_i420
from streamfer.wire import SlotRef

DEFAULT_DIRECTORY = "/dev/shm"
HEADER = 4096
MAX_SLOTS = (HEADER - 64) // 8
_FIXED = struct.Struct("<8sIIQQQ")  # magic, version, -, nonce, slots, slot bytes
_MAGIC = b"sfring\x00\x01"
Generations = NDArray[np.uint64]
_PATH = re.compile(r"/proc/[1-9][0-9]*/fd/[0-9]+")


def choose_slots(width: int, height: int, *, budget: int = 64 * 1024 * 1024) -> int:
    """Slots of a ring for this frame size: as many as fit `budget` bytes, between 8 and 32."""
    return max(8, min(32, budget // max(1, i420_size(width, height))))


class Ring:
    """The writer's side; owned by capture."""

    def __init__(self, width: int, height: int, slots: int, directory: str = DEFAULT_DIRECTORY) -> None:
        if not 1 <= slots <= MAX_SLOTS:
            raise ValueError(f"a ring has 1 to {MAX_SLOTS} slots, not {slots}")
        self.width, self.height, self.slots = width, height, slots
        self._slot_bytes = -(-i420_size(width, height) // 4096) * 4096
        self.size = HEADER + slots * self._slot_bytes
        try:
            self._fd = os.open(directory, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StartError(f"{directory}: no shared memory there: {error.strerror}") from error
        try:
            os.posix_fallocate(self._fd, 0, self.size)  # without it a full tmpfs would kill with SIGBUS later
            self._memory = mmap.mmap(self._fd, self.size)
        except OSError as error:
            os.close(self._fd)
            if error.errno not in (errno.ENOSPC, errno.ENOMEM):
                raise StartError(f"{directory}: no shared memory to be had: {error.strerror}") from error
            free = os.statvfs(directory)
            raise StartError(
                f"{directory}: {slots} frames of {width}×{height} need {self.size / 1e6:.1f} MB, "
                f"{free.f_bavail * free.f_frsize / 1e6:.1f} MB are free: enlarge it "
                "(mount -o remount,size=…; docker run --shm-size=…)"
            ) from error
        self._nonce = secrets.randbits(63)
        _FIXED.pack_into(self._memory, 0, _MAGIC, 1, 0, self._nonce, slots, self._slot_bytes)
        self._generations = np.frombuffer(self._memory, np.uint64, slots, 64)
        self.path = f"/proc/{os.getpid()}/fd/{self._fd}"

    def write(self, slot: int, picture: Picture) -> SlotRef:
        """Copy a picture of the ring's size into a slot: the one write a frame gets."""
        generation = int(self._generations[slot]) + 1
        self._generations[slot] = generation
        write_i420(picture, self._memory, HEADER + slot * self._slot_bytes)
        self._generations[slot] = generation + 1
        return SlotRef(
            self.path, self._nonce, slot, generation + 1, self.width, self.height, picture.full_range
        )

    def close(self) -> None:
        """Give the memory up; readers that have it mapped keep it."""
        os.close(self._fd)


class RingReader:
    """The readers' side: maps rings as they are named, forgets the oldest."""

    def __init__(self, keep: int = 16) -> None:
        self._keep = keep
        self._maps: OrderedDict[tuple[str, int], tuple[mmap.mmap, int, Generations]] = OrderedDict()

    def view(self, ref: SlotRef) -> Picture | None:
        """The picture in a slot, without a copy; None if the slot has moved on or the ring is gone."""
        ring = self._ring(ref)
        if ring is None:
            return None
        memory, slot_bytes, generations = ring
        if (
            not 0 <= ref.slot < len(generations)
            or min(ref.width, ref.height) < 1
            or i420_size(ref.width, ref.height) > slot_bytes
            or generations[ref.slot] != ref.generation
        ):
            return None
        offset = HEADER + ref.slot * slot_bytes
        return view_i420(memory, ref.width, ref.height, full_range=ref.full_range, offset=offset)

    def is_current(self, ref: SlotRef) -> bool:
        """Whether what was viewed is still what the slot holds; ask after reading."""
        ring = self._maps.get((ref.ring, ref.nonce))
        return ring is not None and bool(ring[2][ref.slot] == ref.generation)

    def _ring(self, ref: SlotRef) -> tuple[mmap.mmap, int, Generations] | None:
        key = (ref.ring, ref.nonce)
        found = self._maps.get(key)
        if found is not None:
            return found
        if not _PATH.fullmatch(ref.ring):
            return None
        try:
            # Without waiting, should the path be that of a pipe.
            fd = os.open(ref.ring, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError:
            return None  # the owner is gone; a recording's frames are sent again by its successor
        try:
            memory = mmap.mmap(fd, 0, prot=mmap.PROT_READ)
        except (OSError, ValueError):
            return None
        finally:
            os.close(fd)
        if len(memory) < HEADER:
            return None
        magic, version, _, nonce, slots, slot_bytes = _FIXED.unpack_from(memory, 0)
        if (magic, version, nonce) != (_MAGIC, 1, ref.nonce) or slots > MAX_SLOTS:
            return None
        if len(memory) < HEADER + slots * slot_bytes:
            return None
        # The arrays keep the mmap alive: one that goes out of scope under a view would kill the process.
        self._maps[key] = (memory, slot_bytes, np.frombuffer(memory, np.uint64, slots, 64))
        while len(self._maps) > self._keep:
            self._maps.popitem(last=False)
        return self._maps[key]


class Tally:
    """How far a live stream's capture is: the next frame's `seq`, the `epoch`, when the newest frame came.

    A small file that capture and supervisor map. What stands there survives the death of the capture, however
    sudden, so that its successor goes on exactly behind it and no frame is counted twice or not at all.
    """

    _LAYOUT = struct.Struct("<qqd")

    def __init__(self, path: str, *, create: bool = False) -> None:
        flags = os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT | os.O_EXCL if create else 0)
        fd = os.open(path, flags, 0o600)
        try:
            if create:
                os.posix_fallocate(fd, 0, self._LAYOUT.size)
            self._memory = mmap.mmap(fd, self._LAYOUT.size)
        finally:
            os.close(fd)

    def write(self, seq: int, epoch: int, time: float) -> None:
        """Note the next frame's number, the epoch, and the newest frame's Unix time (0: none yet)."""
        self._LAYOUT.pack_into(self._memory, 0, seq, epoch, time)

    def read(self) -> tuple[int, int, float]:
        """The same three."""
        seq, epoch, time = self._LAYOUT.unpack_from(self._memory, 0)
        return seq, epoch, time
