"""Classify: names the expression of each face of a frame and tells every sink."""

from __future__ import annotations

import time

import zmq  # types only; sockets are made by streamfer.transport

from streamfer import metrics, wire
from streamfer.api import Classifier
from streamfer.plugins import build
from streamfer.stages import crops
from streamfer.stages.base import Key, Link, PullStage, queue_limits
from streamfer.stages.flicker import Flicker
from streamfer.stages.spec import ClassifySpec
from streamfer.transport import Sockets
from streamfer.types import Face


class Classify(PullStage):
    """One worker of one classifier. The faces of one frame are classified together, never across frames:
    what a face gets must not depend on how busy the pipeline is."""

    kind = "classify"

    def __init__(self, spec: ClassifySpec, sockets: Sockets, link: Link) -> None:
        super().__init__(sockets, link, spec.classifier)
        self._spec = spec
        self._batch = metrics.batch_faces.labels(spec.classifier)
        self._flicker: dict[str, Flicker] = {}

    def setup(self) -> wire.Ready:
        self.listen(self._spec.address, queue_limits(self._spec.live))
        self._classifier: Classifier = build(self._spec.component)
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
            for output in self._outputs:
                self.post_end(message.stream, output, message, self._spec.classifier)
            return
        stream = message.frame.stream
        began = time.perf_counter()
        faces = self._classify(message, blob)
        self._follow(message, faces)
        scored = wire.Scored(message.frame, self._spec.classifier, faces, message.discontinuity)
        self.count_frame(stream)
        self.seconds.observe(time.perf_counter() - began)
        if self.is_live(stream):
            for output in self._outputs:
                self.send_live(stream, output, scored)
        else:
            payload = wire.encode(scored)
            for output in self._outputs:
                self.post(output, payload)

    def _follow(self, message: wire.Found, faces: list[Face]) -> None:
        frame = message.frame
        flicker = self._flicker.get(frame.stream)
        if flicker is None:
            flicker = self._flicker[frame.stream] = Flicker(frame.stream, self._spec.classifier)
        if message.discontinuity or frame.discontinuity:
            flicker.reset()
        flicker.update(frame.pts if frame.seconds is None else frame.seconds, faces)

    def _classify(self, message: wire.Found, blob: bytes) -> list[Face]:
        count = sum(face.status == "ok" for face in message.faces)
        rows: list[list[float]] = []
        if count:
            seen = crops.unpack(blob, count, self._spec.crops)
            rows = self._classifier.predict(*seen).round(4).astype(float).round(4).tolist()
            self._batch.observe(count)
        following = iter(rows)
        labelled = []
        for found in message.faces:
            if found.status != "ok":
                labelled.append(Face(found.track, found.box, found.score, found.status))
                continue
            row = next(following)
            best = max(range(len(row)), key=row.__getitem__)
            label = self._spec.labels[best]
            metrics.confidence.labels(message.frame.stream, self._spec.classifier).observe(row[best])
            metrics.predictions.labels(message.frame.stream, self._spec.classifier, label).inc()
            labelled.append(
                Face(
                    found.track,
                    found.box,
                    found.score,
                    found.status,
                    label,
                    row[best],
                    dict(zip(self._spec.labels, row, strict=True)),
                )
            )
        return labelled
