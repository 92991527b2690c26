"""Each stage's own work, alone in one process, without messages: what the slowest of them allows at best.

`python -m streamfer.benchmark.alone CLIP FULL_EVERY CLASSIFIER` prints JSON: milliseconds of wall time per
frame.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from streamfer.api import StreamPlan
from streamfer.detectors import FaceOptions, YuNetOptions
from streamfer.detectors.yunet import YuNet
from streamfer.faces import FaceAnalyser
from streamfer.inference.answering import answering
from streamfer.inference.described import find, with_mode
from streamfer.picture import Picture
from streamfer.plugins import Registry
from streamfer.shm import Ring, choose_slots
from streamfer.sinks import JsonlOptions
from streamfer.sinks.jsonl import JsonlSink
from streamfer.sources import FileOptions
from streamfer.sources.file import FileSource
from streamfer.trackers import SortOptions
from streamfer.trackers.sort import Sort
from streamfer.types import LABELS, CropSpec, Face, Result

FRAMES = 300


def best_of(turns: int, work: Callable[[], object]) -> float:
    """Milliseconds per frame of the best turn: what disturbs a turn is not the work."""
    best = float("inf")
    for _ in range(turns):
        began = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - began)
    return best / FRAMES * 1000


def capture(clip: str) -> None:
    """Decode, and write each frame into the ring."""
    source = FileSource(FileOptions(path=Path(clip)))
    info = source.open()
    ring = Ring(info.width, info.height, choose_slots(info.width, info.height))
    for index, frame in enumerate(islice(source.frames(), FRAMES)):
        ring.write(index % ring.slots, frame.picture)
    ring.close()
    source.close()


def pictures(clip: str, count: int) -> list[Picture]:
    """The first frames, kept."""
    source = FileSource(FileOptions(path=Path(clip)))
    source.open()
    kept = [
        Picture(f.picture.y.copy(), f.picture.u.copy(), f.picture.v.copy(), f.picture.full_range)
        for f in islice(source.frames(), count)
    ]
    source.close()
    return kept


def detect(frames: list[Picture], full_every: int, crops: Sequence[CropSpec]) -> None:
    """Find, follow and cut out the faces."""
    options = FaceOptions(full_every=full_every)
    analyser = FaceAnalyser(YuNet(YuNetOptions()), Sort(SortOptions()), crops, options)
    for index, picture in enumerate(frames):
        analyser.analyse(picture, seq=index, seconds=index / 25)


def sink(directory: Path) -> None:
    """Write results as JSON Lines, durable every 16."""
    one = JsonlSink(JsonlOptions(path=str(directory / "results.jsonl")))
    one.open([StreamPlan("s", ("cnn",))], resume=False)
    face = Face(1, (1.0, 2.0, 3.0, 4.0), 0.9, "ok", "happy", 0.5, dict.fromkeys(LABELS, 0.1429))
    for index in range(FRAMES):
        one.write(
            Result(stream="s", epoch=0, seq=index, pts=index / 25, time=None, classifier="cnn", faces=[face]),
            None,
        )
        if index % 16 == 15:
            one.flush()
    one.close()


def main(clip: str, full_every: int, classifier: str) -> dict[str, float]:
    """Milliseconds per frame by stage."""
    import cv2

    cv2.setNumThreads(1)
    frames = pictures(clip, FRAMES)
    chosen = find(Registry.discover(), *with_mode(classifier))
    model = answering(chosen.spec)
    crops = [np.zeros((1, *spec), np.uint8) for spec in chosen.crops]
    with tempfile.TemporaryDirectory() as directory:
        return {
            "capture": best_of(3, lambda: capture(clip)),
            "detect": best_of(3, lambda: detect(frames, full_every, chosen.crops)),
            "classify": best_of(3, lambda: [model.predict(*crops) for _ in range(FRAMES)]),
            "sink": best_of(3, lambda: sink(Path(directory))),
        }


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], int(sys.argv[2]), sys.argv[3])))
