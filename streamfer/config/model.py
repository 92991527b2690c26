"""What a configuration may contain (the sections' own keys), and what it comes to (Config)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import ConfigDict, Field, field_validator

from streamfer.api import Options
from streamfer.detectors import FaceOptions
from streamfer.plugins import ComponentSpec
from streamfer.types import CropSpec, Polygon

_LISTEN = r"^(\[[0-9a-fA-F:.]+\]|[^\s:/\[\]]+):[0-9]{1,5}$"

# ---- the sections' own keys; a component's options stand beside them ---------------------------------------


class StreamKeys(Options):
    """One stream: where its frames come from."""

    source: str = Field(
        "file", description="the source component, or 'folder': one stream for each file in a folder"
    )
    classifiers: tuple[str, ...] | None = Field(
        None, min_length=1, description="which of the classifiers run on this stream (default: all)"
    )


class FolderKeys(Options):
    """`source: folder`: every matching file becomes a stream NAME-FILE, in the order of their names."""

    path: Path = Field(description="the folder with the recordings")
    pattern: str = Field("*.mp4", min_length=1, description="which files, such as '*.mkv' or '**/*.mp4'")


class DetectorKeys(FaceOptions):
    """How faces are found."""

    name: str = Field("yunet", description="the detector component")
    width: int = Field(
        320, ge=64, le=4096, description="width in pixels to which a frame is scaled before the search"
    )
    workers: int = Field(1, ge=1, le=64, description="processes; streams are shared out among them")


class TrackerKeys(Options):
    """How faces keep their identity from frame to frame."""

    name: str = Field("sort", description="the tracker component")


class ClassifierKeys(Options):
    """One classifier."""

    model_config = ConfigDict(validate_by_name=False)

    name: str = Field(description="the classifier component")
    as_: str | None = Field(
        None, alias="as", description="its name in the results (default: the component's name)"
    )
    workers: int = Field(1, ge=1, le=64, description="processes; streams are shared out among them")


class SinkKeys(Options):
    """One place where results go."""

    name: str = Field(description="the sink component")
    as_: str | None = Field(
        None, alias="as", description="its name in messages and metrics (default: the component's name)"
    )


class MetricsKeys(Options):
    """The Prometheus endpoint /metrics."""

    listen: str = Field(
        "127.0.0.1:9108", json_schema_extra={"pattern": _LISTEN}, description="HOST:PORT to listen on"
    )

    @field_validator("listen")
    @classmethod
    def _host_and_port(cls, listen: str) -> str:
        if not re.fullmatch(_LISTEN, listen) or int(listen.rpartition(":")[2]) > 65535:
            raise ValueError("expected HOST:PORT, such as 127.0.0.1:9108")
        return listen


class Privacy(Options):
    """What must not be seen."""

    blur: bool = Field(False, description="hide faces in everything that shows pixels")


# ---- what a configuration comes to -------------------------------------------------------------------------


@dataclass(frozen=True)
class LiveConfig:
    """How a live stream is treated (docs/config.md); seconds, frames per second, frames."""

    drop: Literal["oldest", "newest"] = "oldest"
    max_age: float = 1.0
    fps: float | None = None
    queue: int = 4
    stale_after: float = 3.0
    retry: float = 30.0


@dataclass(frozen=True)
class StreamConfig:
    """One stream. `classifiers` are labels of `Config.classifiers`, in their order there. `live` is None for
    a recording. `faces` and `width` are the detector's with the stream's own changes; faces count inside one
    of `regions` (none: everywhere) and outside all `masks`."""

    name: str
    source: ComponentSpec
    classifiers: tuple[str, ...]
    faces: FaceOptions
    width: int
    live: LiveConfig | None = None
    regions: tuple[Polygon, ...] = ()
    masks: tuple[Polygon, ...] = ()


@dataclass(frozen=True)
class DetectorConfig:
    """The detector; `width` in pixels of the image it searches, `workers` processes."""

    spec: ComponentSpec
    faces: FaceOptions
    width: int
    workers: int


@dataclass(frozen=True)
class TrackerConfig:
    spec: ComponentSpec


@dataclass(frozen=True)
class ClassifierConfig:
    """One classifier; `label` is its name in the results, `crop` and `labels` are from its registration."""

    label: str
    spec: ComponentSpec
    workers: int
    crop: CropSpec
    labels: tuple[str, ...]


@dataclass(frozen=True)
class SinkConfig:
    """One sink; `label` is unique among the sinks, `pixels` and `durable` are from its registration."""

    label: str
    spec: ComponentSpec
    pixels: bool
    durable: bool


@dataclass(frozen=True)
class MetricsConfig:
    """Where /metrics listens. `configured`: the user named it, so that a taken port is an error."""

    host: str
    port: int
    configured: bool


@dataclass(frozen=True)
class Config:
    """A configuration that has been checked: every component is there and its options are valid.

    `path` is the file it was read from (None: from the command line); paths in options are absolute.
    """

    path: Path | None
    streams: tuple[StreamConfig, ...]
    detector: DetectorConfig
    tracker: TrackerConfig
    classifiers: tuple[ClassifierConfig, ...]
    sinks: tuple[SinkConfig, ...]
    metrics: MetricsConfig | None
    privacy: Privacy
    plugin_files: tuple[Path, ...]

    version: Literal[1] = 1
