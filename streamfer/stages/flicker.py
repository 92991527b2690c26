"""How often the label of a tracked face changes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from prometheus_client import Counter

from streamfer.types import Answer, Face

REMEMBERED = 64
"""Tracks of a stream of which the last label is kept."""
LONGEST_GAP = 1.0
"""Seconds between two frames of a track that still count as one stretch of time."""


class Flicker:
    """Counts the label changes, and the seconds, of the tracks of one stream for one classifier in these
    counters; `seconds` is None where another counts them."""

    def __init__(self, changes: Counter, seconds: Counter | None, stream: str, classifier: str) -> None:
        self._changes = changes.labels(stream, classifier)
        self._seconds = seconds.labels(stream, classifier) if seconds else None
        self._last: OrderedDict[int, tuple[float, str]] = OrderedDict()

    def reset(self) -> None:
        """Tracks begin anew."""
        self._last.clear()

    def update(self, seconds: float | None, faces: Sequence[Face], *, raw: bool = False) -> None:
        """The faces of the next frame, which is `seconds` into the stream; None: that is not known. `raw`:
        their labels before they were smoothed count."""
        for face in faces:
            label = face.label
            if raw and isinstance(face.raw, Answer):
                label = face.raw.label
            if seconds is None or label is None:
                continue
            before = self._last.pop(face.track, None)
            self._last[face.track] = seconds, label
            if before is not None and 0 < seconds - before[0] <= LONGEST_GAP:
                if self._seconds is not None:
                    self._seconds.inc(seconds - before[0])
                if label != before[1]:
                    self._changes.inc()
        while len(self._last) > REMEMBERED:
            self._last.popitem(last=False)
