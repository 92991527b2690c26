"""What the stages share: the control link to the supervisor and the loop start → work → stop."""

from __future__ import annotations

import logging
import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any

import msgspec
import zmq  # types only; sockets are made by streamfer.transport

from streamfer import metrics, wire
from streamfer.redact import redact
from streamfer.stages.backlog import Backlog, Limits
from streamfer.stages.resources import Resources
from streamfer.stages.spec import LiveSpec
from streamfer.transport import Sockets, Waiter, readable, receive, try_send

BEAT_SECONDS = 0.25
"""How often a worker reports progress, and the longest it waits for anything in one go."""

BATCH = 8
"""Frames of recordings whose results leave together at the most."""
LOGGED_BAD_MESSAGES = 20
"""Bad messages that are logged; the others are only counted."""

Key = str | tuple[str, str]
"""Names a queue: a stream, or (stream, classifier)."""

log = logging.getLogger("streamfer")


class Stopping(Exception):
    """Stop came while the stage waited for something else."""


class Link:
    """The worker's end of the control socket."""

    def __init__(self, sockets: Sockets, address: str, identity: str) -> None:
        self.socket = sockets.dealer(address, identity)
        self.worker = identity.rpartition("#")[0]
        """The name of this worker, which its predecessors and successors share."""
        self._owner = threading.get_ident()
        self._deferred: deque[wire.FromWorker] = deque(maxlen=256)

    def send(self, message: wire.FromWorker) -> None:
        """Tell the supervisor. Its queue is bounded by what workers have to say; a full one loses a beat.

        What another thread says leaves when the socket's own thread comes by.
        """
        if threading.get_ident() == self._owner:
            try_send(self.socket, [wire.encode(message)])
        else:
            self._deferred.append(message)

    def send_deferred(self) -> None:
        """Send what other threads have said."""
        while self._deferred:
            self.send(self._deferred.popleft())

    def next(self) -> wire.ToWorker | None:
        """The supervisor's next word, if there is one."""
        if not readable(self.socket):
            return None
        return wire.decode_to_worker(receive(self.socket)[-1])


class LinkHandler(logging.Handler):
    """Sends log records to the supervisor, which owns the terminal."""

    def __init__(self, link: Link) -> None:
        super().__init__()
        self._link = link

    def emit(self, record: logging.LogRecord) -> None:
        text, told = redact(record.getMessage()), record.__dict__
        self._link.send(
            wire.Log(record.levelno, text, told.get("stream"), told.get("epoch"), told.get("seq"))
        )


