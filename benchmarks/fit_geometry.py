"""Fit the crop geometry of streamfer.preprocess to FER2013's Training faces and print its constants.

python -m benchmarks.fit_geometry --data fer2013.npz [--images 1500]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from streamfer.api import Detector
from streamfer.detectors import HaarOptions, YuNetOptions
from streamfer.detectors.haar import Haar
from streamfer.detectors.yunet import YuNet
from streamfer.preprocess import FITTED_SIZE
from streamfer.types import Detection, Point

UPSCALED = (72, 96, 144)
"""Sides that a face image is enlarged to: those of faces in the detector's usual image."""
MARGIN = 0.5
"""Plain border around the enlarged image, as a share of its side: the detector looks for a head."""


def framed(image: NDArray[np.uint8], side: int) -> tuple[NDArray[np.uint8], int]:
    """The gray image enlarged to `side`, on a ground of its mean gray, as BGR; and the border's width."""
    large = cv2.resize(image, (side, side), interpolation=cv2.INTER_CUBIC)
    border = round(side * MARGIN)
    ground = int(large.mean())
    large = cv2.copyMakeBorder(large, border, border, border, border, cv2.BORDER_CONSTANT, value=ground)
    return np.asarray(cv2.cvtColor(large, cv2.COLOR_GRAY2BGR), np.uint8), border


def found_in(detector: Detector, images: NDArray[np.uint8]) -> list[Detection]:
    """The best face of each image, each mirror image and each enlargement, in the 48×48 image's pixels."""
    found = []
    for image in images:
        for view in (image, np.ascontiguousarray(image[:, ::-1])):
            for side in UPSCALED:
                large, border = framed(view, side)
                for face in detector.detect(large)[:1]:
                    scale = FITTED_SIZE / side
                    box = face.box._replace(
                        x=(face.box.x - border) * scale,
                        y=(face.box.y - border) * scale,
                        w=face.box.w * scale,
                        h=face.box.h * scale,
                    )
                    marks = face.landmarks
                    if marks is not None:
                        a, b, c, d, e = (Point((x - border) * scale, (y - border) * scale) for x, y in marks)
                        marks = a, b, c, d, e
                    found.append(Detection(box, face.score, marks))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="fer2013.npz: images, usage")
    parser.add_argument("--images", type=int, default=1500, help="how many Training images, evenly spread")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    with np.load(args.data) as data:
        training = data["images"][data["usage"] == 0]
    images = training[np.linspace(0, len(training) - 1, min(args.images, len(training))).astype(int)]
    views = len(images) * 2 * len(UPSCALED)

    faces = found_in(YuNet(YuNetOptions()), images)
    print(f"YuNet: {len(faces)} of {views} faces")
    marks = np.array([face.landmarks for face in faces if face.landmarks])
    median = np.median(marks, axis=0)
    spread = np.median(np.abs(marks - median), axis=0).max(axis=1)
    # A face has a left and a right that mirror each other.
    mirrored = median[[1, 0, 2, 4, 3]] * (-1, 1) + (FITTED_SIZE, 0)
    names = ("left eye", "right eye", "nose", "left mouth corner", "right mouth corner")
    for name, (x, y), deviation in zip(names, (median + mirrored) / 2, spread, strict=True):
        print(f"    Point({x:.1f}, {y:.1f}),  # {name}, median absolute deviation {deviation:.1f}")
    for name, boxes in (
        ("YuNet", [face.box for face in faces]),
        ("Haar", [face.box for face in found_in(Haar(HaarOptions()), images)]),
    ):
        x, y, w, h = np.array(boxes).T
        centre = np.median(x + w / 2), np.median(y + h / 2), np.median(np.sqrt(w * h))
        print(
            f"{name} box ({len(boxes)} faces): centre {centre[0]:.1f}, {centre[1]:.1f}, √area {centre[2]:.1f}"
        )


if __name__ == "__main__":
    main()
