"""What a running service tells of itself: the document behind /api/status, /readyz and `streamfer status`."""

from __future__ import annotations

from typing import Literal

import msgspec

from streamfer.types import LostReason

StreamState = Literal["waiting", "connecting", "live", "stale", "reconnecting", "reading", "done", "failed"]
"""A recording is waiting, reading, done or failed. A live source is connecting (for the first time), live,
stale (frames have stopped, the connection is not yet given up) or reconnecting (lost, tried again)."""

StageState = Literal["starting", "up", "restarting", "broken", "stopped"]
"""Restarting: dead, and about to be started again. Broken: dead too often; tried again each minute."""


class StreamStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One stream.

    Times are seconds since the Unix epoch: `since` is when `state` began, `last_frame` when the newest frame
    was captured. `reason` and `detail` say why there are no frames. `captured` and the like count frames of
    this run, for the sink and classifier that are furthest behind; `dropped` has them by reason.
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
    captured: int = 0
    delivered: int = 0
    in_flight: int = 0
    dropped: dict[str, int] = {}
    last_frame: float | None = None


class StageStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One process. `last_progress` is when it last reported progress, seconds since the Unix epoch."""

    name: str
    state: StageState
    restarts: int = 0
    last_progress: float | None = None


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """The whole service. `ready`: every stage is up, and at least one stream gives frames or is done;
    `started` is seconds since the Unix epoch."""

    version: str
    started: float
    ready: bool
    streams: list[StreamStatus] = []
    stages: list[StageStatus] = []


def encode(status: Status) -> bytes:
    """The document as JSON."""
    return msgspec.json.encode(status)


def decode(payload: bytes) -> Status:
    """The document in JSON; msgspec.DecodeError if it is none."""
    return msgspec.json.decode(payload, type=Status)
