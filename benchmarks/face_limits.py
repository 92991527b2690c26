"""Measure how few pixels and how much blur a face may have before a classifier no longer reads it.

    python -m benchmarks.face_limits --data fer2013.npz [--classifier cnn]

Degrades FER2013's PublicTest images and prints the classifier's accuracy: the grounds for the defaults of
`detector.min_face` and `detector.blur`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from streamfer.preprocess import FITTED_SIZE, sharpness
from streamfer.training.evaluate import open_classifier

FACE_SHARE = 39 / FITTED_SIZE
"""Width of the box that YuNet finds in a FER2013 image, as a share of the image."""
WIDTHS = (48, 40, 32, 28, 24, 20, 16, 12, 8)
SIGMAS = (0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0)
QUANTILES = (0.01, 0.05, 0.5, 0.95)


def coarse(image: NDArray[np.uint8], width: int) -> NDArray[np.uint8]:
    """The image as it comes from a frame in which its face is `width` pixels wide."""
    side = max(round(width / FACE_SHARE), 1)
    if side >= FITTED_SIZE:
        return image
    small = cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, (FITTED_SIZE, FITTED_SIZE), interpolation=cv2.INTER_LINEAR), np.uint8)


def blurred(image: NDArray[np.uint8], sigma: float) -> NDArray[np.uint8]:
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), np.uint8) if sigma else image


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="fer2013.npz: images, labels, usage")
    parser.add_argument("--classifier", default="cnn")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    with np.load(args.data) as data:
        chosen = data["usage"] == 1
        images, labels = data["images"][chosen], data["labels"][chosen]
    classifier = open_classifier(args.classifier)

    def row(name: str, degraded: list[NDArray[np.uint8]]) -> None:
        crops = np.stack(degraded)[..., None]
        accuracy = float(np.mean(classifier.predict(crops).argmax(axis=1) == labels))
        spread = np.quantile([sharpness(crop) for crop in crops], QUANTILES)
        print(f"| {name} | {100 * accuracy:.1f} |", " | ".join(f"{value:.0f}" for value in spread), "|")

    print("| face | accuracy % |", " | ".join(f"sharpness, {100 * q:.0f} %" for q in QUANTILES), "|")
    print("|---" * (2 + len(QUANTILES)) + "|")
    for width in WIDTHS:
        row(f"{width} px wide", [coarse(image, width) for image in images])
    for sigma in SIGMAS:
        row(f"blurred, σ = {sigma} px of 48", [blurred(image, sigma) for image in images])


if __name__ == "__main__":
    main()
