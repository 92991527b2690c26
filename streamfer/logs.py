"""A line of the service's log: how it is printed, and how lines that repeat are held back."""

from __future__ import annotations

import json
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec

from streamfer.redact import redact


class LogLine(msgspec.Struct, frozen=True, kw_only=True):
    """One line. `time` is seconds since the Unix epoch, `level` as in `logging`; `stage` is the process that
    says it; `stream`, `epoch` and `seq` name the stream and frame that it is about."""

    time: float
    level: int
    text: str
    stage: str | None = None
    stream: str | None = None
    epoch: int | None = None
    seq: int | None = None


def to_text(line: LogLine) -> str:
    """The line for a person, without time and level: `stream: text`, or `stage: text`."""
    about = line.stream or line.stage
    text = line.text if about is None or line.text.startswith(about) else f"{about}: {line.text}"
    return printable(text)


def to_json(line: LogLine) -> str:
    """The line as one JSON object, without a line break."""
    facts = {"stage": line.stage, "stream": line.stream, "epoch": line.epoch, "seq": line.seq}
    return event(line.time, line.level, line.text, **facts)


def event(when: float, level: int, message: str, /, **facts: Any) -> str:
    """A line of a JSON log: time, level and message, then the facts that are not None."""
    known = {
        "time": datetime.fromtimestamp(when, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "level": level_name(level),
        "message": printable(message),
    }
    known |= {
        key: printable(fact) if isinstance(fact, str) else fact
        for key, fact in facts.items()
        if fact is not None
    }
    return json.dumps(known, ensure_ascii=False)


def level_name(level: int) -> str:
    """debug, info, warning, error or critical: the highest of them that the level reaches."""
    levels = (logging.CRITICAL, logging.ERROR, logging.WARNING, logging.INFO)
    return logging.getLevelName(next((one for one in levels if level >= one), logging.DEBUG)).lower()


def printable(text: str) -> str:
    """Without secrets, and without what UTF-8 cannot say (file names hold it at times)."""
    return redact(text).encode("utf-8", "backslashreplace").decode()


@dataclass
class _Repeats:
    printed: float
    held: LogLine | None = None
    count: int = 0
    """How many lines were held back before `held`."""


class RateLimit:
    """Lets the first line of a key pass at once and then one in `seconds`, which tells how many there were.

    A camera that is away for a weekend fills no disk. Keys are forgotten when nothing has come for `seconds`;
    of more than `keys` at a time the one that was printed longest ago is forgotten.
    """

    def __init__(
        self, seconds: float = 60.0, keys: int = 1000, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._seconds = seconds
        self._most = keys
        self._clock = clock
        self._keys: OrderedDict[Hashable, _Repeats] = OrderedDict()  # the one printed longest ago first

    def admit(self, key: Hashable, line: LogLine) -> LogLine | None:
        """The line, if it may be printed now; None if it is held back."""
        now = self._clock()
        known = self._keys.get(key)
        if known is None or now - known.printed >= self._seconds:
            if known is not None and known.held is not None:
                line = _counted(line, known.count + 1)
            self._printed(key, now)
            return line
        known.count += known.held is not None
        known.held = line
        return None

    def due(self) -> list[LogLine]:
        """What was held back and may be printed now: the newest line of each key, with their number."""
        now = self._clock()
        over = [key for key, known in self._keys.items() if now - known.printed >= self._seconds]
        lines = []
        for key in over:
            known = self._keys[key]
            if known.held is None:
                del self._keys[key]
                continue
            lines.append(_counted(known.held, known.count))
            self._printed(key, now)
        return lines

    def _printed(self, key: Hashable, now: float) -> None:
        self._keys[key] = _Repeats(now)
        self._keys.move_to_end(key)
        if len(self._keys) > self._most:
            self._keys.popitem(last=False)


def _counted(line: LogLine, more: int) -> LogLine:
    if not more:
        return line
    times = "once" if more == 1 else f"{more} times"
    return msgspec.structs.replace(line, text=f"{line.text} ({times} more since)")
