"""The built-in sinks' options; the sinks themselves are imported only in the processes that run them."""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator, model_validator

from streamfer.api import Options
from streamfer.units import Duration, Size


class RotateOptions(Options):
    """When a file is closed and another begun: at whichever comes first."""

    size: Size | None = Field(
        default=None, ge=1000, description="At this size in bytes, or such as 100MB (10⁶) or 64MiB (2²⁰)."
    )
    every: Duration | None = Field(
        default=None,
        ge=1,
        description="Each time the clock (UTC) passes a multiple of so many seconds, or of 10m, 1h, 1d, …",
    )

    @model_validator(mode="after")
    def _something(self) -> RotateOptions:
        if self.size is None and self.every is None:
            raise ValueError("expected size, every, or both, such as rotate: {size: 100MB, every: 1d}")
        return self


class KeepSegmentsOptions(Options):
    """Which of the finished files stay; the oldest are deleted first."""

    age: Duration | None = Field(default=None, description="Those not older than this, such as 30d.")
    total: Size | None = Field(
        default=None, description="As many as fit into this size, such as 10GB, with what is being written."
    )


class KeepFilesOptions(KeepSegmentsOptions):
    files: int | None = Field(default=None, ge=1, description="At most so many of them.")


class KeepRowsOptions(Options):
    """Which rows stay; the oldest are deleted first."""

    age: Duration | None = Field(
        default=None, description="Those not older than this, such as 30d, by their time."
    )
    size: Size | None = Field(
        default=None, ge=1_000_000, description="As many as fit into a database of this size, such as 2GB."
    )


class JsonlOptions(Options):
    path: str = Field(min_length=1, description="File to write: one line of JSON per frame and classifier.")
    rotate: RotateOptions | None = Field(
        default=None, description="Set the file aside as results-20261121T103000Z.jsonl and begin another."
    )
    compress: bool = Field(default=False, description="Compress files that were set aside (gzip).")
    keep: KeepFilesOptions | None = Field(
        default=None, description="Which of the files that were set aside stay; all unless told otherwise."
    )

    @model_validator(mode="after")
    def _of_what_was_set_aside(self) -> JsonlOptions:
        if self.rotate is None and (self.compress or self.keep is not None):
            raise ValueError(f"{'compress' if self.compress else 'keep'} is for files that rotate sets aside")
        return self


class SqliteOptions(Options):
    path: str = Field(min_length=1, description="SQLite database to write.")
    keep: KeepRowsOptions | None = Field(
        default=None, description="Which rows of live streams stay; all unless told otherwise."
    )


class VideoOptions(Options):
    path: str = Field(
        min_length=1,
        description="MP4 to write. With several streams each gets its own: annotated.mp4 becomes "
        "annotated-STREAM.mp4.",
    )
    codec: Literal["libx264", "mpeg4"] = Field(
        default="libx264", description="Encoder; mpeg4 is taken where libx264 is missing."
    )
    crf: int = Field(default=23, ge=0, le=51, description="Quality of libx264: lower is better and larger.")
    blur: bool = Field(default=False, description="Pixelate every face.")
    segment: Duration | None = Field(
        default=None,
        ge=1,
        description="Begin a new file, annotated-STREAM-20261121T103000Z.mp4, each time the clock (UTC) "
        "passes a multiple of so many seconds, or of 10m, 1h, …",
    )
    segment_size: Size | None = Field(
        default=None, ge=100_000, description="Begin a new file at this size, such as 500MB."
    )
    keep: KeepSegmentsOptions | None = Field(
        default=None, description="Which of the finished segments stay; all unless told otherwise."
    )

    @model_validator(mode="after")
    def _of_segments(self) -> VideoOptions:
        if self.keep is not None and self.segment is None and self.segment_size is None:
            raise ValueError("keep is for files that segment or segment_size finishes")
        return self


class ConsoleOptions(Options):
    refresh: float = Field(
        default=4.0, gt=0, le=10, description="Redraws of the live table per second, at most."
    )


class PublishOptions(Options):
    listen: str = Field(
        default="tcp://127.0.0.1:5556",
        description="Where subscribers connect: tcp://ADDRESS:PORT or ipc:///PATH/OF/A/SOCKET.",
    )
    keys: Path | None = Field(
        default=None,
        description="Directory made by `streamfer keys`: everything is encrypted, and only clients whose "
        "public key lies in its clients/ get in. Needed wherever other hosts can connect.",
    )
    high_water: int = Field(
        default=1000,
        ge=1,
        le=100_000,
        description="Results that wait for one slow subscriber at most; it misses those that are too many.",
    )

    @field_validator("listen")
    @classmethod
    def _endpoint(cls, listen: str) -> str:
        scheme, _, rest = listen.partition("://")
        if scheme == "ipc":
            if not rest.startswith("/") or len(rest.encode()) > 107:
                raise ValueError(
                    "expected the absolute path of a socket in 107 bytes, such as ipc:///run/results"
                )
        elif scheme != "tcp" or _address(rest) is None:
            raise ValueError("expected tcp://ADDRESS:PORT, such as tcp://127.0.0.1:5556, or ipc:///PATH")
        return listen

    @model_validator(mode="after")
    def _encrypted_between_hosts(self) -> PublishOptions:
        if self.keys is None and self.listen.startswith("tcp://"):
            address = _address(self.listen.removeprefix("tcp://"))
            if address is None or not address.is_loopback:
                raise ValueError(
                    f"{self.listen} can be reached from other hosts, which takes CURVE keys: make them with "
                    "`streamfer keys DIR` and name the directory: keys: DIR"
                )
        return self


def _address(endpoint: str) -> IPv4Address | IPv6Address | None:
    """The address in ADDRESS:PORT (`*`: all of this host's); None if it is none."""
    host, _, port = endpoint.rpartition(":")
    if not re.fullmatch(r"[0-9]{1,5}", port) or not 1 <= int(port) <= 65535:
        return None
    if host == "*":
        return IPv4Address(0)
    try:
        if host.startswith("[") and host.endswith("]"):
            return IPv6Address(host[1:-1])
        return IPv4Address(host)
    except ValueError:
        return None
