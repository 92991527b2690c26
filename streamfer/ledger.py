"""The books of a run, per stream, classifier and sink: captured = delivered + dropped + in flight."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from streamfer import wire

EARLIER_RUN = "earlier_run"
"""Why a best-effort sink has no frames from before a `--resume`."""


@dataclass(frozen=True)
class Row:
    """The account of one (stream, classifier, sink), in frames."""

    stream: str
    classifier: str
    sink: str
    captured: int
    delivered: int
    dropped: dict[str, int]

    @property
    def in_flight(self) -> int:
        return self.captured - self.delivered - sum(self.dropped.values())


@dataclass
class StreamBooks:
    """What is known of one stream's frames. `sinks` maps each sink to whether it is durable; `captured` is
    final once `complete`. The frames of a live stream count from `base`, the first of this run."""

    stream: str
    classifiers: tuple[str, ...]
    sinks: dict[str, bool]
    captured: int = 0
    complete: bool = False
    expected: int | None = None
    live: bool = False
    base: int = 0
    _held: dict[tuple[str, str], wire.Ledger] = field(default_factory=dict)  # by sink, classifier
    _done: set[str] = field(default_factory=set)

    def resumed(self, sink: str, ledgers: Iterable[wire.Ledger]) -> None:
        """A durable sink has told what it has on record."""
        for ledger in ledgers:
            self._held[sink, ledger.classifier] = ledger
        self._done.discard(sink)

    def acked(self, sink: str, ledgers: Iterable[wire.Ledger], *, done: bool) -> None:
        """A sink has acknowledged frames; `done`: the last one of the stream among them."""
        for ledger in ledgers:
            held = self._held.get((sink, ledger.classifier))
            if held is None or ledger.seq >= held.seq:
                self._held[sink, ledger.classifier] = ledger
            self.captured = max(self.captured, ledger.seq + 1 - self.base)
        if done:
            self._done.add(sink)

    def begin_live(self) -> tuple[int, int]:
        """The first frame and the first epoch of this run: behind all that any sink has on record."""
        held = [ledger for ledger in self._held.values() if ledger.seq >= 0]
        self.base = max((ledger.seq for ledger in held), default=-1) + 1
        epoch = max((ledger.epoch for ledger in held), default=-1) + 1
        last_track = max((ledger.last_track for ledger in held), default=0)
        for sink in self.sinks:
            for classifier in self.classifiers:
                ledger = wire.Ledger(classifier, self.base - 1, 0, {}, last_track)
                self._held[sink, classifier] = ledger
        return self.base, epoch

    def begin(self) -> int:
        """The frame to begin with: behind what the durable sinks have on record. Best-effort sinks have no
        record of an earlier run; in their books its frames are dropped."""
        first = self._least(sink for sink, durable in self.sinks.items() if durable) + 1
        for sink, durable in self.sinks.items():
            for classifier in self.classifiers:
                if first and not durable:
                    ledger = wire.Ledger(classifier, first - 1, 0, {EARLIER_RUN: first}, 0)
                    self._held[sink, classifier] = ledger
        return first

    def released(self) -> int:
        """The last frame that every sink holds, for every classifier (-1: none)."""
        return self._least(self.sinks)

    def held(self, sink: str) -> list[wire.Ledger]:
        """What a sink has acknowledged, for its successor."""
        return [ledger for (of, _), ledger in self._held.items() if of == sink]

    def _least(self, sinks: Iterable[str]) -> int:
        pairs = [(sink, classifier) for sink in sinks for classifier in self.classifiers]
        return min((self._held[pair].seq if pair in self._held else -1 for pair in pairs), default=-1)

    def done(self) -> bool:
        """Whether every sink holds everything that was captured."""
        return self.complete and self._done.issuperset(self.sinks)

    def finished_frames(self) -> int:
        """Frames that every sink holds: what a progress bar shows."""
        return self.released() + 1

    def rows(self) -> list[Row]:
        """One account per classifier and sink."""
        rows = []
        for classifier in self.classifiers:
            for sink in self.sinks:
                held = self._held.get((sink, classifier))
                rows.append(
                    Row(
                        self.stream,
                        classifier,
                        sink,
                        self.captured,
                        held.delivered if held else 0,
                        dict(held.dropped) if held else {},
                    )
                )
        return rows
