"""The contract of detectors: plausible finds in any image, the best first, always the same."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from streamfer.api import Detector
from streamfer.testing.require import require
from streamfer.types import Detection

SIZES = ((240, 320), (241, 319), (64, 64), (128, 512))
"""Heights and widths of the images tried."""


def check_detector(build: Callable[[], Detector], faces: Sequence[NDArray[np.uint8]] = ()) -> None:
    """Check a detector on plain and noisy images; in each of `faces` (BGR images) it must find a face."""
    detector = build()
    generator = np.random.default_rng(0)
    for height, width in SIZES:
        blank = np.full((height, width, 3), 127, np.uint8)
        found = _detect(detector, blank)
        require(not found, f"{len(found)} faces in a plain gray image of {width}×{height}")
        _detect(detector, generator.integers(0, 256, (height, width, 3), dtype=np.uint8))
    for number, image in enumerate(faces):
        found = _detect(detector, image)
        require(found, f"no face in image {number} of `faces`")
        require(
            found == _detect(detector, image) == _detect(build(), image),
            "the same image gives other finds the second time",
        )


def _detect(detector: Detector, image: NDArray[np.uint8]) -> list[Detection]:
    before = image.copy()
    found = detector.detect(image)
    require(np.array_equal(image, before), "detect changed the image it was given")
    require(isinstance(found, list), f"detect gave {type(found).__name__}, expected a list")
    height, width = image.shape[:2]
    for one in found:
        require(isinstance(one, Detection), f"detect found a {type(one).__name__}, expected a Detection")
        x, y, w, h = one.box
        require(all(map(math.isfinite, one.box)), f"a box is not finite: {one.box}")
        require(w > 0 and h > 0, f"a box without an area: {one.box}")
        require(
            x < width and y < height and x + w > 0 and y + h > 0,
            f"a box outside the image of {width}×{height}: {one.box}",
        )
        require(0 <= one.score <= 1, f"a score outside 0..1: {one.score}")
        if one.landmarks is not None:
            require(len(one.landmarks) == 5, f"{len(one.landmarks)} landmarks, expected 5 or None")
            require(
                all(math.isfinite(value) for point in one.landmarks for value in point),
                "a landmark is not finite",
            )
            require(
                one.landmarks[0].x <= one.landmarks[1].x,
                "the landmarks begin with the eye on the image's right, expected the one on its left",
            )
    scores = [one.score for one in found]
    require(scores == sorted(scores, reverse=True), "the finds are not ordered by score, best first")
    return found
