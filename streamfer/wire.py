"""The messages between processes: typed msgpack arrays, versioned, bounded, validated.

Data messages flow down the pipeline (capture → detect → classify → sink); control messages run between every
worker and the supervisor. A message of another version, or one that does not validate, is a `WireError`: the
receiver counts it and drops it.
"""

from __future__ import annotations

from typing import Final, TypeVar

import msgspec

from streamfer.types import Count, Face, Finite, FoundStatus, LostReason, StreamState

VERSION: Final = 1
MAX_MESSAGE: Final = 16 * 1024 * 1024
"""Bytes; a part larger than this is refused by the socket."""
MAX_FACE: Final = 512 * 512 * 3
"""Bytes that all crops of one face for one classifier may have, those of a classifier's members together: one
crop of the largest network. A frame of 21 such faces still fits a message."""


class WireError(ValueError):
    """A message that is not one of ours, or of another version."""


class _Message(msgspec.Struct, array_like=True, frozen=True, gc=False):
    pass


# ---- data --------------------------------------------------------------------------------------------------


class SlotRef(_Message, frozen=True):
    """Where a frame's pixels lie: a slot of a shared-memory ring (`streamfer.shm`)."""

    ring: str
    nonce: int
    slot: Count
    generation: Count
    width: Count
    height: Count
    full_range: bool


class Frame(_Message, frozen=True, tag=f"frame{VERSION}"):
    """One decoded frame: `(stream, epoch, seq)` names it.

    `attempt` rises each time a recording's frames are sent again after a failure. `credit` is how many frames
    of a recording may be under way at once: sinks acknowledge at the latest every credit/2 frames. `seconds`
    is the stream's own even clock, for trackers; `captured` the capture host's monotonic one. A recording's
    frame with `dropped` set is not to be analysed and has no pixels. Of a live stream, `skipped` counts by
    reason the frames that were dropped on the way since the one before this was sent on; `discontinuity` says
    that the source's clock has jumped.
    """

    stream: str
    attempt: Count
    epoch: Count
    seq: Count
    pts: Finite | None
    time: Finite | None
    captured: Finite
    credit: Count
    slot: SlotRef | None
    dropped: str | None = None
    seconds: Finite | None = None
    skipped: dict[str, Count] = {}
    discontinuity: bool = False


class FoundFace(_Message, frozen=True):
    """A tracked face; those with status "ok" have a crop, in order, in the message's second part."""

    track: Count
    box: tuple[Finite, Finite, Finite, Finite]
    score: Finite
    status: FoundStatus


class Found(_Message, frozen=True, tag=f"found{VERSION}"):
    """What detect says of a frame; the crops follow as raw bytes (n, height, width, channels) uint8, for each
    crop that the classifier wants, in its order."""

    frame: Frame
    faces: list[FoundFace]
    discontinuity: bool = False


class Scored(_Message, frozen=True, tag=f"scored{VERSION}"):
    """What a classifier says of a frame."""

    frame: Frame
    classifier: str
    faces: list[Face]
    discontinuity: bool = False


class End(_Message, frozen=True, tag=f"end{VERSION}"):
    """The end of a stream behind frame `count` - 1. Flows through every stage behind the last frame."""

    stream: str
    attempt: Count
    epoch: Count
    count: Count
    skipped: dict[str, Count] = {}


class EndScored(_Message, frozen=True, tag=f"endscored{VERSION}"):
    """The end of a stream for one classifier."""

    end: End
    classifier: str


# ---- control: worker → supervisor --------------------------------------------------------------------------


class Ledger(_Message, frozen=True):
    """How far a sink is with one (stream, classifier): frames on record, up to and including `seq`. The
    counts of a recording begin with its first frame, those of a live stream with the run."""

    classifier: str
    seq: int
    delivered: int
    dropped: dict[str, int]
    last_track: int
    epoch: int = 0


class Opened(_Message, frozen=True, tag="opened"):
    """A capture has opened its source."""

    width: int
    height: int
    frames: int | None
    duration: float | None
    description: str


class Ready(_Message, frozen=True, tag="ready"):
    """A worker is built and bound; sinks tell what they already hold, per stream."""

    opened: Opened | None = None
    positions: dict[str, list[Ledger]] = {}
    outputs: list[str] = []


