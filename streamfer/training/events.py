"""Writes a run's history as TensorBoard events, if TensorBoard is installed."""

from __future__ import annotations

from pathlib import Path
from typing import Any


class Events:
    """One point a curve and epoch, in the folder `path`; nothing where TensorBoard is missing."""

    def __init__(self, path: Path) -> None:
        try:
            from tensorboard.summary import Writer
        except ImportError:
            self._writer = None
        else:
            self._writer = Writer(str(path))

    def add(self, row: dict[str, Any]) -> None:
        """Take a row of the history."""
        if self._writer is None:
            return
        for name, value in row.items():
            if name != "epoch":
                self._writer.add_scalar(name, value, row["epoch"])
        self._writer.flush()
