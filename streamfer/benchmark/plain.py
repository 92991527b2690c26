"""The same work in one plain loop: PyAV, YuNet on a 320 pixels wide image, LiteRT; one process, one thread.

`python -m streamfer.benchmark.plain CLIP WARM_UP` prints JSON: CPU and wall seconds per frame.
"""

from __future__ import annotations

import json
import sys
import time

import av
import cv2
import numpy as np

from streamfer.detectors import YuNetOptions
from streamfer.detectors.yunet import YuNet
from streamfer.inference.card import read_card
from streamfer.inference.litert import LiteRTModel
from streamfer.picture import Picture
from streamfer.preprocess import align
from streamfer.types import Box, CropSpec, Detection, Point

WIDTH = 320


def run(clip: str, warm_up: int) -> dict[str, float]:
    """Decode, detect and classify every frame."""
    cv2.setNumThreads(1)
    detector = YuNet(YuNetOptions())
    model = LiteRTModel(read_card("streamfer_classifiers.cnn:card.json"))
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
                plane = frame.planes[0]
                luma = np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size)[
                    :, : plane.width
                ]
                crop = align(Picture(luma, luma, luma), _scaled(found, scale), CropSpec())
                model.predict(crop[None])
                faces += 1
            frames += 1
    measured = frames - warm_up
    return {
        "frames": measured,
        "faces": faces,
        "cpu": (time.process_time() - cpu) / measured,
        "wall": (time.perf_counter() - wall) / measured,
    }


def _scaled(found: Detection, scale: float) -> Detection:
    box = Box(*(value * scale for value in found.box))
    if found.landmarks is None:
        return Detection(box, found.score)
    one, two, three, four, five = (Point(p.x * scale, p.y * scale) for p in found.landmarks)
    return Detection(box, found.score, (one, two, three, four, five))


if __name__ == "__main__":
    print(json.dumps(run(sys.argv[1], int(sys.argv[2]))))
