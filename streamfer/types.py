"""Plain data that every part of streamfer shares: boxes, detections, faces, results."""

from __future__ import annotations

import sys
from typing import Annotated, Literal, NamedTuple

import msgspec

LABELS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
"""The seven expressions, in the order of FER2013's class indices."""

Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
"""A count or an ordinal, where it comes from another process: what every sink can write, JSON included."""

_LARGEST = sys.float_info.max
Finite = Annotated[float, msgspec.Meta(ge=-_LARGEST, le=_LARGEST)]
"""A number, where it comes from another process: neither infinite nor "not a number"."""

FoundStatus = Literal["ok", "small", "blurred"]
"""Whether a face that was found can be classified (`ok`), or has too few pixels, or too little detail in
them."""

FaceStatus = Literal["ok", "warming", "small", "blurred"]
"""Why a face in the results has a label or has none: as it was found, or `warming`, labelled by a temporal
classifier whose window is not yet full."""

LABELLED: frozenset[FaceStatus] = frozenset({"ok", "warming"})
"""The statuses of faces that have a label."""

LostReason = Literal[
    "refused",
    "unresolved",
    "unreachable",
    "unauthorized",
    "not_found",
    "timeout",
    "no_video",
    "ended",
    "absent",
    "busy",
    "memory",
    "error",
]
"""Why a live source gives no frames: nobody listens there; the host name is unknown; no way to the host; the
password is wrong (401, 403); no such path (404); no answer or no frame in time; what answers is no video; the
other end has finished; no such device; the device is in use; no shared memory; anything else."""

StreamState = Literal["waiting", "connecting", "live", "stale", "reconnecting", "reading", "done", "failed"]
"""A recording is waiting, reading, done or failed. A live source is connecting (for the first time), live,
stale (frames have stopped, the connection is not yet given up) or reconnecting (lost, tried again)."""

Polygon = tuple[tuple[float, float], ...]
"""At least three corners (x, y), each coordinate a share 0..1 of the upright frame's width or height."""


class Box(NamedTuple):
    """An axis-parallel rectangle in pixels of the upright frame: left, top, width, height."""

    x: float
    y: float
    w: float
    h: float


class Point(NamedTuple):
    """A position in pixels, x to the right and y down."""

    x: float
    y: float


class Detection(NamedTuple):
    """One face found in one image.

    `landmarks` are five points in the order of YuNet: the eye on the image's left, the eye on its right, the
    tip of the nose, the mouth corner on the image's left, the one on its right; None from a detector that has
    none. `score` is in 0..1.
    """

    box: Box
    score: float
    landmarks: tuple[Point, Point, Point, Point, Point] | None = None


class CropSpec(NamedTuple):
    """What a classifier wants to see of a face: `height` × `width` pixels, 1 (gray) or 3 (RGB) channels."""

    height: int = 48
    width: int = 48
    channels: Literal[1, 3] = 1


class Window(NamedTuple):
    """What a temporal classifier sees of a face: the newest frame and `frames` - 1 before it.

    It picks every `stride`-th frame of a video with `fps` frames per second, the rate it was trained at. A
    stream of another rate gives it the same times, not the same count. A face unseen for more than `max_gap`
    seconds begins a new window.
    """

    frames: int
    stride: int
    fps: float
    max_gap: float

    @property
    def period(self) -> float:
        """Seconds from one of its frames to the next."""
        return self.stride / self.fps

    @property
    def span(self) -> float:
        """Seconds from its first frame to its last, once it is full."""
        return (self.frames - 1) * self.period


class WindowState(msgspec.Struct, frozen=True):
    """How full a face's window was: `filled` of `frames` places, and the time between the oldest frame in it
    and the newest, in milliseconds."""

    frames: Count
    filled: Count
    span_ms: Finite


class Answer(msgspec.Struct, frozen=True):
    """What a classifier itself said of a face, before it was smoothed."""

    label: str
    confidence: Finite
    probabilities: dict[str, Finite]


class Face(msgspec.Struct, frozen=True):
    """One tracked face in one frame, as it stands in the results.

    `box` is (x, y, w, h) in pixels of the upright source frame. `label`, `confidence` (0..1) and
    `probabilities` (label → 0..1, adding up to 1) are None unless `status` is "ok" or "warming". `window` is
    there for temporal classifiers, `raw` where the answer was smoothed; both only on faces with a label.
    """

    track: Count
    box: tuple[Finite, Finite, Finite, Finite]
    score: Finite
    status: FaceStatus
    label: str | None = None
    confidence: Finite | None = None
    probabilities: dict[str, Finite] | None = None
    window: WindowState | msgspec.UnsetType = msgspec.UNSET
    raw: Answer | msgspec.UnsetType = msgspec.UNSET


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What one classifier says of one frame: one line of results.jsonl (docs/results.md).

    `pts` is seconds on the source's clock (None if the source gave none), `time` seconds since the Unix epoch
    for live sources and None for recordings. `discontinuity` is true on the first frame after a restart, when
    tracks begin anew. `dropped` names why a frame was not analysed (its faces are then empty).
    """

    v: Literal[1] = 1
    stream: str
    epoch: int
    seq: int
    pts: float | None
    time: float | None
    classifier: str
    faces: list[Face]
    discontinuity: bool | msgspec.UnsetType = msgspec.UNSET
    dropped: str | msgspec.UnsetType = msgspec.UNSET
