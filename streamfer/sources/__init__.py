"""The built-in sources' options; the classes that read them are imported only by the worker that captures."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from streamfer.api import Options


class FileOptions(Options):
    """A recording: any file that FFmpeg decodes, a clip, an animated GIF, a still."""

    path: Path = Field(description="The recording to read.")
    threads: int = Field(default=1, ge=1, le=64, description="Threads that the decoder may use.")