class Stage(ABC):
    """A worker's stage. `setup` builds it; `run` is its whole life after that."""

    kind: str

    def __init__(self, sockets: Sockets, link: Link, component: str) -> None:
        """`component` is what metrics call the part that works here: a source, a detector, a classifier, a
        sink."""
        self.component = component
        self.seconds = metrics.stage_seconds.labels(self.kind, component)
        self._bad = metrics.bad_messages.labels(self.kind)
        self.sockets = sockets
        self.link = link
        self.waiter = Waiter()
        self.waiter.add(link.socket)
        self.frames = 0
        self.bad_messages = 0
        self._next_beat = 0.0
        self._resources = Resources(self.kind, link.worker)
        self._outgoing: dict[zmq.Socket[bytes], list[bytes]] = {}

    @abstractmethod
    def setup(self) -> wire.Ready:
        """Build the component and the sockets; StreamferError if that cannot be."""

    @abstractmethod
    def work(self) -> None:
        """Work until `Stopping`."""

    def started(self, start: wire.Start) -> None:
        """The supervisor's go-ahead."""
        return

    def command(self, message: wire.ToWorker) -> None:
        """A word of the supervisor other than start and stop."""
        return

    def stop(self) -> wire.Stopped:
        """Finish in good order."""
        return wire.Stopped()

    def run(self) -> None:
        """Report ready, wait for the start, work until told to stop, finish."""
        self.link.send(self.setup())
        try:
            self._await_start()
            self.work()
        except Stopping:
            pass
        self.link.send(self.stop())

    def _await_start(self) -> None:
        while True:
            message = self.link.next()
            if isinstance(message, wire.Start):
                self.started(message)
                return
            if isinstance(message, wire.Stop):
                raise Stopping
            if message is None:
                self.waiter.wait(BEAT_SECONDS)
                self._beat(time.monotonic())

    def attend(self) -> None:
        """Hear the supervisor out and report progress; raises Stopping."""
        while (message := self.link.next()) is not None:
            if isinstance(message, wire.Stop):
                raise Stopping
            self.command(message)
        self.link.send_deferred()
        now = time.monotonic()
        if now >= self._next_beat:
            self._beat(now)

    def _beat(self, now: float) -> None:
        self._next_beat = now + BEAT_SECONDS
        self.link.send(wire.Beat(self.frames, self.bad_messages))
        if self._resources.due(now):
            self.measure()

    def measure(self) -> None:
        """Set the metrics that are looked at now and then, once the stage is set up."""
        return

    def count_frame(self, stream: str) -> None:
        """A frame is finished."""
        self.frames += 1
        metrics.frames.labels(stream, self.kind, self.component).inc()

    def count_dropped(self, stream: str, reason: str, count: int = 1) -> None:
        """Frames are given up, or found to be missing."""
        metrics.dropped.labels(stream, self.kind, self.component, reason).inc(count)

    def post(self, socket: zmq.Socket[bytes], payload: bytes, blob: bytes = b"") -> None:
        """Queue a message for the next stage. What is posted until `flush` travels together: waking a process
        costs more than anything else about a message."""
        self._outgoing.setdefault(socket, []).extend((payload, blob))

    def flush(self) -> None:
        """Send what was posted; waits, attending to the supervisor, while a receiver is full."""
        while self._outgoing:
            socket, parts = self._outgoing.popitem()
            while not try_send(socket, parts):
                self.waiter.wait(0.005)
                self.attend()


@dataclass
class Owed:
    """What an output has not been told yet of a live stream: frames that were dropped, by reason, and whether
    one of them was the first after a discontinuity."""

    skipped: dict[str, int] = field(default_factory=dict)
    discontinuity: bool = False

    def add(self, skipped: Mapping[str, int]) -> None:
        for reason, count in skipped.items():
            self.skipped[reason] = self.skipped.get(reason, 0) + count


