"""Capture: decodes one stream, writes each frame once into the ring, and keeps it until every sink has it."""

from __future__ import annotations

import time
from collections import deque

import msgspec

from streamfer import metrics, wire
from streamfer.api import Source, SourceFrame
from streamfer.errors import BrokenFileError, StartError
from streamfer.plugins import build
from streamfer.shm import Ring, choose_slots
from streamfer.stages.base import BEAT_SECONDS, Link, Stage
from streamfer.stages.spec import CaptureSpec
from streamfer.transport import Sockets

HOLD_SECONDS = 0.05
"""How long a frame may wait for those that travel with it."""


class Capture(Stage):
    """A recording: nothing is dropped. At most `credit` frames are under way; the rest of the file waits."""

    kind = "capture"

    def __init__(self, spec: CaptureSpec, sockets: Sockets, link: Link) -> None:
        super().__init__(sockets, link, spec.source.name)
        self._spec = spec
        self._under_way: deque[wire.Frame] = deque()
        self._rings: list[tuple[Ring, int]] = []  # each with the last seq that lies in it
        self._slot = 0
        self._attempt = 0
        self._first = 0
        self._end: wire.End | None = None
        self._draining = False
        self._posted, self._flush_at = 0, 0.0
        stream = spec.stream
        self._count = metrics.frames.labels(stream, self.kind, self.component)
        self._captured_at = metrics.frame_captured.labels(stream)
        self._free = metrics.ring_slots.labels(stream, "free")
        self._leased = metrics.ring_slots.labels(stream, "leased")
        self._up = metrics.stream_up.labels(stream)

    def setup(self) -> wire.Ready:
        self._source: Source = build(self._spec.source)
        info = self._source.open()
        self._credit = self._spec.slots or choose_slots(info.width, info.height)
        self._new_ring(info.width, info.height)
        self._output = self.sockets.push(self._spec.detect)
        return wire.Ready(wire.Opened(info.width, info.height, info.frames, info.duration, info.description))

    def started(self, start: wire.Start) -> None:
        self._first, self._attempt = start.first, start.attempt

    def command(self, message: wire.ToWorker) -> None:
        if isinstance(message, wire.Release):
            while self._under_way and self._under_way[0].seq <= message.seq:
                self._under_way.popleft()
            self._drop_old_rings(message.seq)
        elif isinstance(message, wire.Replay):
            self._attempt = message.attempt
            again = [msgspec.structs.replace(frame, attempt=message.attempt) for frame in self._under_way]
            self._under_way = deque(again)
            self._outgoing.clear()  # of the attempt before
            for frame in again:
                self.post(self._output, wire.encode(frame))
            if self._end is not None:
                self._post_end(self._end.count)
            self.flush()
        elif isinstance(message, wire.Drain):
            self._draining = True

    def work(self) -> None:
        self._up.set(1)
        count, error = 0, None
        try:
            for source_frame in self._source.frames():
                seq, count = count, count + 1
                if seq < self._first:
                    if seq % 64 == 0:
                        self.attend()
                    continue
                self._wait_for_credit()
                if self._draining:
                    count = seq
                    break
                self._emit(seq, source_frame)
                self.frames = count
        except BrokenFileError as broken:
            error = str(broken)
        self._source.close()
        self._up.set(0)
        # A resumed run may begin past the end of a file that was complete already.
        count = max(count, self._first)
        self.link.send(wire.Ended(self._spec.stream, count, error, self._draining))
        self._post_end(count)
        self.flush()
        while True:
            self.attend()
            self.waiter.wait(BEAT_SECONDS)

    def _wait_for_credit(self) -> None:
        self.attend()
        if len(self._under_way) >= self._credit:
            self.flush()
        while len(self._under_way) >= self._credit and not self._draining:
            self.waiter.wait(BEAT_SECONDS)
            self.attend()

    def _emit(self, seq: int, source_frame: SourceFrame) -> None:
        began = time.perf_counter()
        slot = None
        if not source_frame.corrupt:
            picture = source_frame.picture
            ring = self._rings[-1][0]
            if (picture.width, picture.height) != (ring.width, ring.height):
                ring = self._new_ring(picture.width, picture.height)
            slot = ring.write(self._slot, picture)
            self._slot = (self._slot + 1) % self._credit
            self._rings[-1] = (ring, seq)
        now = time.time()
        frame = wire.Frame(
            stream=self._spec.stream,
            attempt=self._attempt,
            epoch=0,
            seq=seq,
            pts=source_frame.pts,
            time=None,
            captured=time.monotonic(),
            credit=self._credit,
            slot=slot,
            dropped="corrupt" if source_frame.corrupt else None,
        )
        self._under_way.append(frame)
        self.post(self._output, wire.encode(frame))
        self._posted += 1
        # A quarter of the ring at a time, but never held back for long.
        if self._posted >= self._credit // 4 or frame.captured >= self._flush_at:
            self.flush()
            self._posted, self._flush_at = 0, frame.captured + HOLD_SECONDS
        self._count.inc()
        if frame.dropped:
            self.count_dropped(frame.stream, frame.dropped)
        self._captured_at.set(now)
        self._leased.set(len(self._under_way))
        self._free.set(self._credit - len(self._under_way))
        self.seconds.observe(time.perf_counter() - began)

    def _post_end(self, count: int) -> None:
        self._end = wire.End(self._spec.stream, self._attempt, 0, count)
        self.post(self._output, wire.encode(self._end))

    def _new_ring(self, width: int, height: int) -> Ring:
        try:
            ring = Ring(width, height, self._credit, self._spec.shm)
        except StartError as error:
            raise StartError(f"streams.{self._spec.stream}: {error}") from error
        self._rings.append((ring, -1))
        self._slot = 0
        return ring

    def _drop_old_rings(self, released: int) -> None:
        while len(self._rings) > 1 and self._rings[0][1] <= released:
            self._rings.pop(0)[0].close()

    def stop(self) -> wire.Stopped:
        self._source.close()
        for ring, _ in self._rings:
            ring.close()
        return wire.Stopped()
