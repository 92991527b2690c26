"""Sink: hands results on, each frame exactly once and in order, and acknowledges what is kept for good."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field

import msgspec

from streamfer import metrics, wire
from streamfer.api import Sink, StreamPlan
from streamfer.errors import FatalError
from streamfer.plugins import build
from streamfer.shm import RingReader
from streamfer.stages.base import BEAT_SECONDS, Link, PullStage
from streamfer.stages.spec import SinkSpec
from streamfer.transport import Sockets
from streamfer.types import Result

BEFORE = -1


@dataclass
class _Record:
    """How far one (stream, classifier) is."""

    seq: int = -1
    delivered: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    last_track: int = 0
    attempt: int | None = None
    """Of the last frame taken; BEFORE if that was in another process's life, None if there was none."""
    ended: bool = False


@dataclass
class _Stream:
    records: dict[str, _Record]
    attempt: int = 0
    pending: int = 0
    ended: bool = False


class SinkStage(PullStage):
    """A frame is taken only if it is the next of its (stream, classifier): whatever was sent twice, or ahead
    of what a dead stage lost, is passed over, and comes again in its place."""

    kind = "sink"

    def __init__(self, spec: SinkSpec, sockets: Sockets, link: Link) -> None:
        super().__init__(sockets, link)
        self._spec = spec
        self._rings = RingReader()
        self._flush_at: float | None = None
        self._seconds = metrics.stage_seconds.labels("sink")

    def started(self, start: wire.Start) -> None:
        for stream, attempt in start.attempts.items():
            self._streams[stream].attempt = attempt
        for stream, ledgers in start.held.items():
            self._go_on(stream, ledgers)

    def setup(self) -> wire.Ready:
        self.listen(self._spec.address)
        self._sink: Sink = build(self._spec.component)
        plans = [StreamPlan(name, tuple(classifiers)) for name, classifiers in self._spec.streams.items()]
        positions = self._sink.open(plans, resume=self._spec.resume)
        self._streams = {plan.name: _Stream({name: _Record() for name in plan.classifiers}) for plan in plans}
        for (stream, name), at in positions.items():
            if name in self._spec.streams.get(stream, ()):
                ledger = wire.Ledger(name, at.seq, at.delivered, dict(at.dropped), at.last_track)
                self._go_on(stream, [ledger])
        return wire.Ready(
            positions={name: self._ledgers(stream) for name, stream in self._streams.items()},
            outputs=list(self._sink.outputs()),
        )

    def _go_on(self, stream: str, ledgers: Iterable[wire.Ledger]) -> None:
        for one in ledgers:
            attempt = BEFORE if one.seq >= 0 else None
            record = _Record(one.seq, one.delivered, dict(one.dropped), one.last_track, attempt)
            self._streams[stream].records[one.classifier] = record

    def handle(self, message: wire.Data, blob: bytes) -> None:
        if isinstance(message, wire.Scored):
            name, classifier = message.frame.stream, message.classifier
        elif isinstance(message, wire.EndScored):
            name, classifier = message.end.stream, message.classifier
        else:
            raise wire.WireError(f"{type(message).__name__} is not for this stage")
        if name not in self._streams or classifier not in self._streams[name].records:
            raise wire.WireError(f"{name}/{classifier} is not for this sink")
        stream = self._streams[name]
        record = stream.records[classifier]
        try:
            if isinstance(message, wire.Scored):
                self._take(stream, record, message)
            else:
                self._end(name, stream, record, message.end.count)
        except OSError as error:
            raise self._fatal(error) from error

    def _take(self, stream: _Stream, record: _Record, message: wire.Scored) -> None:
        frame = message.frame
        if frame.seq != record.seq + 1 or frame.attempt < stream.attempt:
            return
        began = time.perf_counter()
        discontinuity = message.discontinuity or record.attempt not in (None, frame.attempt)
        result = Result(
            stream=frame.stream,
            epoch=frame.epoch,
            seq=frame.seq,
            pts=frame.pts,
            time=frame.time,
            classifier=message.classifier,
            faces=message.faces,
            discontinuity=True if discontinuity else msgspec.UNSET,
            dropped=frame.dropped or msgspec.UNSET,
        )
        picture = self._rings.view(frame.slot) if self._spec.pixels and frame.slot else None
        self._sink.write(result, picture)
        record.seq, record.attempt = frame.seq, frame.attempt
        if frame.dropped:
            record.dropped[frame.dropped] = record.dropped.get(frame.dropped, 0) + 1
        else:
            record.delivered += 1
        for face in message.faces:
            record.last_track = max(record.last_track, face.track)
        stream.pending += 1
        self.frames += 1
        now = time.monotonic()
        metrics.frames.labels(frame.stream, "sink").inc()
        metrics.end_to_end_seconds.labels(frame.stream, self._spec.sink).observe(now - frame.captured)
        self._seconds.observe(time.perf_counter() - began)
        # At most half the ring is ever held back by a batch, so that capture never waits for the clock.
        if stream.pending >= frame.credit // 2 * len(stream.records):
            self._flush()
        elif self._flush_at is None:
            self._flush_at = now + BEAT_SECONDS

    def _end(self, name: str, stream: _Stream, record: _Record, count: int) -> None:
        if record.seq < count - 1:
            return  # frames before it are still to come again
        record.ended = True
        if all(other.ended for other in stream.records.values()):
            if not stream.ended:
                self._sink.end(name)
                stream.ended = True
            stream.pending += 1
            self._flush()

    def timeout(self) -> float:
        if self._flush_at is None:
            return BEAT_SECONDS
        return max(0.0, min(BEAT_SECONDS, self._flush_at - time.monotonic()))

    def idle(self) -> None:
        if self._flush_at is not None and time.monotonic() >= self._flush_at:
            try:
                self._flush()
            except OSError as error:
                raise self._fatal(error) from error

    def _flush(self) -> None:
        self._flush_at = None
        self._sink.flush()
        for name, stream in self._streams.items():
            if stream.pending:
                stream.pending = 0
                self.link.send(wire.Ack(name, self._ledgers(stream), stream.ended))

    def _ledgers(self, stream: _Stream) -> list[wire.Ledger]:
        return [
            wire.Ledger(name, record.seq, record.delivered, dict(record.dropped), record.last_track)
            for name, record in stream.records.items()
        ]

    def _fatal(self, error: OSError) -> FatalError:
        place = f"{error.filename}: " if error.filename else ""
        return FatalError(
            f"sink {self._spec.sink}: {place}{error.strerror or error}: make room or mend it, "
            "then run again with --resume"
        )

    def stop(self) -> wire.Stopped:
        try:
            self._flush()
            self._sink.close()
        except OSError as error:
            raise self._fatal(error) from error
        return wire.Stopped(list(self._sink.outputs()))
