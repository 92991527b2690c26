"""A live stream's video in files of limited length, the oldest of which are deleted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from streamfer.errors import FatalError
from streamfer.sinks import VideoOptions
from streamfer.sinks.mp4 import TICKS, Mp4Writer, is_ours
from streamfer.sinks.retention import Retention
from streamfer.sinks.stamps import Series
from streamfer.types import Result

SET_BACK = 1.0
"""Seconds that the time of frames may run backwards before another file is begun."""

PAUSE = 3600.0
"""Seconds without a frame after which another is begun: an MP4 cannot show one frame for a day."""


class Segments:
    """When the next file of one stream begins, and what it is called. `growing` are the files being written,
    of all streams of the sink."""

    def __init__(self, path: Path, options: VideoOptions, retention: Retention, growing: set[Path]) -> None:
        self._path = path
        self._options = options
        self._series = Series(path)
        self._retention = retention
        self._growing = growing
        self._current: Path | None = None
        self._began = 0.0
        self._last = 0.0
        self._last_ticks = -1

    def check(self, result: Result) -> None:
        """Refuse recordings: their frames have no time to name a file by."""
        if result.time is None:
            raise FatalError(
                f"{self._path}: segments are for live streams, and {result.stream} is a recording: remove "
                "segment and segment_size from this sink"
            )

    def is_over(self, writer: Mp4Writer, size: tuple[int, int], seconds: float) -> bool:
        """Whether a frame of this size and Unix time belongs to another file."""
        options = self._options
        return (
            size != (writer.width, writer.height)
            or not self._last - SET_BACK <= seconds <= self._last + PAUSE
            or (options.segment_size is not None and writer.size >= options.segment_size)
            or (options.segment is not None and self._began // options.segment != seconds // options.segment)
        )

    def begin(self, seconds: float) -> Path:
        """The name of a file whose first frame has this Unix time."""
        if self._current is not None:
            self._growing.discard(self._current)
        self._current = self._series.following(seconds)
        self._growing.add(self._current)
        self._began, self._last, self._last_ticks = seconds, seconds, -1
        return self._current

    def ticks(self, seconds: float) -> int:
        """When a frame of this Unix time is shown in the current file."""
        self._last = seconds
        self._last_ticks = max(round((seconds - self._began) * TICKS), self._last_ticks + 1)
        return self._last_ticks

    def keep_house(self) -> None:
        """Delete what need not be kept."""
        self._retention.tidy(self._growing)

    def keep_house_now_and_then(self) -> None:
        self._retention.tidy_now_and_then(self._growing)

    def make_room(self) -> bool:
        """The disk is full: delete the oldest files, if they may go. Whether any went."""
        return self._retention.make_room(self._growing)


def retention_of(options: VideoOptions, paths: Sequence[Path]) -> Retention:
    """What keeps house among the segments of some streams."""
    return Retention(options.keep, [Series(path) for path in paths], _is_segment)


def _is_segment(path: Path) -> bool:
    """Whether a file with a segment's name is ours. One that was killed in its first second is empty."""
    return path.stat().st_size == 0 or is_ours(path)
