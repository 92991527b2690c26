"""What the stages share: the control link to the supervisor and the loop start → work → stop."""

from __future__ import annotations

import logging
import time
from abc import ABC, abstractmethod
from itertools import zip_longest

import zmq  # types only; sockets are made by streamfer.transport

from streamfer import metrics, wire
from streamfer.transport import Sockets, Waiter, readable, receive, try_send

BEAT_SECONDS = 0.25
"""How often a worker reports progress, and the longest it waits for anything in one go."""

log = logging.getLogger("streamfer")


class Stopping(Exception):
    """Stop came while the stage waited for something else."""


class Link:
    """The worker's end of the control socket."""

    def __init__(self, sockets: Sockets, address: str, identity: str) -> None:
        self.socket = sockets.dealer(address, identity)

    def send(self, message: wire.FromWorker) -> None:
        """Tell the supervisor. Its queue is bounded by what workers have to say; a full one loses a beat."""
        try_send(self.socket, [wire.encode(message)])

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
        self._link.send(wire.Log(record.levelno, record.getMessage()))


class Stage(ABC):
    """A worker's stage. `setup` builds it; `run` is its whole life after that."""

    kind: str

    def __init__(self, sockets: Sockets, link: Link) -> None:
        self.sockets = sockets
        self.link = link
        self.waiter = Waiter()
        self.waiter.add(link.socket)
        self.frames = 0
        self.bad_messages = 0
        self._next_beat = 0.0
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
        now = time.monotonic()
        if now >= self._next_beat:
            self._beat(now)

    def _beat(self, now: float) -> None:
        self._next_beat = now + BEAT_SECONDS
        self.link.send(wire.Beat(self.frames, self.bad_messages))

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


class PullStage(Stage):
    """A stage that is fed through one socket."""

    def listen(self, address: str) -> None:
        """Bind the input."""
        self.input = self.sockets.pull(address)
        self.waiter.add(self.input)

    @abstractmethod
    def handle(self, message: wire.Data, blob: bytes) -> None:
        """One message and the raw bytes that came with it. WireError if it is not for this stage."""

    def timeout(self) -> float:
        """Seconds to wait for input before `idle` is called."""
        return BEAT_SECONDS

    def idle(self) -> None:
        """Called at least every `timeout` seconds, with or without input."""
        return

    def work(self) -> None:
        while True:
            self.attend()
            if readable(self.input):
                parts = receive(self.input)
                for payload, blob in zip_longest(parts[::2], parts[1::2], fillvalue=b""):
                    self._handle(payload, blob)
                self.flush()
            else:
                self.waiter.wait(self.timeout())
            self.idle()

    def _handle(self, payload: bytes, blob: bytes) -> None:
        try:
            self.handle(wire.decode_data(payload), blob)
        except wire.WireError as error:
            self.bad_messages += 1
            metrics.bad_messages.labels(self.kind).inc()
            log.warning("%s: a message was dropped: %s", self.kind, error)
