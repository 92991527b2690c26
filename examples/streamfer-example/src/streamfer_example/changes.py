"""A sink that writes a CSV row whenever a face changes its label."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from typing import TextIO

from streamfer.api import Position, StreamPlan
from streamfer.errors import StartError
from streamfer.picture import Picture
from streamfer.types import Result
from streamfer_example import ChangesOptions

HEADER = ("stream", "classifier", "track", "seq", "pts", "label", "confidence")


class Changes:
    """Best effort: it cannot tell from its file how far it came, so it is registered as not durable."""

    def __init__(self, options: ChangesOptions) -> None:
        self._path = options.path
        self._file: TextIO | None = None
        self._last: dict[tuple[str, str, int], str] = {}

    def open(self, streams: Sequence[StreamPlan], *, resume: bool) -> dict[tuple[str, str], Position]:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._path.open("a" if resume else "w", newline="", encoding="utf-8")
        except OSError as error:
            raise StartError(f"cannot write {self._path}: {error.strerror}") from error
        self._rows = csv.writer(self._file)
        if self._file.tell() == 0:
            self._rows.writerow(HEADER)
        return {}

    def write(self, result: Result, picture: Picture | None) -> None:
        for face in result.faces:
            key = (result.stream, result.classifier, face.track)
            if face.label is None or face.confidence is None or self._last.get(key) == face.label:
                continue
            self._last[key] = face.label
            self._rows.writerow([*key, result.seq, result.pts, face.label, f"{face.confidence:.4f}"])

    def flush(self) -> None:
        if self._file is not None:
            self._file.flush()

    def end(self, stream: str) -> None:
        """Nothing more comes of this stream: its faces can be forgotten."""
        self._last = {key: label for key, label in self._last.items() if key[0] != stream}

    def outputs(self) -> Iterable[str]:
        return [str(self._path)]

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
