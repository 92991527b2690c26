"""Classify: names the expression of each face of a frame and tells every sink."""

from __future__ import annotations

import time
from typing import Any

import msgspec
import numpy as np
import zmq  # types only; sockets are made by streamfer.transport
from numpy.typing import NDArray

from streamfer import metrics, wire
from streamfer.inference.answering import Answering, answering
from streamfer.smoothing import Smoother, smoothing
from streamfer.stages import crops
from streamfer.stages.base import Key, Link, PullStage, log, queue_limits
from streamfer.stages.flicker import Flicker
from streamfer.stages.spec import ClassifySpec
from streamfer.transport import Sockets
from streamfer.types import Answer, Face, WindowState

FRAME_SECONDS = 1 / 25
"""From one frame to the next of a recording without usable PTS."""
SLOW_FRAMES = 10
"""So many frames in a row too far apart for a window, and its stream is called too slow, once."""


class _Stream:
    """What is remembered of one stream."""

    def __init__(self, name: str, spec: ClassifySpec) -> None:
        self.name = name
        self.epoch = 0
        self.seconds = 0.0
        self.slow = 0
        self.flicker = Flicker(metrics.label_changes, metrics.track_seconds, name, spec.classifier)
        self.raw_flicker: Flicker | None = None
        self.smoother: Smoother | None = None
        chosen = smoothing(spec.smoothing)
        if chosen is not None:
            self.smoother = Smoother(chosen, len(spec.labels))
            self.raw_flicker = Flicker(metrics.raw_label_changes, None, name, spec.classifier)
        self.warming = metrics.warming_faces.labels(name, spec.classifier) if spec.windowed else None

    def reset(self) -> None:
        """Tracks begin anew."""
        self.seconds = 0.0
        for one in (self.flicker, self.raw_flicker, self.smoother):
            if one is not None:
                one.reset()