class PullStage(Stage):
    """A stage that is fed through one socket, and works on what waits, the streams in turn."""

    def listen(self, address: str, limits: Mapping[Key, Limits]) -> None:
        """Bind the input. `limits` has the queues of live streams; see `key`."""
        self.input = self.sockets.pull(address)
        self.waiter.add(self.input)
        self._live = frozenset(limits)
        for key in limits:
            for reason in ("overload", "max_age", "restart"):
                self.count_dropped(key if isinstance(key, str) else key[0], reason, 0)
        self._born = time.monotonic()
        self._backlog: Backlog[Key, tuple[wire.Data, bytes]] = Backlog(limits, self._given_up)
        self._owed: dict[tuple[zmq.Socket[bytes] | None, Key], Owed] = {}

    @abstractmethod
    def key(self, message: wire.Data) -> Key:
        """The queue of a message. WireError if it is not for this stage."""

    @abstractmethod
    def handle(self, message: Any, blob: bytes) -> None:
        """One message that has a key, and the raw bytes that came with it. WireError if it makes no sense."""

    @abstractmethod
    def outputs(self, key: Key) -> Sequence[zmq.Socket[bytes] | None]:
        """Where the messages of a queue go; None stands for the end of the way."""

    def ready(self) -> bool:
        """Whether the next message may be handled; else it waits, or is dropped as its stream is treated."""
        return True

    def timeout(self) -> float:
        """Seconds to wait for input before `idle` is called."""
        return BEAT_SECONDS

    def idle(self) -> None:
        """Called at least every `timeout` seconds, with or without input."""
        return

    def work(self) -> None:
        handled = 0
        while True:
            self.attend()
            while readable(self.input):
                self._receive()
            waiting = self._backlog.take(time.monotonic()) if self.ready() else None
            if waiting is None:
                self.flush()
                handled = 0
                self.waiter.wait(self.timeout())
            else:
                self._guarded(self.handle, *waiting[1])
                handled += 1
                if handled % BATCH == 0:
                    self.flush()
            self.idle()

    def _receive(self) -> None:
        parts = receive(self.input)
        for payload, blob in zip_longest(parts[::2], parts[1::2], fillvalue=b""):
            self._guarded(self._put, payload, blob)

    def _put(self, payload: bytes, blob: bytes) -> None:
        message = wire.decode_data(payload)
        frame = frame_of(message)
        self._backlog.put(self.key(message), (message, blob), frame.captured if frame else None)

    def _guarded(self, do: Callable[..., None], *arguments: object) -> None:
        try:
            do(*arguments)
        except wire.WireError as error:
            self.bad_messages += 1
            self._bad.inc()
            if self.bad_messages <= LOGGED_BAD_MESSAGES:
                log.warning("%s: a message was dropped: %s", self.kind, error)

    # ---- live streams --------------------------------------------------------------------------------------

    def _given_up(self, key: Key, item: tuple[wire.Data, bytes], reason: str) -> None:
        frame = frame_of(item[0])
        assert frame is not None
        self.drop(key, frame, reason, discontinuity=item[0].discontinuity)  # type: ignore[union-attr]

    def drop(self, key: Key, frame: wire.Frame, reason: str, *, discontinuity: bool = False) -> None:
        """Give up a frame of a live stream. The next one that is sent on tells of it."""
        if frame.captured < self._born:  # it waited because there was nobody to take it
            reason = "restart"
        self.count_dropped(frame.stream, reason)
        for output in self.outputs(key):
            owed = self._owed_to(output, key)
            owed.add(frame.skipped)
            owed.add({reason: 1})
            owed.discontinuity |= discontinuity

    def _owed_to(self, output: zmq.Socket[bytes] | None, key: Key) -> Owed:
        return self._owed.setdefault((output, key), Owed())

    def settle(self, output: zmq.Socket[bytes] | None, key: Key, skipped: Mapping[str, int]) -> Owed:
        """All that an output is now to be told: what it was owed, and what came with the frame."""
        owed = self._owed.pop((output, key), None) or Owed()
        owed.add(skipped)
        return owed

    def is_live(self, key: Key) -> bool:
        return key in self._live

    def send_live(
        self, key: Key, output: zmq.Socket[bytes], message: wire.Found | wire.Scored, blob: bytes = b""
    ) -> None:
        """Send on a live stream's frame at once, or not at all: a full receiver holds nobody up."""
        frame = message.frame
        owed = self.settle(output, key, frame.skipped)
        owed.discontinuity |= message.discontinuity
        replace = msgspec.structs.replace
        frame = replace(frame, skipped=owed.skipped)
        message = replace(message, frame=frame, discontinuity=owed.discontinuity)
        if not try_send(output, [wire.encode(message), blob]):
            self.count_dropped(frame.stream, "overload")
            owed.add({"overload": 1})
            self._owed[output, key] = owed

    def post_end(
        self, key: Key, output: zmq.Socket[bytes], end: wire.End, classifier: str | None = None
    ) -> None:
        """Queue the end of a stream, with all that is still owed."""
        end = msgspec.structs.replace(end, skipped=self.settle(output, key, end.skipped).skipped)
        self.post(output, wire.encode(end if classifier is None else wire.EndScored(end, classifier)))


def frame_of(message: wire.Data) -> wire.Frame | None:
    """The frame that a message is about; None for the end of a stream."""
    if isinstance(message, wire.Frame):
        return message
    return message.frame if isinstance(message, wire.Found | wire.Scored) else None


def queue_limits(live: Mapping[str, LiveSpec]) -> dict[Key, Limits]:
    """The queues of live streams in front of a stage that works on their frames."""
    return {name: Limits(spec.queue, spec.drop, spec.max_age) for name, spec in live.items()}
