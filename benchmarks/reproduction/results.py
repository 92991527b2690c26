"""The results of all experiments in one JSON file, of which several runs may write at a time."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from streamfer.errors import UsageError
from streamfer.training.files import replace_file

FORMAT = "streamfer.reproduction.v1"

RESULTS = Path(__file__).with_name("results.json")
"""The results that are part of the project."""


def read(path: Path = RESULTS) -> dict[str, dict[str, Any]]:
    """The result of each experiment by its name; none without a file. `UsageError` if it is damaged."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != FORMAT:
            raise ValueError(f"its format is {content['format']}, expected {FORMAT}")
        found: dict[str, dict[str, Any]] = content["results"]
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{path}: cannot be read: {error}; repair it or take another --results") from error
    return found


def add(name: str, result: dict[str, Any], path: Path = RESULTS) -> None:
    """Put one result beside those that are in the file by now; `UsageError` if it cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _alone(path.parent):
            content = {"format": FORMAT, "results": dict(sorted({**read(path), name: result}.items()))}
            replace_file(path, (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode())
    except OSError as error:
        raise UsageError(f"{path}: cannot be written: {error.strerror or error}") from error


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Another process that is here waits until this one is through."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
