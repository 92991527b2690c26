"""Files that ship with streamfer."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path


def sample_clip() -> Path:
    """The sample recording: two public-domain portraits in motion, about ten seconds."""
    return Path(str(files(__name__) / "sample.mp4"))
