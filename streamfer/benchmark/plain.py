"""The same work in one plain loop: PyAV, YuNet on a 320 pixels wide image, the classifier; one process, one
thread.

`python -m streamfer.benchmark.plain CLIP WARM_UP CLASSIFIER` prints JSON: CPU and wall seconds per frame.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from streamfer.detectors import YuNetOptions
from streamfer.detectors.yunet import YuNet
from streamfer.inference.answering import answering
from streamfer.inference.described import find, with_mode
from streamfer.picture import Picture
from streamfer.plugins import Registry
from streamfer.preprocess import align
from streamfer.types import Box, Detection, Point

WIDTH = 320


def run(clip: str, warm_up: int, classifier: str) -> dict[str, float]:
    """Decode, detect and classify every frame."""
    cv2.setNumThreads(1)
    detector = YuNet(YuNetOptions())
    chosen = find(Registry.discover(), *with_mode(classifier))
    model = answering(chosen.spec)
    frames = faces = 0
    cpu = wall = 0.0
    with av.open(clip) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        height = round(stream.height * WIDTH / stream.width)
        scale = stream.width / WIDTH
        for frame in container.decode(stream):
            if frames == warm_up:
                cpu, wall = time.process_time(), time.perf_counter()
            small = np.asarray(frame.reformat(WIDTH, height, "bgr24", threads=1).to_ndarray(), np.uint8)
            for found in detector.detect(small):
                y, u, v = map(_pixels, frame.planes)
                face = _scaled(found, scale)
                model.predict(*(align(Picture(y, u, v), face, spec)[None] for spec in chosen.crops))
                faces += 1
            frames += 1
    measured = frames - warm_up
    return {
        "frames": measured,
        "faces": faces,
        "cpu": (time.process_time() - cpu) / measured,
        "wall": (time.perf_counter() - wall) / measured,
    }


def _pixels(plane: Any) -> NDArray[np.uint8]:
    """A plane of a decoded frame, uint8 (height, width), without a copy."""
    lines = np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size)
    return lines[:, : plane.width]


def _scaled(found: Detection, scale: float) -> Detection:
    box = Box(*(value * scale for value in found.box))
    if found.landmarks is None:
        return Detection(box, found.score)
    one, two, three, four, five = (Point(p.x * scale, p.y * scale) for p in found.landmarks)
    return Detection(box, found.score, (one, two, three, four, five))


if __name__ == "__main__":
    print(json.dumps(run(sys.argv[1], int(sys.argv[2]), sys.argv[3])))
