"""The measured clip: 720p H.264 at 25 frames/s, one face of about 110 pixels wandering through the picture.

`python -m streamfer.benchmark.clip FILE FRAMES` writes it.
"""

from __future__ import annotations

import json
import sys
from fractions import Fraction
from itertools import islice
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from streamfer.data import sample_clip
from streamfer.detectors import YuNetOptions
from streamfer.detectors.yunet import YuNet

WIDTH, HEIGHT, RATE = 1280, 720, 25


def make_clip(path: Path, frames: int) -> Path:
    """Cut a face out of the sample clip, with its surroundings, and let it wander through a 720p picture."""
    portrait = _portrait()
    height, width = portrait.shape[:2]
    rng = np.random.default_rng(0)
    room = cv2.resize(
        rng.integers(90, 150, (6, 10, 3), np.uint8), (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC
    )
    mask = cv2.GaussianBlur(np.pad(np.ones((height - 48, width - 48)), 24), (0, 0), 8)[..., None]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.time_base = Fraction(1, RATE)
        stream.options = {"preset": "veryfast", "crf": "23", "threads": "1"}
        for index in range(frames):
            image = room.copy()
            x = round((WIDTH - width) * (0.5 + 0.35 * np.sin(index / 60)))
            y = round((HEIGHT - height) * (0.5 + 0.35 * np.sin(index / 47)))
            there = image[y : y + height, x : x + width]
            there[:] = there * (1 - mask) + portrait * mask
            noise = rng.integers(0, 4, (HEIGHT // 4, WIDTH // 4), np.uint8)  # a sensor is never still
            grain = cv2.resize(noise, (WIDTH, HEIGHT), interpolation=cv2.INTER_NEAREST)
            image = cv2.add(image, cv2.merge([grain] * 3))
            frame = av.VideoFrame.from_ndarray(np.asarray(image, np.uint8), format="bgr24")
            frame.pts = index
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def _portrait() -> NDArray[np.uint8]:
    detector = YuNet(YuNetOptions())
    with av.open(str(sample_clip())) as container:
        for frame in islice(container.decode(video=0), 90, None):  # by then both portraits are in full view
            image = np.asarray(frame.to_ndarray(format="bgr24"), np.uint8)
            found = detector.detect(image)
            if found and found[0].box.w > 80:
                box = found[0].box
                break
        else:
            raise RuntimeError("the sample clip shows no face")
    side = round(box.w * 0.6)
    top, left = max(0, round(box.y) - side), max(0, round(box.x) - side)
    return image[top : round(box.y + box.h) + side, left : round(box.x + box.w) + side]


if __name__ == "__main__":
    print(json.dumps(str(make_clip(Path(sys.argv[1]), int(sys.argv[2])))))
