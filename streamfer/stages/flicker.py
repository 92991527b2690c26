"""How often the label of a tracked face changes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from streamfer import metrics
from streamfer.types import Face

REMEMBERED = 64
"""Tracks of a stream of which the last label is kept."""
LONGEST_GAP = 1.0
"""Seconds between two frames of a track that still count as one stretch of time."""


class Flicker:
    """Counts the label changes, and the seconds, of the tracks of one stream for one classifier."""

    def __init__(self, stream: str, classifier: str) -> None:
        self._changes = metrics.label_changes.labels(stream, classifier)
        self._seconds = metrics.track_seconds.labels(stream, classifier)
        self._last: OrderedDict[int, tuple[float, str]] = OrderedDict()

    def reset(self) -> None:
        """Tracks begin anew."""
        self._last.clear()

    def update(self, seconds: float | None, faces: Sequence[Face]) -> None:
        """The faces of the next frame, which is `seconds` into the stream; None: that is not known."""
        for face in faces:
            if seconds is None or face.label is None:
                continue
            before = self._last.pop(face.track, None)
            self._last[face.track] = seconds, face.label
            if before is not None and 0 < seconds - before[0] <= LONGEST_GAP:
                self._seconds.inc(seconds - before[0])
                if face.label != before[1]:
                    self._changes.inc()
        while len(self._last) > REMEMBERED:
            self._last.popitem(last=False)
