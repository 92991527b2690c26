"""What a configuration may contain (the sections' own keys), and what it comes to (Config)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import ConfigDict, Field, field_validator

from streamfer.api import Options, WindowOptions
from streamfer.config.polygons import Polygons
from streamfer.detectors import FaceOptions
from streamfer.plugins import ComponentSpec
from streamfer.smoothing import MaybeSmoothing, Smoothing
from streamfer.types import CropSpec, Polygon

_LISTEN = r"^(\[[0-9a-fA-F:.]+\]|[^\s:/\[\]]+):[0-9]{1,5}$"

# ---- the sections' own keys; a component's options stand beside them ---------------------------------------


class ViewKeys(FaceOptions):
    """How the faces of one stream are found."""

    width: int = Field(
        default=320,
        ge=64,
        le=4096,
        description="width in pixels to which a frame is scaled before the search",
    )


class StreamKeys(Options):
    """One stream: where its frames come from, and where and how its faces are found."""

    source: str = Field(
        "file", description="the source component, or 'folder': one stream for each file in a folder"
    )
    classifiers: tuple[str, ...] | None = Field(
        None, min_length=1, description="which of the classifiers run on this stream (default: all)"
    )
    detector: ViewKeys | None = Field(
        None, description="what is different from the section 'detector' for this stream"
    )
    regions: Polygons | None = Field(
        None,
        description="polygons [[x, y], …] in shares of the frame's sides: only faces in them count "
        "(default: everywhere)",
    )
    masks: Polygons | None = Field(
        None, description="polygons [[x, y], …] in shares of the frame's sides: no face in them counts"
    )
    drop: Literal["oldest", "newest"] = Field(
        "oldest", description="live: which frame is dropped where too many wait"
    )
    max_age: float = Field(
        1.0, gt=0, le=60, description="live: a frame older than so many seconds is dropped at the next stage"
    )
    fps: float | None = Field(
        None, gt=0, le=1000, description="live: analyse at most so many frames per second (default: all)"
    )
    queue: int = Field(4, ge=1, le=64, description="live: so many frames may wait in front of each stage")


class FolderKeys(Options):
    """`source: folder`: every matching file becomes a stream NAME-FILE, in the order of their names."""

    path: Path = Field(description="the folder with the recordings")
    pattern: str = Field("*.mp4", min_length=1, description="which files, such as '*.mkv' or '**/*.mp4'")


class DetectorKeys(ViewKeys):
    """How faces are found."""

    name: str = Field("yunet", description="the detector component")
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
    window: WindowOptions | None = Field(
        None, description="of a temporal classifier: its window, where not as it declares"
    )
    smoothing: MaybeSmoothing = Field(
        None, description="how the answers for a tracked face are smoothed over time (default: none)"
    )


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
    """One classifier; `label` is its name in the results. `crops` and `labels` are from its registration or
    from the card of the model that a network serves; one that combines has those of its members, each crop
    once."""

    label: str
    spec: ComponentSpec
    workers: int
    crops: tuple[CropSpec, ...]
    labels: tuple[str, ...]
    smoothing: Smoothing | None = None


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
    `give_up`: a live run ends if no frame came within so many seconds (None: it never does).
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
    give_up: float | None = None

    version: Literal[1] = 1

    @property
    def live(self) -> bool:
        """Whether all streams are live: nothing ends by itself, and what is on record is gone on with."""
        return all(stream.live is not None for stream in self.streams)
