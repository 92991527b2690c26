"""Annotated MP4s: one per stream, playable also if the sink dies in the middle."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryFile
from urllib.parse import quote

from streamfer.api import Position, StreamPlan
from streamfer.picture import Picture
from streamfer.sinks import VideoOptions
from streamfer.sinks.clocks import Clock, TrueTime
from streamfer.sinks.files import make_directory, refusal
from streamfer.sinks.mp4 import TICKS, Canvas, Mp4Writer, canvas_of, encoder, is_ours, padded
from streamfer.sinks.overlay import GRAY, Mark, draw, pixelate, track_colour
from streamfer.sinks.segments import Segments, retention_of
from streamfer.types import Face, Result

log = logging.getLogger(__name__)

PENDING_BYTES = 64 << 20
"""Pixels held at most per stream while the slower of several classifiers catches up."""

LINGER = 1.0
"""Seconds for which the place of a face stays hidden after the detector last saw it there."""

Name = tuple[int, int]
"""A frame's (epoch, seq)."""


@dataclass
class _Frame:
    """A frame that waits for its labels."""

    canvas: Canvas
    pts: float | None
    time: float | None
    results: list[Result] = field(default_factory=list)


class VideoSink:
    """Draws results on their frames and encodes them."""

    def __init__(self, options: VideoOptions) -> None:
        self._options = options
        self._recordings: dict[str, _Recording] = {}
        self._outputs: list[Path] = []
        self._failed = False

    def open(self, streams: Sequence[StreamPlan], *, resume: bool) -> dict[tuple[str, str], Position]:
        base = Path(self._options.path)
        make_directory(base)
        codec = encoder(self._options.codec)
        if codec != self._options.codec:
            log.warning(
                "this FFmpeg has no %s; the annotated video is encoded with %s", self._options.codec, codec
            )
        try:
            with TemporaryFile(dir=base.parent):
                pass  # the directory can be written; the files themselves begin with their first frame
            if self._options.segment is None and self._options.segment_size is None:
                self._open_files(base, streams, codec, resume=resume)
            else:
                self._open_segments(base, streams, codec)
        except OSError as error:
            raise refusal(base, error) from error
        return {}

    def _open_files(self, base: Path, streams: Sequence[StreamPlan], codec: str, *, resume: bool) -> None:
        names = {plan.name: file_name(base, plan.name, several=len(streams) > 1) for plan in streams}
        for plan in streams:
            earlier, fresh = parts(names[plan.name], set(names.values()))
            if resume:
                self._outputs += earlier
            else:
                fresh = names[plan.name]
                for path in earlier:
                    if path == fresh or is_ours(path):
                        path.unlink()
            self._outputs.append(fresh)
            self._recordings[plan.name] = _Recording(fresh, codec, plan.classifiers, self._options)

    def _open_segments(self, base: Path, streams: Sequence[StreamPlan], codec: str) -> None:
        bases = {plan.name: file_name(base, plan.name, several=True) for plan in streams}
        retention = retention_of(self._options, list(bases.values()))
        growing: set[Path] = set()
        for plan in streams:
            path = bases[plan.name]
            segments = Segments(path, self._options, retention, growing)
            self._outputs.append(path.with_name(f"{path.stem}-*{path.suffix}"))
            self._recordings[plan.name] = _Recording(path, codec, plan.classifiers, self._options, segments)
        retention.tidy(growing)

    def write(self, result: Result, picture: Picture | None) -> None:
        try:
            self._recordings[result.stream].take(result, picture)
        except OSError:
            self._failed = True
            raise

    def flush(self) -> None:
        """Nothing to do: the file grows by a fragment each second."""

    def end(self, stream: str) -> None:
        try:
            self._recordings[stream].close()
        except OSError:
            self._failed = True
            raise

    def outputs(self) -> Iterable[str]:
        return [str(path) for path in self._outputs]

    def close(self) -> None:
        errors: list[OSError] = []
        for recording in self._recordings.values():
            try:
                recording.close()
            except OSError as error:
                errors.append(error)
        self._recordings.clear()
        if errors and not self._failed:
            raise errors[0]