class Classify(PullStage):
    """One worker of one classifier. The faces of one frame are classified together, never across frames:
    what a face gets must not depend on how busy the pipeline is."""

    kind = "classify"

    def __init__(self, spec: ClassifySpec, sockets: Sockets, link: Link) -> None:
        super().__init__(sockets, link, spec.classifier)
        self._spec = spec
        self._batch = metrics.batch_faces.labels(spec.classifier)
        self._streams: dict[str, _Stream] = {}

    def setup(self) -> wire.Ready:
        self.listen(self._spec.address, queue_limits(self._spec.live))
        self._answering: Answering = answering(self._spec.component)
        self._outputs = [self.sockets.push(address) for address in self._spec.sinks]
        return wire.Ready()

    def key(self, message: wire.Data) -> str:
        if isinstance(message, wire.End):
            return message.stream
        if isinstance(message, wire.Found):
            return message.frame.stream
        raise wire.WireError(f"{type(message).__name__} is not for this stage")

    def outputs(self, key: Key) -> list[zmq.Socket[bytes]]:
        return self._outputs

    def handle(self, message: wire.Found | wire.End, blob: bytes) -> None:
        if isinstance(message, wire.End):
            self._streams.pop(message.stream, None)
            self._answering.reset(message.stream)
            for output in self._outputs:
                self.post_end(message.stream, output, message, self._spec.classifier)
            return
        name = message.frame.stream
        began = time.perf_counter()
        stream = self._stream(message)
        faces = self._classify(stream, message, blob)
        stream.flicker.update(_known(message.frame), faces)
        scored = wire.Scored(message.frame, self._spec.classifier, faces, message.discontinuity)
        self.count_frame(name)
        self.seconds.observe(time.perf_counter() - began)
        if self.is_live(name):
            for output in self._outputs:
                self.send_live(name, output, scored)
        else:
            payload = wire.encode(scored)
            for output in self._outputs:
                self.post(output, payload)

    def _stream(self, message: wire.Found) -> _Stream:
        """The frame's stream, as far as its time is that of the frame."""
        frame = message.frame
        stream = self._streams.get(frame.stream)
        if stream is None:
            stream = self._streams[frame.stream] = _Stream(frame.stream, self._spec)
        if message.discontinuity or frame.discontinuity or frame.epoch != stream.epoch:
            stream.epoch = frame.epoch
            stream.reset()
            self._answering.reset(frame.stream)
        seconds = _known(frame)
        before, stream.seconds = (
            stream.seconds,
            stream.seconds + FRAME_SECONDS if seconds is None else seconds,
        )
        self._watch_pace(stream, stream.seconds - before)
        return stream

    def _watch_pace(self, stream: _Stream, passed: float) -> None:
        """Say it once when a window can never hold several frames, because the stream's are too far apart."""
        window = self._spec.narrowest
        if window is None or stream.slow > SLOW_FRAMES:
            return
        stream.slow = stream.slow + 1 if passed > min(window.max_gap, window.span) else 0
        if stream.slow == SLOW_FRAMES:
            stream.slow += 1
            log.warning(
                "%s: its frames come %.2f s apart, and the window of '%s' is %.2f s long and bears gaps of "
                "%.2f s: it holds one frame at a time; raise window.stride and window.max_gap, or use a "
                "classifier of single crops",
                stream.name,
                passed,
                self._spec.classifier,
                window.span,
                window.max_gap,
                extra={"stream": stream.name},
            )

    def _classify(self, stream: _Stream, message: wire.Found, blob: bytes) -> list[Face]:
        tracks = [face.track for face in message.faces if face.status == "ok"]
        rows: NDArray[Any] = np.empty((0, len(self._spec.labels)))
        windows: list[WindowState] | None = None
        if tracks:
            seen = crops.unpack(blob, len(tracks), self._spec.crops)
            rows, windows = self._answering.follow(stream.name, stream.seconds, tracks, seen)
            self._batch.observe(len(tracks))
        raw = [self._answer(row) for row in _rounded(rows)]
        answers = raw
        if stream.smoother is not None:
            smooth, best = stream.smoother.update(stream.seconds, tracks, rows)
            pairs = zip(_rounded(smooth), best.tolist(), strict=True)
            answers = [self._answer(row, chosen) for row, chosen in pairs]
        faces, following = [], 0
        for found in message.faces:
            face = Face(found.track, found.box, found.score, found.status)
            if found.status == "ok":
                window = windows[following] if windows is not None else msgspec.UNSET
                said = raw[following] if stream.smoother is not None else msgspec.UNSET
                face = self._labelled(stream, face, answers[following], window, said)
                following += 1
            faces.append(face)
        if stream.raw_flicker is not None:
            stream.raw_flicker.update(_known(message.frame), faces, raw=True)
        return faces

    def _answer(self, row: list[float], best: int | None = None) -> Answer:
        if best is None:
            best = max(range(len(row)), key=row.__getitem__)
        return Answer(self._spec.labels[best], row[best], dict(zip(self._spec.labels, row, strict=True)))

    def _labelled(
        self,
        stream: _Stream,
        face: Face,
        answer: Answer,
        window: WindowState | msgspec.UnsetType,
        raw: Answer | msgspec.UnsetType,
    ) -> Face:
        warming = isinstance(window, WindowState) and window.filled < window.frames
        if warming and stream.warming is not None:
            stream.warming.inc()
        metrics.confidence.labels(stream.name, self._spec.classifier).observe(answer.confidence)
        metrics.predictions.labels(stream.name, self._spec.classifier, answer.label).inc()
        return Face(
            face.track,
            face.box,
            face.score,
            "warming" if warming else "ok",
            answer.label,
            answer.confidence,
            answer.probabilities,
            window,
            raw,
        )


def _known(frame: wire.Frame) -> float | None:
    """The frame's time in its stream, in seconds; None if nobody knows it."""
    return frame.pts if frame.seconds is None else frame.seconds


def _rounded(rows: NDArray[Any]) -> list[list[float]]:
    """Probabilities to four places: what is written is what is compared."""
    listed: list[list[float]] = rows.astype(float).round(4).tolist()
    return listed
