"""Detect: finds and follows the faces of its streams and sends their aligned crops to the classifiers."""

from __future__ import annotations

import time
from dataclasses import dataclass

import zmq  # types only; sockets are made by streamfer.transport

from streamfer import metrics, wire
from streamfer.detectors import FaceOptions
from streamfer.faces import Analysis, FaceAnalyser
from streamfer.plugins import build
from streamfer.regions import Regions
from streamfer.shm import RingReader
from streamfer.stages import crops
from streamfer.stages.base import Key, Link, PullStage, log, queue_limits
from streamfer.stages.spec import DetectSpec, Route
from streamfer.transport import Sockets
from streamfer.types import CropSpec

LEASE = 100
"""Track ids reserved with the supervisor at a time, so that a successor never uses one again."""


@dataclass
class _Stream:
    analyser: FaceAnalyser
    routes: list[tuple[zmq.Socket[bytes], tuple[CropSpec, ...]]]
    attempt: int = -1
    epoch: int = -1
    analysed: int = 0
    seconds: float = 0.0
    leased: int = 0
    fresh: bool = False
    broken: bool = False


class Detect(PullStage):
    """A stream stays with one detect worker: that keeps its frames in order and its tracks alive."""

    kind = "detect"

    def __init__(self, spec: DetectSpec, sockets: Sockets, link: Link) -> None:
        super().__init__(sockets, link, spec.detector.name)
        self._spec = spec
        self._rings = RingReader()
        self._streams: dict[str, _Stream] = {}

    def setup(self) -> wire.Ready:
        self.listen(self._spec.address, queue_limits(self._spec.live))
        detector = build(self._spec.detector)
        outputs: dict[str, zmq.Socket[bytes]] = {}
        for stream, routes in self._spec.routes.items():
            for route in routes:
                if route.address not in outputs:
                    outputs[route.address] = self.sockets.push(route.address)
            view = self._spec.views[stream]
            metrics.discontinuities.labels(stream)
            self._streams[stream] = _Stream(
                FaceAnalyser(
                    detector,
                    build(self._spec.tracker),
                    _crops(routes),
                    FaceOptions.model_validate(view.faces),
                    width=view.width,
                    regions=Regions(view.regions, view.masks),
                ),
                [(outputs[route.address], route.crops) for route in routes],
            )
        return wire.Ready()

    def started(self, start: wire.Start) -> None:
        self._successor = start.again
        for name, first in start.first_tracks.items():
            self._streams[name].analyser.reset(first)
            self._streams[name].leased = first - 1

    def key(self, message: wire.Data) -> str:
        if not isinstance(message, wire.Frame | wire.End) or message.stream not in self._streams:
            raise wire.WireError(f"{type(message).__name__} is not for this stage")
        return message.stream

    def outputs(self, key: Key) -> list[zmq.Socket[bytes]]:
        assert isinstance(key, str)
        return [socket for socket, _ in self._streams[key].routes]

    def drop(self, key: Key, frame: wire.Frame, reason: str, *, discontinuity: bool = False) -> None:
        super().drop(key, frame, reason, discontinuity=discontinuity)
        self._streams[frame.stream].broken |= discontinuity

    def handle(self, message: wire.Frame | wire.End, blob: bytes) -> None:
        stream = self._streams[message.stream]
        live = self.is_live(message.stream)
        if message.attempt < stream.attempt:
            return  # sent again since
        if isinstance(message, wire.End):
            for socket, _ in stream.routes:
                self.post_end(message.stream, socket, message)
            return
        began = time.perf_counter()
        analysis = self._analyse_live(stream, message) if live else self._analyse(stream, message)
        if analysis is None:
            return
        self._forward(stream, message, analysis, live=live)
        self.count_frame(message.stream)
        self.seconds.observe(time.perf_counter() - began)

    def _analyse(self, stream: _Stream, frame: wire.Frame) -> Analysis | None:
        """A frame of a recording; None if its pixels are gone."""
        if frame.attempt > stream.attempt:
            # The first attempt of a worker's life is a discontinuity only if somebody was there before.
            stream.fresh = stream.attempt >= 0 or frame.attempt > 0 or self._successor
            stream.attempt = frame.attempt
            stream.seconds = 0.0
            stream.analyser.reset()
        if frame.slot is None:
            return Analysis([], {}, False, False)
        picture = self._rings.view(frame.slot)
        if picture is None:  # capture died and took the ring along; its successor sends the frame again
            log.debug("detect: frame %s of %s is gone", frame.seq, frame.stream)
            return None
        # A recording without usable PTS still has an order; trackers only need time to go on.
        seconds = frame.pts if frame.pts is not None else stream.seconds + 1 / 25
        stream.seconds = max(stream.seconds, seconds)
        return stream.analyser.analyse(picture, seq=frame.seq, seconds=stream.seconds)

    def _analyse_live(self, stream: _Stream, frame: wire.Frame) -> Analysis | None:
        """A frame of a live stream; None if the ring has moved on under it."""
        broken = stream.broken or frame.discontinuity
        if frame.epoch != stream.epoch or broken:
            stream.fresh = frame.epoch > 0 or broken or self._successor
            stream.epoch, stream.broken = frame.epoch, False
            stream.seconds = 0.0
            stream.analyser.reset()
        picture = self._rings.view(frame.slot) if frame.slot else None
        if picture is not None and frame.slot is not None:
            stream.seconds = max(stream.seconds, frame.seconds or 0.0)
            analysis = stream.analyser.analyse(picture, seq=stream.analysed, seconds=stream.seconds)
            if self._rings.is_current(frame.slot):
                stream.analysed += 1
                return analysis
        self.drop(frame.stream, frame, "overload", discontinuity=frame.discontinuity)
        return None

    def _forward(self, stream: _Stream, frame: wire.Frame, analysis: Analysis, *, live: bool) -> None:
        for face in analysis.faces:
            metrics.faces.labels(frame.stream, face.status).inc()
            if face.track > stream.leased:
                stream.leased = -(-face.track // LEASE) * LEASE
                self.link.send(wire.Lease(frame.stream, stream.leased))
        if stream.fresh:
            metrics.discontinuities.labels(frame.stream).inc()
        faces = [wire.FoundFace(face.track, face.box, face.score, face.status) for face in analysis.faces]
        found = wire.Found(frame, faces, stream.fresh)
        stream.fresh = False
        payload = b"" if live else wire.encode(found)
        for socket, specs in stream.routes:
            blob = crops.pack(analysis.crops, specs)
            if live:
                self.send_live(frame.stream, socket, found, blob)
            else:
                self.post(socket, payload, blob)


def _crops(routes: list[Route]) -> list[CropSpec]:
    return sorted({spec for route in routes for spec in route.crops})
