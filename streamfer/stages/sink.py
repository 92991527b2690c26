"""Sink: hands results on, in order and no frame twice, and acknowledges what is kept for good."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from streamfer import metrics, wire
from streamfer.api import Sink, StreamPlan
from streamfer.errors import FatalError
from streamfer.picture import Picture, copied
from streamfer.plugins import build
from streamfer.shm import RingReader
from streamfer.stages.agreement import Agreement
from streamfer.stages.backlog import Limits
from streamfer.stages.base import BEAT_SECONDS, Key, Link, PullStage
from streamfer.stages.spec import SinkSpec
from streamfer.transport import Sockets
from streamfer.types import Result

BEFORE = -1
DURABLE_QUEUE = 1000
"""Results of a live stream that may wait for a durable sink, whatever their age."""
LIVE_BATCH = 256
"""Results of live streams that are made durable together at the most."""


@dataclass
class _Record:
    """How far one (stream, classifier) is. `told` are drops of which the frames' own gap is still to come."""

    seq: int = -1
    delivered: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    last_track: int = 0
    epoch: int = 0
    attempt: int | None = None
    """Of the last frame taken; BEFORE if that was in another process's life, None if there was none."""
    ended: bool = False
    told: dict[str, int] = field(default_factory=dict)

    def drop(self, reason: str, count: int = 1) -> None:
        self.dropped[reason] = self.dropped.get(reason, 0) + count

    def account_for(self, seq: int, skipped: Mapping[str, int]) -> int:
        """A live stream goes on at `seq`: the frames before it that did not come were dropped on purpose, as
        was told, or were lost with a process that died: so many."""
        for reason, count in skipped.items():
            self.told[reason] = self.told.get(reason, 0) + count
        missing = seq - self.seq - 1
        for reason in list(self.told):
            count = min(missing, self.told[reason])
            missing -= count
            self.told[reason] -= count
            if count:
                self.drop(reason, count)
            if not self.told[reason]:
                del self.told[reason]
        if missing:
            self.drop("restart", missing)
        return missing


@dataclass
class _Stream:
    records: dict[str, _Record]
    live: bool
    attempt: int = 0
    pending: int = 0
    ended: bool = False


class Intent(msgspec.Struct):
    """What a sink is about to make durable of live streams. Should it die on the way, its successor reads
    back how far it came, and the ledger stays exact. By stream: the ledgers after it, the frames in it."""

    ledgers: dict[str, list[wire.Ledger]]
    frames: dict[str, dict[str, list[int]]]