class Failed(_Message, frozen=True, tag="failed"):
    """A worker cannot start (or go on): one line for a person. `status` is an exit status of the service."""

    line: str
    status: int


class Beat(_Message, frozen=True, tag="beat"):
    """Progress of a worker: frames it has finished, and what it waits for."""

    frames: int
    bad_messages: int = 0


class Condition(_Message, frozen=True, tag="condition"):
    """How a live source is: what `streamfer.status.StreamStatus` says of it."""

    stream: str
    state: StreamState
    reason: LostReason | None = None
    detail: str | None = None
    epoch: int = 0
    reconnects: int = 0
    width: int = 0
    height: int = 0


class Lease(_Message, frozen=True, tag="lease"):
    """Track ids up to and including `upto` may have been given out for this stream."""

    stream: str
    upto: int


class Ended(_Message, frozen=True, tag="ended"):
    """A capture has sent its last frame. `error` says why it ended early, if it did."""

    stream: str
    count: int
    error: str | None = None
    interrupted: bool = False


class Ack(_Message, frozen=True, tag="ack"):
    """A sink holds these frames of a stream for good (durable sinks: on disk)."""

    stream: str
    positions: list[Ledger]
    done: bool


class Log(_Message, frozen=True, tag="log"):
    """One line for the service's log; `level` as in `logging`."""

    level: int
    text: str
    stream: str | None = None
    epoch: int | None = None
    seq: int | None = None


class Stopped(_Message, frozen=True, tag="stopped"):
    """A worker has finished in good order; `outputs` names what it wrote."""

    outputs: list[str] = []


# ---- control: supervisor → worker --------------------------------------------------------------------------


class Start(_Message, frozen=True, tag="start"):
    """Begin. Capture: produce from frame `first` on, tagged with `attempt`, or of a live source from `epoch`
    on. Detect: ids from `first_tracks`; `again` if it succeeds one that died. Sinks: take frames of these
    `attempts` or later, behind what is `held` already (best-effort sinks, and all of live streams)."""

    first: int = 0
    attempt: int = 0
    epoch: int = 0
    first_tracks: dict[str, int] = {}
    again: bool = False
    attempts: dict[str, int] = {}
    held: dict[str, list[Ledger]] = {}


class Release(_Message, frozen=True, tag="release"):
    """Every sink holds this stream's frames up to and including `seq`: their slots are free."""

    seq: int


class Replay(_Message, frozen=True, tag="replay"):
    """Send the frames again that are not released, as a new attempt."""

    attempt: int


class Drain(_Message, frozen=True, tag="drain"):
    """Read no further; end the stream behind the frames already sent."""


class Stop(_Message, frozen=True, tag="stop"):
    """Flush, close and exit."""


Data = Frame | Found | Scored | End | EndScored
FromWorker = Ready | Failed | Beat | Condition | Lease | Ended | Ack | Log | Stopped
ToWorker = Start | Release | Replay | Drain | Stop

_T = TypeVar("_T")
_encoder = msgspec.msgpack.Encoder()
_data: msgspec.msgpack.Decoder[Data] = msgspec.msgpack.Decoder(Data)
_from_worker: msgspec.msgpack.Decoder[FromWorker] = msgspec.msgpack.Decoder(FromWorker)
_to_worker: msgspec.msgpack.Decoder[ToWorker] = msgspec.msgpack.Decoder(ToWorker)


def encode(message: msgspec.Struct) -> bytes:
    """The bytes of any message above."""
    return _encoder.encode(message)


def decode_data(payload: bytes) -> Data:
    """A data message; WireError if it is none."""
    return _decode(_data, payload)


def decode_from_worker(payload: bytes) -> FromWorker:
    """A control message of a worker; WireError if it is none."""
    return _decode(_from_worker, payload)


def decode_to_worker(payload: bytes) -> ToWorker:
    """A control message of the supervisor; WireError if it is none."""
    return _decode(_to_worker, payload)


def _decode(decoder: msgspec.msgpack.Decoder[_T], payload: bytes) -> _T:
    try:
        return decoder.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise WireError(ascii(str(error))[1:201]) from error  # it quotes the message, which may be anything
