"""Reads a live source in a thread of its own, for ever: opens, decodes, numbers, writes into the ring."""

from __future__ import annotations

import random
import threading
import time
from collections import deque
from collections.abc import Callable

from streamfer import metrics, wire
from streamfer.api import Source, SourceFrame
from streamfer.errors import SourceError, StartError
from streamfer.picture import Picture
from streamfer.redact import redact
from streamfer.shm import Ring, Tally, choose_slots
from streamfer.stages.base import Owed
from streamfer.stages.clock import StreamClock
from streamfer.stages.spec import CaptureSpec, LiveSpec
from streamfer.types import LostReason, StreamState

FIRST_PAUSE = 0.5
"""Seconds before a lost source is opened again for the first time; doubled each time, up to `retry`."""
PROVEN = 5.0
"""Seconds for which a connection must give frames before the next loss counts as the first."""
HANDED_OVER = 16
"""Frames that may wait for the main thread; it takes them at once unless it is held up."""


class Reader:
    """The reading half of a live capture. The main thread takes frames from `ready` and what to report from
    `conditions`; `wake` tells it that there is something. What only one half touches needs no lock."""

    def __init__(
        self, source: Source, spec: CaptureSpec, live: LiveSpec, tally: Tally, wake: Callable[[], None]
    ) -> None:
        self._source = source
        self._spec = spec
        self._live = live
        self._tally = tally
        self._wake = wake
        self.ready: deque[wire.Frame] = deque()
        self.conditions: deque[wire.Condition] = deque()
        self.failure: Exception | None = None
        """Why the thread has ended before its time; the main thread raises it."""
        self.over = False
        """The source has ended for good."""
        self.state: StreamState = "connecting"
        self.since = time.monotonic()
        """When the newest frame came, or the connection was begun."""
        self.opening: float | None = None
        """Since when a connection is being made, until its first frame has come."""
        self._lock = threading.Lock()  # over numbers, what is owed, and the end
        self._closed = threading.Event()
        self._owed = Owed()
        self._seq = self._epoch = self._reconnects = 0
        self._fresh = True  # no frame of this connection yet
        self._used = False  # a frame of this epoch was numbered
        self._clock = StreamClock()
        self._due = 0.0
        self._ring: Ring | None = None
        self._old: Ring | None = None
        self._slot = 0
        self._seconds = metrics.stage_seconds.labels("capture", spec.source.name)
        self._count = metrics.frames.labels(spec.stream, "capture", spec.source.name)
        self._captured_at = metrics.frame_captured.labels(spec.stream)
        for reason in ("overload", "fps_cap", "corrupt"):
            self._count_dropped(reason, 0)
        self._lost = metrics.reconnects.labels(spec.stream)

    # ---- for the main thread -------------------------------------------------------------------------------

    def start(self, seq: int, epoch: int) -> None:
        """Begin to read; the first frame is `seq` of `epoch`."""
        self._seq, self._epoch = seq, epoch
        self._tally.write(seq, epoch, self._tally.read()[2])
        threading.Thread(target=self._run, daemon=True, name="reader").start()

    def close(self) -> tuple[int, int]:
        """Number no more frames; the count so far, and the epoch. The thread ends when its library does."""
        with self._lock:
            self._closed.set()
            return self._seq, self._epoch

    def lose(self, frame: wire.Frame) -> None:
        """A frame could not be sent: it is dropped, and the next one tells of it."""
        self._count_dropped("overload")
        with self._lock:
            self._owed.add(frame.skipped)
            self._owed.add({"overload": 1})
            self._owed.discontinuity |= frame.discontinuity

    def owed(self) -> dict[str, int]:
        """The drops that no frame has told of."""
        with self._lock:
            return self._owed.skipped

    def report(self, state: StreamState, reason: LostReason | None = None, detail: str | None = None) -> None:
        """Note a new condition of the source."""
        self.state = state
        width, height = (self._ring.width, self._ring.height) if self._ring else (0, 0)
        self.conditions.append(
            wire.Condition(
                self._spec.stream, state, reason, detail, self._epoch, self._reconnects, width, height
            )
        )
        self._wake()

    # ---- the thread ----------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._read_for_ever()
        except Exception as error:  # noqa: BLE001 - the main thread raises it
            self.failure = error
        self._wake()

    def _read_for_ever(self) -> None:
        failures = 0
        self.report("connecting")
        while not self._closed.is_set():
            self.since = self.opening = began = time.monotonic()
            self._fresh = True
            try:
                self._read_once()
            except SourceError as lost:
                reason, detail = lost.reason, redact(str(lost))
            else:
                self.over = True
                return
            finally:
                self._source.close()
            self.opening = None
            if self._closed.is_set():
                return
            proven = not self._fresh and self.since - began >= PROVEN
            failures = 1 if proven else failures + 1
            if not self._fresh:
                self._reconnects += 1
                self._lost.inc()
            self.report("reconnecting", reason, detail)
            pause = min(self._live.retry, FIRST_PAUSE * 2.0 ** min(failures - 1, 20))
            self._closed.wait(pause * random.uniform(0.75, 1.0))

    def _read_once(self) -> None:
        """One connection, until it is lost (SourceError) or the source is at its end."""
        self._source.open()
        for frame in self._source.frames():
            with self._lock:
                if self._closed.is_set():
                    return
                began = time.perf_counter()
                self._take(frame, time.monotonic())
            self._seconds.observe(time.perf_counter() - began)

    def _take(self, frame: SourceFrame, now: float) -> None:
        self.since = now
        if self._fresh:
            self._epoch += self._used
            self._used = True
            self._clock.restart()
        seq, self._seq = self._seq, self._seq + 1
        wall = time.time()
        self._tally.write(self._seq, self._epoch, wall)
        self._count.inc()
        self._captured_at.set(wall)
        seconds, jumped = self._clock.tick(frame.pts, now)
        self._owed.discontinuity |= jumped
        self.opening = None
        reason = self._reason_to_drop(frame, now)
        if reason is None:
            slot = self._write(frame.picture)
            owed, self._owed = self._owed, Owed()
            self.ready.append(
                wire.Frame(
                    stream=self._spec.stream,
                    attempt=0,
                    epoch=self._epoch,
                    seq=seq,
                    pts=frame.pts,
                    time=wall,
                    captured=now,
                    credit=0,
                    slot=slot,
                    seconds=seconds,
                    skipped=owed.skipped,
                    discontinuity=owed.discontinuity,
                )
            )
            self._wake()
        else:
            self._count_dropped(reason)
            self._owed.add({reason: 1})
        if self._fresh or self.state != "live":
            self._fresh = False
            self.report("live")

    def _reason_to_drop(self, frame: SourceFrame, now: float) -> str | None:
        if frame.corrupt:
            return "corrupt"
        if self._live.fps is not None:
            if now < self._due:
                return "fps_cap"
            # Frames come unevenly: counted on from when this one was due, or the rate would fall short.
            self._due = max(self._due, now - 0.5 / self._live.fps) + 1 / self._live.fps
        return "overload" if len(self.ready) >= HANDED_OVER else None

    def _count_dropped(self, reason: str, count: int = 1) -> None:
        metrics.dropped.labels(self._spec.stream, "capture", self._spec.source.name, reason).inc(count)

    def _write(self, picture: Picture) -> wire.SlotRef:
        ring = self._ring
        if ring is None or (ring.width, ring.height) != (picture.width, picture.height):
            ring = self._new_ring(picture.width, picture.height)
        slot = ring.write(self._slot, picture)
        self._slot = (self._slot + 1) % ring.slots
        if not self._slot and self._old is not None:
            self._old.close()
            self._old = None
        return slot

    def _new_ring(self, width: int, height: int) -> Ring:
        """A ring for a new frame size. Frames of the old one are still under way: it stays for a round."""
        if self._old is not None:
            self._old.close()
        self._old, self._ring, self._slot = self._ring, None, 0
        try:
            self._ring = Ring(width, height, choose_slots(width, height), self._spec.shm)
        except StartError as error:
            self._owed.add({"overload": 1})
            raise SourceError("memory", str(error)) from error
        return self._ring
