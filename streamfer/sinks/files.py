"""What the sinks that write files share: making the directory, making it durable, refusing in one line."""

from __future__ import annotations

import os
from pathlib import Path

from streamfer.errors import StartError


def refusal(path: Path, error: OSError) -> StartError:
    """The one line that says why `path` cannot be written."""
    return StartError(f"cannot write {path}: {error.strerror or error}")


def make_directory(path: Path) -> None:
    """Make the directory that `path` is to lie in; `StartError` if that fails."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise refusal(path, error) from error


def sync_directory(directory: Path) -> None:
    """Make the names in a directory durable: a new file's own fsync does not."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
