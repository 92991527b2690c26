"""Components to measure live mode with: a classifier that takes its time, a sink that notes each frame's age.

Named in a configuration by `plugins: [benchmarks/live_plugins.py]`; the tests of live mode use them too.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from streamfer.api import Component, Options, Position, StreamPlan
from streamfer.hookspecs import hookimpl
from streamfer.picture import Picture
from streamfer.types import LABELS, Result


class SlowOptions(Options):
    seconds: float


class Slow:
    """Takes its time over each frame with a face."""

    def __init__(self, options: SlowOptions) -> None:
        self._seconds = options.seconds

    def predict(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        time.sleep(self._seconds)
        return np.full((len(crops), len(LABELS)), 1 / len(LABELS), np.float32)


class MeasureOptions(Options):
    path: Path
    seconds: float = 0.0


class Measure:
    """A line per result: stream, classifier, epoch, seq, Unix time of capture, age of the frame in seconds.
    Sleeps over each if told."""

    def __init__(self, options: MeasureOptions) -> None:
        self._options = options

    def open(self, streams: Sequence[StreamPlan], *, resume: bool) -> dict[tuple[str, str], Position]:
        self._file = self._options.path.open("a")
        return {}

    def write(self, result: Result, picture: Picture | None) -> None:
        time.sleep(self._options.seconds)
        age = time.time() - (result.time or 0.0)
        line = [result.stream, result.classifier, result.epoch, result.seq, result.time, age]
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()

    def flush(self) -> None: ...

    def end(self, stream: str) -> None: ...

    def outputs(self) -> Iterable[str]:
        return []

    def close(self) -> None:
        self._file.close()


@hookimpl
def streamfer_components() -> list[Component]:
    return [
        Component("classifier", "slow", "Takes its time", ":Slow", SlowOptions, labels=LABELS),
        Component("sink", "measure", "Ages of results", ":Measure", MeasureOptions, durable=False),
    ]
