"""The built-in sinks' options; the sinks themselves are imported only in the processes that run them."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from streamfer.api import Options


class JsonlOptions(Options):
    path: str = Field(min_length=1, description="File to write: one line of JSON per frame and classifier.")


class SqliteOptions(Options):
    path: str = Field(min_length=1, description="SQLite database to write.")


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


class ConsoleOptions(Options):
    refresh: float = Field(
        default=4.0, gt=0, le=10, description="Redraws of the live table per second, at most."
    )
