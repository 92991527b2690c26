"""Detect: finds and follows the faces of its streams and sends their aligned crops to the classifiers."""

from __future__ import annotations

import time
from dataclasses import dataclass

import zmq  # types only; sockets are made by streamfer.transport

from streamfer import metrics, wire
from streamfer.detectors import FaceOptions
from streamfer.faces import Analysis, FaceAnalyser
from streamfer.plugins import build
from streamfer.shm import RingReader
from streamfer.stages.base import Link, PullStage, log
from streamfer.stages.spec import DetectSpec, Route
from streamfer.transport import Sockets
from streamfer.types import CropSpec

LEASE = 100
"""Track ids reserved with the supervisor at a time, so that a successor never uses one again."""


@dataclass
class _Stream:
    analyser: FaceAnalyser
    routes: list[tuple[zmq.Socket[bytes], CropSpec]]
    attempt: int = -1
    seconds: float = 0.0
    leased: int = 0
    fresh: bool = False


class Detect(PullStage):
    """A stream stays with one detect worker: that keeps its frames in order and its tracks alive."""

    kind = "detect"

    def __init__(self, spec: DetectSpec, sockets: Sockets, link: Link) -> None:
        super().__init__(sockets, link)
        self._spec = spec
        self._rings = RingReader()
        self._streams: dict[str, _Stream] = {}
        self._seconds = metrics.stage_seconds.labels("detect")

    def setup(self) -> wire.Ready:
        self.listen(self._spec.address)
        detector = build(self._spec.detector)
        options = FaceOptions.model_validate(self._spec.faces)
        outputs: dict[str, zmq.Socket[bytes]] = {}
        for stream, routes in self._spec.routes.items():
            for route in routes:
                if route.address not in outputs:
                    outputs[route.address] = self.sockets.push(route.address)
            self._streams[stream] = _Stream(
                FaceAnalyser(
                    detector, build(self._spec.tracker), _crops(routes), options, width=self._spec.width
                ),
                [(outputs[route.address], route.crop) for route in routes],
            )
        return wire.Ready()

    def started(self, start: wire.Start) -> None:
        self._successor = start.again
        for name, first in start.first_tracks.items():
            self._streams[name].analyser.reset(first)
            self._streams[name].leased = first - 1

    def handle(self, message: wire.Data, blob: bytes) -> None:
        if not isinstance(message, wire.Frame | wire.End) or message.stream not in self._streams:
            raise wire.WireError(f"{type(message).__name__} is not for this stage")
        stream = self._streams[message.stream]
        if message.attempt < stream.attempt:
            return  # sent again since
        if isinstance(message, wire.End):
            payload = wire.encode(message)
            for socket, _ in stream.routes:
                self.post(socket, payload)
            return
        if message.attempt > stream.attempt:
            # The first attempt of a worker's life is a discontinuity only if somebody was there before.
            stream.fresh = stream.attempt >= 0 or message.attempt > 0 or self._successor
            stream.attempt = message.attempt
            stream.seconds = 0.0
            stream.analyser.reset()
        began = time.perf_counter()
        if message.slot is None:
            self._forward(stream, message, Analysis([], {}, False, False))
        else:
            picture = self._rings.view(message.slot)
            if picture is None:  # capture died and took the ring along; its successor sends the frame again
                log.debug("detect: frame %s of %s is gone", message.seq, message.stream)
                return
            # A recording without usable PTS still has an order; trackers only need time to go on.
            seconds = message.pts if message.pts is not None else stream.seconds + 1 / 25
            stream.seconds = max(stream.seconds, seconds)
            analysis = stream.analyser.analyse(picture, seq=message.seq, seconds=stream.seconds)
            self._forward(stream, message, analysis)
        self.frames += 1
        metrics.frames.labels(message.stream, "detect").inc()
        self._seconds.observe(time.perf_counter() - began)

    def _forward(self, stream: _Stream, frame: wire.Frame, analysis: Analysis) -> None:
        for face in analysis.faces:
            metrics.faces.labels(frame.stream, face.status).inc()
            if face.track > stream.leased:
                stream.leased = -(-face.track // LEASE) * LEASE
                self.link.send(wire.Lease(frame.stream, stream.leased))
        if stream.fresh:
            metrics.discontinuities.labels(frame.stream).inc()
        faces = [wire.FoundFace(face.track, face.box, face.score, face.status) for face in analysis.faces]
        payload = wire.encode(wire.Found(frame, faces, stream.fresh))
        stream.fresh = False
        for socket, crop in stream.routes:
            crops = analysis.crops.get(crop)
            self.post(socket, payload, crops.tobytes() if crops is not None else b"")


def _crops(routes: list[Route]) -> list[CropSpec]:
    return sorted({route.crop for route in routes})
