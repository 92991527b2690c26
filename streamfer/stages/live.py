"""Capture of a live source: the newest frames go through a ring, and nobody can hold the source up."""

from __future__ import annotations

import contextlib
import os
import time

from streamfer import metrics, wire
from streamfer.plugins import build
from streamfer.shm import Tally
from streamfer.stages.base import BEAT_SECONDS, Link, Stage
from streamfer.stages.reader import Reader
from streamfer.stages.spec import CaptureSpec
from streamfer.transport import Sockets, try_send

OPEN_PATIENCE = 15.0
"""Seconds beyond `stale_after` that opening a source may take before the library is taken for hung."""


class LiveCapture(Stage):
    """A `Reader` reads; this main thread sends on what it has read, hears the supervisor, and notices that
    frames have stopped whatever the video library does."""

    kind = "capture"

    def __init__(self, spec: CaptureSpec, sockets: Sockets, link: Link) -> None:
        super().__init__(sockets, link, spec.source.name)
        assert spec.live is not None
        self._spec = spec
        self._live = spec.live
        self._draining = False
        self._up = metrics.stream_up.labels(spec.stream)

    def setup(self) -> wire.Ready:
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.waiter.add(self._wake)
        self._output = self.sockets.push(self._spec.detect)
        tally = Tally(self._spec.tally)
        source = build(self._spec.source)
        self._reader = Reader(source, self._spec, self._live, tally, lambda: os.eventfd_write(self._wake, 1))
        return wire.Ready()

    def started(self, start: wire.Start) -> None:
        self._reader.start(start.first, start.epoch)

    def command(self, message: wire.ToWorker) -> None:
        if isinstance(message, wire.Drain):
            self._draining = True

    def work(self) -> None:
        reader = self._reader
        while not (self._draining or reader.over):
            self.waiter.wait(BEAT_SECONDS)
            with contextlib.suppress(BlockingIOError):
                os.eventfd_read(self._wake)
            self.attend()
            self._send()
            if reader.failure is not None:
                raise reader.failure
            self._watch()
        count, epoch = reader.close()
        self._send()
        self._up.set(0)
        self.link.send(wire.Ended(self._spec.stream, count, None, self._draining))
        self.post(self._output, wire.encode(wire.End(self._spec.stream, 0, epoch, count, reader.owed())))
        self.flush()
        while True:
            self.attend()
            self.waiter.wait(BEAT_SECONDS)

    def _send(self) -> None:
        while self._reader.conditions:
            condition = self._reader.conditions.popleft()
            self._up.set(condition.state == "live")
            self.link.send(condition)
        while self._reader.ready:
            frame = self._reader.ready.popleft()
            if not try_send(self._output, [wire.encode(frame), b""]):
                self._reader.lose(frame)
            self.frames += 1

    def _watch(self) -> None:
        silent = time.monotonic() - self._reader.since
        limit = self._live.stale_after
        if self._reader.state == "live" and silent > limit:
            self._reader.report("stale", "timeout", f"no frame for {limit:g} s")
        opening = self._reader.opening
        if (self._reader.state == "stale" and silent > 2 * limit + 1) or (
            opening is not None and time.monotonic() - opening > limit + OPEN_PATIENCE
        ):
            # Nothing can end a thread that sits in a library; a new process can begin anew.
            raise RuntimeError("the video library hangs; capture starts again")
