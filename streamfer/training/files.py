"""Writes files in one step: there is the old file or the whole new one, whatever is killed in between."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replaced(path: Path, suffix: str = "") -> Iterator[Path]:
    """A draft beside `path` to write to; it takes the place of `path` unless the block fails.

    `suffix` is for libraries that go by the ending of a name.
    """
    draft = path.with_name(f".{path.name}.draft{suffix}")
    try:
        yield draft
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def replace_file(path: Path, content: bytes) -> None:
    """Write `content` to `path` in one step. Raises OSError."""
    with replaced(path) as draft:
        draft.write_bytes(content)
