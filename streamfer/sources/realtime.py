"""Plays a recording as if it were live: each frame when it is due, once or round and round."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import closing

from streamfer.api import SourceFrame

_LATE = 1.0
"""Seconds behind the recording's pace after which what was missed is let go, not made up for in a burst."""
_LONGEST_PAUSE = 2.0
"""Seconds waited for one frame at most, however far its PTS jumps ahead."""


def as_if_live(
    read: Callable[[], Generator[SourceFrame]], frame_time: float, *, loop: bool
) -> Generator[SourceFrame]:
    """The frames of `read()` at the pace of their PTS; with `loop` read again and again, PTS rising on.

    `frame_time` is how long a frame lasts, in seconds, where PTS do not tell: frames without, and the last
    one before the recording begins again.
    """
    timeline = _Timeline(frame_time)
    pace = _Pace()
    while True:
        empty = True
        with closing(read()) as frames:
            for frame in frames:
                empty = False
                due, pts = timeline.place(frame.pts)
                pace.wait(due)
                yield SourceFrame(frame.picture, pts, frame.corrupt)
        if empty or not loop:
            return
        timeline.wrap()


class _Timeline:
    """Where each frame lies in the playing: seconds since the first frame, and its PTS over all passes."""

    def __init__(self, frame_time: float) -> None:
        self._frame_time = frame_time
        self._due = -frame_time
        self._previous: float | None = None
        """PTS in the recording of the frame before, None if it had none or a pass begins."""
        self._highest: float | None = None
        """The highest PTS given out so far."""
        self._shift: float | None = 0.0
        """What the PTS of this pass are raised by; None until its first PTS tells."""

    def place(self, pts: float | None) -> tuple[float, float | None]:
        """When the next frame is due and the PTS to give it, from its PTS in the recording."""
        step = self._frame_time
        if pts is not None and self._previous is not None and pts >= self._previous:
            step = min(pts - self._previous, _LONGEST_PAUSE)
        self._due += step
        self._previous = pts
        if pts is None:
            return self._due, None
        if self._shift is None:
            self._shift = 0.0 if self._highest is None else self._highest + self._frame_time - pts
        raised = round(pts + self._shift, 6)
        self._highest = raised if self._highest is None else max(raised, self._highest)
        return self._due, raised

    def wrap(self) -> None:
        """The recording begins again."""
        self._previous = self._shift = None


class _Pace:
    """Waits until a frame is due, by a clock that starts with the first frame."""

    def __init__(self) -> None:
        self._start: float | None = None

    def wait(self, due: float) -> None:
        """Sleep until `due`, in seconds since the first frame; who comes late by much shifts what follows."""
        now = time.monotonic()
        if self._start is None or now - self._start - due > _LATE:
            self._start = now - due
        time.sleep(max(0.0, self._start + due - now))
