"""The even clock of a live stream: source PTS where they can be believed, arrival times where not."""

from __future__ import annotations

JUMP = 1.0
"""Seconds that PTS may run ahead of real time, or backwards, before the source's clock counts as changed."""
_LEAST = 0.001
"""Seconds between two frames at the least. PTS run backwards a little where a server gives B-frames' so,
though the frames are in order."""


class StreamClock:
    """Seconds that always rise, from 0."""

    def __init__(self) -> None:
        self._seconds = 0.0
        self._pts: float | None = None
        self._arrival: float | None = None

    def restart(self) -> None:
        """A new connection: the next PTS has nothing to do with the last."""
        self._pts = None

    def tick(self, pts: float | None, arrival: float) -> tuple[float, bool]:
        """The next frame's time, and whether the source's clock has jumped.

        `pts` is in seconds on the source's clock (None: unknown), `arrival` on our monotonic one. A frame
        that comes late is no jump; a PTS ahead of the time that has passed is one, and so is one far behind.
        """
        if self._arrival is None:
            self._pts, self._arrival = pts, arrival
            return self._seconds, False
        passed = max(arrival - self._arrival, _LEAST)
        step, jumped = passed, False
        if pts is not None and self._pts is not None:
            ahead = pts - self._pts
            if 0 < ahead <= passed + JUMP:
                step = max(ahead, _LEAST)
            elif -JUMP < ahead <= 0:
                step = _LEAST
            else:
                jumped = True
        if pts is not None:
            self._pts = pts if self._pts is None or jumped else max(pts, self._pts)
        self._arrival = arrival
        self._seconds += step
        return self._seconds, jumped
