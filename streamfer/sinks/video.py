"""Annotated MP4s: one per stream, playable also if the sink dies in the middle."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryFile
from urllib.parse import quote

from streamfer.api import Position, StreamPlan
from streamfer.picture import Picture
from streamfer.sinks import VideoOptions
from streamfer.sinks.files import make_directory, refusal
from streamfer.sinks.mp4 import TICKS, Canvas, Mp4Writer, encoder, is_ours
from streamfer.sinks.overlay import GRAY, Mark, draw, pixelate, track_colour
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
        names = {plan.name: file_name(base, plan.name, several=len(streams) > 1) for plan in streams}
        try:
            with TemporaryFile(dir=base.parent):
                pass  # the directory can be written; the files themselves begin with their first frame
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
        except OSError as error:
            raise refusal(base, error) from error
        return {}

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

    def __init__(self, path: Path, codec: str, classifiers: Sequence[str], options: VideoOptions) -> None:
        self._path = path
        self._codec = codec
        self._options = options
        self._several = len(classifiers) > 1
        self._reached: dict[str, Name] = dict.fromkeys(classifiers, (-1, -1))
        self._encoded: Name = (-1, -1)
        self._waiting: OrderedDict[Name, _Frame] = OrderedDict()
        self._clock = Clock()
        self._hidden: dict[int, tuple[float, Face]] = {}
        self._writer: Mp4Writer | None = None
        self._closed = False

    def take(self, result: Result, picture: Picture | None) -> None:
        name = result.epoch, result.seq
        self._reached[result.classifier] = name
        if picture is not None and name > self._encoded:
            frame = self._waiting.get(name)
            if frame is None:
                if self._writer is None:
                    self._writer = Mp4Writer(self._path, self._codec, self._options.crf, picture)
                frame = self._waiting[name] = _Frame(self._writer.canvas(picture), result.pts)
            frame.results.append(result)
        # Results of one classifier come in order: a frame that all have reached gets no more labels.
        everywhere = min(self._reached.values())
        while self._waiting:
            oldest = next(iter(self._waiting))
            if oldest > everywhere and not self._full():
                break
            self._encode(oldest, self._waiting.pop(oldest))

    def _full(self) -> bool:
        if self._writer is None:
            return False
        size = self._writer.width * self._writer.height * 3 // 2
        return len(self._waiting) > max(2, PENDING_BYTES // size)

    def _encode(self, name: Name, frame: _Frame) -> None:
        assert self._writer is not None
        self._encoded = name
        ticks = self._clock.ticks(frame.pts, name[0])
        if self._options.blur:
            self._hide(frame, name[0], ticks / TICKS)
        draw(frame.canvas.picture, marks(frame.canvas, frame.results, several=self._several))
        try:
            self._writer.encode(frame.canvas, ticks)
        except OSError:
            self._closed = True
            self._waiting.clear()
            raise

    def close(self) -> None:
        """Encode what still waits, and finish the file."""
        while self._waiting:
            name, frame = self._waiting.popitem(last=False)
            self._encode(name, frame)
        if self._writer is not None and not self._closed:
            self._closed = True
            self._writer.close()

    def _hide(self, frame: _Frame, epoch: int, seconds: float) -> None:
        """Pixelate the faces of this frame, and the places where faces were a moment ago."""
        for result in frame.results:
            for face in result.faces:
                self._hidden[face.track] = seconds, face
        self._hidden = {track: one for track, one in self._hidden.items() if seconds - one[0] <= LINGER}
        for _, face in self._hidden.values():
            pixelate(frame.canvas.picture, frame.canvas.place(face.box))


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