class SinkStage(PullStage):
    """Of a recording a frame is taken only if it is the next of its (stream, classifier): whatever was sent
    twice, or ahead of what a dead stage lost, is passed over, and comes again in its place. Of a live stream
    each frame is taken as it comes, and what is missing before it is accounted for."""

    kind = "sink"

    def __init__(self, spec: SinkSpec, sockets: Sockets, link: Link) -> None:
        super().__init__(sockets, link, spec.sink)
        self._spec = spec
        self._rings = RingReader()
        self._flush_at: float | None = None
        self._held = False
        """The sink could not make durable what it has, for now, and takes no more."""
        self._intent: Path | None = Path(spec.intent) if spec.intent and spec.durable else None
        self._batch: dict[str, dict[str, list[int]]] = {}
        self._agreement = {
            name: Agreement(name, classifiers)
            for name, classifiers in spec.streams.items()
            if spec.compares and len(classifiers) > 1
        }

    def setup(self) -> wire.Ready:
        limits: dict[Key, Limits] = {}
        for stream, live in self._spec.live.items():
            for classifier in self._spec.streams[stream]:
                durable = Limits(DURABLE_QUEUE, live.drop)
                lossy = Limits(live.queue, live.drop, live.max_age)
                limits[stream, classifier] = durable if self._spec.durable else lossy
        self.listen(self._spec.address, limits)
        self._sink: Sink = build(self._spec.component)
        plans = [StreamPlan(name, tuple(classifiers)) for name, classifiers in self._spec.streams.items()]
        positions = self._sink.open(plans, resume=self._spec.resume)
        self._streams = {
            plan.name: _Stream({name: _Record() for name in plan.classifiers}, plan.name in self._spec.live)
            for plan in plans
        }
        for (stream, name), at in positions.items():
            if name in self._spec.streams.get(stream, ()):
                ledger = wire.Ledger(name, at.seq, at.delivered, dict(at.dropped), at.last_track, at.epoch)
                self._go_on(stream, [ledger])
        return wire.Ready(
            positions={name: self._ledgers(stream) for name, stream in self._streams.items()},
            outputs=list(self._sink.outputs()),
        )

    def started(self, start: wire.Start) -> None:
        for stream, attempt in start.attempts.items():
            self._streams[stream].attempt = attempt
        at_death = self._read_intent()
        for stream, ledgers in start.held.items():
            again = start.again or not self._streams[stream].live
            self._go_on(stream, at_death.get(stream, ledgers), again=again)

    def _go_on(self, stream: str, ledgers: Iterable[wire.Ledger], *, again: bool = True) -> None:
        for one in ledgers:
            attempt = BEFORE if again and one.seq >= 0 else None
            record = _Record(one.seq, one.delivered, dict(one.dropped), one.last_track, one.epoch, attempt)
            self._streams[stream].records[one.classifier] = record

    def _read_intent(self) -> dict[str, list[wire.Ledger]]:
        """The ledgers of live streams when the predecessor died: of what it was about to make durable, the
        frames that are not on record are lost."""
        if self._intent is None or not self._intent.exists():
            return {}
        intent = msgspec.msgpack.decode(self._intent.read_bytes(), type=Intent)
        ledgers: dict[str, list[wire.Ledger]] = {}
        for stream, planned in intent.ledgers.items():
            ledgers[stream] = []
            for ledger in planned:
                on_record = self._streams[stream].records[ledger.classifier].seq
                frames = intent.frames.get(stream, {}).get(ledger.classifier, [])
                if lost := sum(seq > on_record for seq in frames):
                    dropped = {**ledger.dropped, "restart": ledger.dropped.get("restart", 0) + lost}
                    ledger = msgspec.structs.replace(
                        ledger, delivered=ledger.delivered - lost, dropped=dropped
                    )
                ledgers[stream].append(ledger)
        return ledgers

    def _write_intent(self) -> None:
        if self._intent is None or not self._batch:
            return
        ledgers = {name: self._ledgers(self._streams[name]) for name in self._spec.live}
        draft = self._intent.with_suffix(".new")
        draft.write_bytes(msgspec.msgpack.encode(Intent(ledgers, self._batch)))
        draft.replace(self._intent)

    def key(self, message: wire.Data) -> tuple[str, str]:
        if isinstance(message, wire.Scored):
            name = message.frame.stream
        elif isinstance(message, wire.EndScored):
            name = message.end.stream
        else:
            raise wire.WireError(f"{type(message).__name__} is not for this stage")
        if name not in self._streams or message.classifier not in self._streams[name].records:
            raise wire.WireError(f"{name}/{message.classifier} is not for this sink")
        return name, message.classifier

    def outputs(self, key: Key) -> tuple[None]:
        return (None,)

    def handle(self, message: wire.Scored | wire.EndScored, blob: bytes) -> None:
        name, classifier = key = self.key(message)
        stream = self._streams[name]
        record = stream.records[classifier]
        try:
            if isinstance(message, wire.EndScored):
                self._end(name, stream, record, message)
            elif stream.live:
                self._take_live(key, stream, record, message)
            else:
                self._take(stream, record, message)
        except OSError as error:
            raise self._fatal(error) from error

    def _take(self, stream: _Stream, record: _Record, message: wire.Scored) -> None:
        frame = message.frame
        if frame.seq != record.seq + 1 or frame.attempt < stream.attempt:
            return
        began = time.perf_counter()
        picture = self._rings.view(frame.slot) if self._spec.pixels and frame.slot else None
        self._write(record, message, picture)
        if frame.dropped:
            record.drop(frame.dropped)
        else:
            record.delivered += 1
        stream.pending += 1
        self.seconds.observe(time.perf_counter() - began)
        # At most half the ring is ever held back by a batch, so that capture never waits for the clock.
        self._flush_soon(stream, frame.credit // 2 * len(stream.records))

    def _take_live(self, key: Key, stream: _Stream, record: _Record, message: wire.Scored) -> None:
        frame = message.frame
        if frame.seq <= record.seq:
            return
        began = time.perf_counter()
        picture = self._copied(frame.slot) if self._spec.pixels else None
        if self._spec.pixels and picture is None:  # the ring has moved on
            self.drop(key, frame, "overload", discontinuity=message.discontinuity)
            return
        owed = self.settle(None, key, frame.skipped)
        self._account_for(key, record, frame.seq, owed.skipped)
        if owed.discontinuity and not message.discontinuity:
            message = msgspec.structs.replace(message, discontinuity=True)
        self._write(record, message, picture)
        record.delivered += 1
        if self._intent is not None:
            self._batch.setdefault(frame.stream, {}).setdefault(message.classifier, []).append(frame.seq)
        stream.pending += 1
        self.seconds.observe(time.perf_counter() - began)
        self._flush_soon(stream, LIVE_BATCH)

    def _account_for(self, key: Key, record: _Record, seq: int, skipped: Mapping[str, int]) -> None:
        if lost := record.account_for(seq, skipped):
            self.count_dropped(key[0], "restart", lost)

    def _copied(self, slot: wire.SlotRef | None) -> Picture | None:
        """A copy of the pixels, made before anybody draws: a live ring moves on when it must."""
        view = self._rings.view(slot) if slot is not None else None
        if view is None or slot is None:
            return None
        picture = copied(view)
        return picture if self._rings.is_current(slot) else None

    def _write(self, record: _Record, message: wire.Scored, picture: Picture | None) -> None:
        frame = message.frame
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
        self._sink.write(result, picture)
        record.seq, record.epoch, record.attempt = frame.seq, frame.epoch, frame.attempt
        for face in message.faces:
            record.last_track = max(record.last_track, face.track)
        self.count_frame(frame.stream)
        if frame.stream in self._agreement and not frame.dropped:
            self._agreement[frame.stream].update(frame.epoch, frame.seq, message.classifier, message.faces)
        latency = time.monotonic() - frame.captured
        metrics.end_to_end_seconds.labels(frame.stream, self._spec.sink).observe(latency)

    def _flush_soon(self, stream: _Stream, most: int) -> None:
        if stream.pending >= most:
            self._flush()
        elif self._flush_at is None:
            self._flush_at = time.monotonic() + BEAT_SECONDS

    def _end(self, name: str, stream: _Stream, record: _Record, message: wire.EndScored) -> None:
        count = message.end.count
        if stream.live:
            owed = self.settle(None, (name, message.classifier), message.end.skipped)
            self._account_for((name, message.classifier), record, count, owed.skipped)
            record.seq = max(record.seq, count - 1)
        elif record.seq < count - 1:
            return  # frames before it are still to come again
        record.ended = True
        if all(other.ended for other in stream.records.values()):
            if not stream.ended:
                self._sink.end(name)
                stream.ended = True
            stream.pending += 1
            self._flush()

    def measure(self) -> None:
        path = self._spec.component.options.get("path")
        if isinstance(path, str):
            with contextlib.suppress(OSError):  # a directory that is gone has no space to tell of
                space = os.statvfs(Path(path).parent)
                metrics.disk_free.labels(self._spec.sink).set(space.f_bavail * space.f_frsize)
                metrics.disk_size.labels(self._spec.sink).set(space.f_blocks * space.f_frsize)

    def ready(self) -> bool:
        return not self._held

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
        self._write_intent()
        self._held = self._sink.flush() is False
        if self._held:
            self._flush_at = time.monotonic() + BEAT_SECONDS
        else:
            self._acknowledge()

    def _acknowledge(self) -> None:
        self._batch = {}
        for name, stream in self._streams.items():
            if stream.pending:
                stream.pending = 0
                self.link.send(wire.Ack(name, self._ledgers(stream), stream.ended))

    def _ledgers(self, stream: _Stream) -> list[wire.Ledger]:
        return [
            wire.Ledger(
                name, record.seq, record.delivered, dict(record.dropped), record.last_track, record.epoch
            )
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
        self._acknowledge()  # what was held is written, or close would have raised
        return wire.Stopped(list(self._sink.outputs()))
