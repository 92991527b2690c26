"""What the supervisor hands a worker on its standard input: everything it needs, as JSON."""

from __future__ import annotations

from typing import Any

import msgspec

from streamfer.plugins import ComponentSpec
from streamfer.types import CropSpec


class Route(msgspec.Struct, frozen=True):
    """Where detect sends a stream's faces for one classifier, and the crop it wants."""

    classifier: str
    address: str
    crop: CropSpec


class CaptureSpec(msgspec.Struct, frozen=True, tag="capture"):
    """One stream's capture. `slots` of 0 means: as many as suit the frame size."""

    stream: str
    source: ComponentSpec
    detect: str
    shm: str
    slots: int = 0


class DetectSpec(msgspec.Struct, frozen=True, tag="detect"):
    """One detect worker; `routes` maps each of its streams to its classifiers."""

    address: str
    detector: ComponentSpec
    tracker: ComponentSpec
    width: int
    faces: dict[str, Any]
    routes: dict[str, list[Route]]


class ClassifySpec(msgspec.Struct, frozen=True, tag="classify"):
    """One worker of one classifier. `classifier` is its name in the results."""

    address: str
    classifier: str
    component: ComponentSpec
    labels: tuple[str, ...]
    crop: CropSpec
    sinks: list[str]


class SinkSpec(msgspec.Struct, frozen=True, tag="sink"):
    """One sink; `streams` maps each stream to the names of its classifiers."""

    address: str
    sink: str
    component: ComponentSpec
    pixels: bool
    durable: bool
    streams: dict[str, list[str]]
    resume: bool


StageSpec = CaptureSpec | DetectSpec | ClassifySpec | SinkSpec


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
