"""One stream as the supervisor sees it: its capture process, its books, and the state it is in."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import get_args

import msgspec

from streamfer import metrics, wire
from streamfer.errors import StreamferError
from streamfer.ledger import StreamBooks
from streamfer.plan import PlannedStream
from streamfer.process import Process
from streamfer.shm import Tally
from streamfer.status import FrameRate, StreamStatus
from streamfer.types import LostReason, StreamState


@dataclass
class Stream:
    """A stream of a run. A live one has a `tally` and, once its capture has said something, a `condition`."""

    planned: PlannedStream
    books: StreamBooks
    capture: Process
    attempt: int = 0
    leased: int = 0
    finished: bool = False
    failure: StreamferError | None = None
    tally: Tally | None = None
    condition: wire.Condition | None = None
    reconnects: int = 0
    """Connections lost, by all its captures."""
    since: float = field(default_factory=time.time)
    """When it came to its present state (Unix time)."""
    rate: FrameRate = field(default_factory=FrameRate)

    @classmethod
    def begun(cls, planned: PlannedStream, sinks: dict[str, bool], capture: Process) -> Stream:
        """A stream of which nothing has been read yet; `sinks` is the plan's."""
        live = planned.capture.live is not None
        for reason in get_args(LostReason) if live else ():
            metrics.lost.labels(planned.name, reason)
        books = StreamBooks(planned.name, planned.classifiers, sinks, live=live)
        tally = Tally(planned.capture.tally, create=True) if live else None
        return cls(planned, books, capture, tally=tally)

    @property
    def live(self) -> bool:
        return self.tally is not None

    def changed(self, condition: wire.Condition) -> None:
        """Its capture says that it is in another state than before, or still gives no frames."""
        known = self.condition.reconnects if self.condition else 0
        # A new capture counts from 0.
        self.reconnects += condition.reconnects - (known if condition.reconnects >= known else 0)
        self._enter(condition)

    def bereaved(self, detail: str) -> None:
        """Its capture has died and can say nothing any more, least of all that frames come."""
        before = self.condition or wire.Condition(self.planned.name, "connecting")
        self._enter(msgspec.structs.replace(before, state="reconnecting", reason="error", detail=detail))

    def _enter(self, condition: wire.Condition) -> None:
        if self.condition is None or self.condition.state != condition.state:
            self.since = time.time()
        if condition.reason is not None:
            metrics.lost.labels(self.planned.name, condition.reason).inc()
        self.condition = condition

    def status(self, *, booted: bool) -> StreamStatus:
        """What is told of it; `booted`: all shared stages have been ready."""
        condition, books = self.condition, self.books
        state: StreamState = "reading" if self.capture.ready and booted else "waiting"
        if self.live:
            state = condition.state if condition else "connecting"
        if self.finished:
            state = "failed" if self.failure else "done"
        behind = max(books.rows(), key=lambda row: row.in_flight)
        return StreamStatus(
            name=self.planned.name,
            live=self.live,
            state=state,
            since=self.since,
            reason=condition.reason if condition else None,
            detail=str(self.failure) if self.failure else condition.detail if condition else None,
            epoch=condition.epoch if condition else 0,
            reconnects=self.reconnects,
            width=condition.width if condition else 0,
            height=condition.height if condition else 0,
            fps=self.rate.update(time.monotonic(), books.captured),
            captured=books.captured,
            delivered=behind.delivered,
            in_flight=behind.in_flight,
            dropped=behind.dropped,
            last_frame=(self.tally.read()[2] or None) if self.tally else None,
        )
