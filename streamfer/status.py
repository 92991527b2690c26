"""What a running service tells of itself: the document behind /api/status, /readyz and `streamfer status`."""

from __future__ import annotations

from collections import deque
from typing import Literal

import msgspec

from streamfer.redact import redact
from streamfer.types import LostReason, StreamState

StageState = Literal["starting", "up", "restarting", "broken", "stopped"]
"""Restarting: dead, and about to be started again. Broken: dead too often; tried again each minute."""


class StreamStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One stream.

    Times are seconds since the Unix epoch: `since` is when `state` began, `last_frame` when the newest frame
    was captured. `reason` and `detail` say why there are no frames. `captured` and the like count frames of
    this run, for the sink and classifier that are furthest behind; `dropped` has them by reason. `fps` is
    captured frames per second over the last ten seconds or so (`FrameRate`), None before it is known.
    """

    name: str
    live: bool
    state: StreamState
    since: float
    reason: LostReason | None = None
    detail: str | None = None
    epoch: int = 0
    reconnects: int = 0
    width: int = 0
    height: int = 0
    fps: float | None = None
    captured: int = 0
    delivered: int = 0
    in_flight: int = 0
    dropped: dict[str, int] = {}
    last_frame: float | None = None


class StageStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One process. `stage` is capture, detect, classify or sink; `last_progress` is when it last reported
    progress, seconds since the Unix epoch."""

    name: str
    stage: str = ""
    state: StageState
    restarts: int = 0
    last_progress: float | None = None


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """The whole service. `ready`: every shared stage is up, and at least one stream gives frames or is done;
    `started` is seconds since the Unix epoch.

    /api/status adds `time`, when it answered, and `age`, for how many seconds the supervisor's loop had not
    turned by then.
    """

    version: str
    started: float
    ready: bool
    time: float = 0.0
    age: float = 0.0
    streams: list[StreamStatus] = []
    stages: list[StageStatus] = []


def is_well(stream: StreamStatus) -> bool:
    """Whether a stream does what it is for."""
    return stream.state in ("live", "reading", "done")


def not_ready(status: Status) -> list[str]:
    """What keeps the service, or one of its streams, from being all there: one line each, for a person."""
    missing = [stage for stage in status.stages if stage.state not in ("up", "stopped")]
    parts = [redact(f"stage {stage.name}: {stage.state}") for stage in missing]
    for stream in status.streams:
        if not is_well(stream) and stream.state != "waiting":
            why = stream.detail or (stream.reason and stream.reason.replace("_", " "))
            parts.append(redact(f"stream {stream.name}: {stream.state}" + (f": {why}" if why else "")))
    return parts


class FrameRate:
    """Frames per second of a counter that is looked at now and then, over about the last `seconds`."""

    def __init__(self, seconds: float = 10.0) -> None:
        self._seconds = seconds
        self._samples: deque[tuple[float, int]] = deque()

    def update(self, now: float, count: int) -> float | None:
        """The rate at `now`, a monotonic clock in seconds; None before a second has passed."""
        if not self._samples or now - self._samples[-1][0] >= self._seconds / 20:
            self._samples.append((now, count))
        while len(self._samples) > 2 and now - self._samples[1][0] >= self._seconds:
            self._samples.popleft()
        since, before = self._samples[0]
        return (count - before) / (now - since) if now - since >= 1.0 else None


def encode(status: Status) -> bytes:
    """The document as JSON, its texts without secrets."""
    replace = msgspec.structs.replace
    streams = [
        replace(stream, name=redact(stream.name), detail=stream.detail and redact(stream.detail))
        for stream in status.streams
    ]
    stages = [replace(stage, name=redact(stage.name)) for stage in status.stages]
    return msgspec.json.encode(replace(status, streams=streams, stages=stages))


def decode(payload: bytes) -> Status:
    """The document in JSON; msgspec.DecodeError if it is none."""
    return msgspec.json.decode(payload, type=Status)