class _Recording:
    """One stream's video: gathers each frame's results, draws them, hands the frame to the encoder."""

    def __init__(
        self,
        path: Path,
        codec: str,
        classifiers: Sequence[str],
        options: VideoOptions,
        segments: Segments | None = None,
    ) -> None:
        self._path = path
        self._codec = codec
        self._options = options
        self._segments = segments
        self._several = len(classifiers) > 1
        self._reached: dict[str, Name] = dict.fromkeys(classifiers, (-1, -1))
        self._encoded: Name = (-1, -1)
        self._waiting: OrderedDict[Name, _Frame] = OrderedDict()
        self._clock = Clock()
        self._true_time = TrueTime()
        self._hidden: dict[int, _Seen] = {}
        self._size: tuple[int, int] | None = None
        self._writer: Mp4Writer | None = None
        self._closed = False

    def take(self, result: Result, picture: Picture | None) -> None:
        name = result.epoch, result.seq
        self._reached[result.classifier] = name
        if self._segments is not None:
            self._segments.check(result)
            self._segments.keep_house_now_and_then()
        if picture is not None and name > self._encoded:
            frame = self._waiting.get(name)
            if frame is None:
                if self._size is None or self._segments is not None:
                    self._size = padded(picture)
                canvas = canvas_of(picture, *self._size)
                frame = self._waiting[name] = _Frame(canvas, result.pts, result.time)
            frame.results.append(result)
        # Results of one classifier come in order: a frame that all have reached gets no more labels.
        everywhere = min(self._reached.values())
        while self._waiting:
            oldest = next(iter(self._waiting))
            if oldest > everywhere and not self._full():
                break
            self._encode(oldest, self._waiting.pop(oldest))

    def _full(self) -> bool:
        if self._size is None:
            return False
        size = self._size[0] * self._size[1] * 3 // 2
        return len(self._waiting) > max(2, PENDING_BYTES // size)

    def _encode(self, name: Name, frame: _Frame) -> None:
        self._encoded = name
        seconds = frame.pts
        if frame.time is not None:
            seconds = self._true_time.seconds(frame.pts, frame.time, name[0])
        try:
            writer, ticks = self._place(name, frame, seconds)
            if self._options.blur:
                self._hide(frame, ticks / TICKS if frame.time is None or seconds is None else seconds)
            draw(frame.canvas.picture, marks(frame.canvas, frame.results, several=self._several))
            writer.encode(frame.canvas, ticks)
        except OSError:
            self._closed = True
            self._waiting.clear()
            raise

    def _place(self, name: Name, frame: _Frame, seconds: float | None) -> tuple[Mp4Writer, int]:
        """The file that a frame belongs to, and when it is shown there."""
        size = frame.canvas.picture.width, frame.canvas.picture.height
        if self._segments is None or seconds is None:
            if self._writer is None:
                self._writer = Mp4Writer(self._path, self._codec, self._options.crf, *size)
            return self._writer, self._clock.ticks(seconds, name[0])
        if self._writer is not None and self._segments.is_over(self._writer, size, seconds):
            writer, self._writer = self._writer, None
            writer.close()
        if self._writer is None:
            path = self._segments.begin(seconds)
            make_room = self._segments.make_room
            self._writer = Mp4Writer(path, self._codec, self._options.crf, *size, make_room)
            self._segments.keep_house()
        return self._writer, self._segments.ticks(seconds)

    def close(self) -> None:
        """Encode what still waits, and finish the file."""
        while self._waiting:
            name, frame = self._waiting.popitem(last=False)
            self._encode(name, frame)
        if self._writer is not None and not self._closed:
            self._closed = True
            self._writer.close()

    def _hide(self, frame: _Frame, seconds: float) -> None:
        """Pixelate the faces of this frame, and the places where faces were a moment ago."""
        canvas = frame.canvas
        for result in frame.results:
            for face in result.faces:
                self._hidden[face.track] = _Seen(seconds, face.box, canvas.source)
        self._hidden = {
            track: replace(one, seconds=min(one.seconds, seconds))  # the clock may have been set back
            for track, one in self._hidden.items()
            if seconds - one.seconds <= LINGER
        }
        for one in self._hidden.values():
            pixelate(canvas.picture, canvas.place(one.box_in(canvas.source)))


@dataclass(frozen=True)
class _Seen:
    """Where a face was last seen, in pixels of a source frame of this width and height."""

    seconds: float
    box: tuple[float, float, float, float]
    size: tuple[int, int]

    def box_in(self, size: tuple[int, int]) -> tuple[float, float, float, float]:
        """The same place in a frame of another size."""
        if size == self.size:
            return self.box
        across, down = size[0] / self.size[0], size[1] / self.size[1]
        x, y, w, h = self.box
        return x * across, y * down, w * across, h * down


def marks(canvas: Canvas, results: Sequence[Result], *, several: bool) -> list[Mark]:
    """What to draw on a frame: one mark per track, with a line per classifier that gave it a label."""
    faces: dict[int, list[tuple[str, Face]]] = {}
    for result in results:
        for face in result.faces:
            faces.setdefault(face.track, []).append((result.classifier, face))
    return [
        Mark(
            canvas.place(seen[0][1].box),
            lines(track, seen, several=several),
            track_colour(track) if any(face.label is not None for _, face in seen) else GRAY,
        )
        for track, seen in faces.items()
    ]


def lines(track: int, seen: Sequence[tuple[str, Face]], *, several: bool) -> tuple[tuple[str, ...], ...]:
    """The text of a label, row by row: "#3 happy 91%", with several classifiers a row for each."""
    labelled = [
        (classifier, face.label, f"{face.confidence or 0:.0%}")
        for classifier, face in seen
        if face.label is not None
    ]
    if not labelled:
        return ((f"#{track}", seen[0][1].status),)
    if not several:
        return ((f"#{track}", *labelled[0][1:]),)
    return tuple(("" if number else f"#{track}", *row) for number, row in enumerate(labelled))


def file_name(base: Path, stream: str, *, several: bool) -> Path:
    """A stream's file: the path itself, or with several streams out/annotated-STREAM.mp4."""
    return base.with_name(f"{base.stem}-{quote(stream, safe='')}{base.suffix}") if several else base


def parts(path: Path, reserved: set[Path]) -> tuple[list[Path], Path]:
    """The files that a stream has already, path, path-2, path-3 …, and the next that is free.

    `reserved` are names that belong to other streams, or to this one's first file.
    """
    found: list[Path] = []
    candidate, number = path, 1
    while candidate.exists() or (number > 1 and candidate in reserved):
        if number == 1 or candidate not in reserved:
            found.append(candidate)
        number += 1
        candidate = path.with_name(f"{path.stem}-{number}{path.suffix}")
    return found, candidate
