"""What the supervisor hands a worker on its standard input: everything it needs, as JSON."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from streamfer.plugins import ComponentSpec
from streamfer.types import CropSpec, Polygon, Window


class LiveSpec(msgspec.Struct, frozen=True):
    """How a live stream is treated. At each stage at most `queue` of its frames wait; the `oldest` or the
    `newest` is dropped for one too many, and so is a frame older than `max_age` seconds when its turn comes.
    `fps` caps the frames that are analysed per second. `stale_after` and `retry` are as in `LiveOptions`."""

    drop: Literal["oldest", "newest"] = "oldest"
    max_age: float = 1.0
    fps: float | None = None
    queue: int = 4
    stale_after: float = 3.0
    retry: float = 30.0


class ViewSpec(msgspec.Struct, frozen=True):
    """How the faces of one stream are found: the options of `FaceOptions`, the width of the searched image,
    where faces count (`regions`; empty: everywhere) and where they do not (`masks`)."""

    faces: dict[str, Any]
    width: int
    regions: list[Polygon] = []
    masks: list[Polygon] = []


class Route(msgspec.Struct, frozen=True):
    """Where detect sends a stream's faces for one classifier, and the crops it wants of each: one, or as many
    distinct ones as the members of a classifier that combines ask for."""

    classifier: str
    address: str
    crops: tuple[CropSpec, ...]


class CaptureSpec(msgspec.Struct, frozen=True, tag="capture"):
    """One stream's capture. `slots` of 0 means: as many as suit the frame size. `tally` is the path of a live
    stream's `streamfer.shm.Tally`."""

    stream: str
    source: ComponentSpec
    detect: str
    shm: str
    slots: int = 0
    live: LiveSpec | None = None
    tally: str = ""


class DetectSpec(msgspec.Struct, frozen=True, tag="detect"):
    """One detect worker; `routes` maps each of its streams to its classifiers, `views` to how it is seen.
    `live` has those of its streams that are live."""

    address: str
    detector: ComponentSpec
    tracker: ComponentSpec
    views: dict[str, ViewSpec]
    routes: dict[str, list[Route]]
    live: dict[str, LiveSpec] = {}


class ClassifySpec(msgspec.Struct, frozen=True, tag="classify"):
    """One worker of one classifier. `classifier` is its name in the results; `crops` are as in its routes.
    `smoothing` is one of the options models of `streamfer.smoothing`, as JSON values."""

    address: str
    classifier: str
    component: ComponentSpec
    labels: tuple[str, ...]
    crops: tuple[CropSpec, ...]
    sinks: list[str]
    live: dict[str, LiveSpec] = {}
    smoothing: dict[str, Any] | None = None

    @property
    def windowed(self) -> bool:
        """Whether it, or a member of it, looks at windows of frames."""
        return bool(self._windows)

    @property
    def narrowest(self) -> Window | None:
        """The window of several frames, its own or a member's, that can do with the least pause between
        them."""
        several = [one for one in self._windows if one.frames > 1]
        return min(several, key=lambda one: min(one.max_gap, one.span), default=None)

    @property
    def _windows(self) -> list[Window]:
        alone = (self.component, *(member.component for member in self.component.members))
        return [one.window for one in alone if one.window is not None]


class SinkSpec(msgspec.Struct, frozen=True, tag="sink"):
    """One sink; `streams` maps each stream to the names of its classifiers. `intent` is the path of the file
    in which a durable sink of live streams notes what it is about to make durable. One sink of a run
    `compares` what the classifiers say."""

    address: str
    sink: str
    component: ComponentSpec
    pixels: bool
    durable: bool
    streams: dict[str, list[str]]
    resume: bool
    live: dict[str, LiveSpec] = {}
    intent: str = ""
    compares: bool = False


StageSpec = CaptureSpec | DetectSpec | ClassifySpec | SinkSpec


def stage_of(spec: StageSpec) -> str:
    """The stage of a spec: capture, detect, classify or sink."""
    return str(spec.__struct_config__.tag)


class WorkerSpec(msgspec.Struct, frozen=True):
    """A worker: who it is on the control socket, and its stage."""

    identity: str
    runtime: str
    control: str
    stage: StageSpec


def encode(spec: WorkerSpec) -> bytes:
    """One line of JSON."""
    return msgspec.json.encode(spec) + b"\n"


def decode(line: bytes) -> WorkerSpec:
    """The spec in a line of JSON."""
    return msgspec.json.decode(line, type=WorkerSpec)
