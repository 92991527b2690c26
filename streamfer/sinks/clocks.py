"""When the frames of a video are shown."""

from __future__ import annotations

from streamfer.sinks.mp4 import TICKS

DRIFT = 1.0
"""Seconds that a live source's own clock may be off the time of capture before it counts as changed."""


class TrueTime:
    """The Unix time of a live stream's frames: their distances are the source's own, which are more even than
    the times of capture, and the whole never leaves those by more than `DRIFT`."""

    def __init__(self) -> None:
        self._epoch = 0
        self._offset: float | None = None  # from the source's clock to Unix time

    def seconds(self, pts: float | None, time: float, epoch: int) -> float:
        """When a frame was seen, of a frame with this PTS (None: unknown) captured at this time."""
        if pts is None:
            return time
        if self._offset is None or epoch != self._epoch or abs(pts + self._offset - time) > DRIFT:
            self._epoch, self._offset = epoch, time - pts
        return pts + self._offset


class Clock:
    """Timestamps of one file, in ticks: the source's own, made to rise."""

    def __init__(self) -> None:
        self._epoch = 0
        self._offset: float | None = None  # seconds from the source's clock to the file's
        self._last = -1
        self._step = TICKS // 30

    def ticks(self, pts: float | None, epoch: int) -> int:
        """When the next frame is shown. The first is shown at 0.

        A frame without a PTS follows at the distance of the frames before it, and so does the first frame
        after a reconnect or a jump backwards. A frame only slightly out of order is shown at once.
        """
        following = 0 if self._last < 0 else self._last + self._step
        if pts is None:
            now = following
        else:
            if self._offset is None or epoch != self._epoch or pts + self._offset < self._last / TICKS - 1.0:
                self._offset = following / TICKS - pts
            now = max(round((pts + self._offset) * TICKS), self._last + 1)
            if 1 < now - self._last < TICKS:
                self._step = now - self._last
        self._epoch, self._last = epoch, now
        return now
