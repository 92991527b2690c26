"""The Haar cascade of OpenCV: frontal faces without landmarks, for comparison and for want of better."""

from __future__ import annotations

import math
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from streamfer.detectors import HaarOptions
from streamfer.errors import StartError
from streamfer.types import Box, Detection

CASCADE = "haarcascade_frontalface_default.xml"

_EVEN_ODDS, _WIDTH = 2.25, 0.75
"""The logistic curve that best tells, from the weight of the last stage, the finds that YuNet confirms from
those that it does not, on 238 faces of sixteen clips (181 found, and 13 finds that were none)."""


class Haar:
    """Viola, Jones: "Rapid object detection using a boosted cascade of simple features", CVPR 2001."""

    def __init__(self, options: HaarOptions) -> None:
        path = Path(cv2.__file__).parent / "data" / CASCADE
        self._options = options
        self._cascade = cv2.CascadeClassifier(str(path))
        if self._cascade.empty():
            raise StartError(
                f"detector haar: no cascade at {path}: pip install 'opencv-python-headless>=4.14,<5'"
            )

    def detect(self, image: NDArray[np.uint8]) -> list[Detection]:
        """Faces in a BGR image, uint8 (height, width, 3), in its pixels; the most confident first."""
        options = self._options
        gray = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
        boxes, _, weights = self._cascade.detectMultiScale3(
            gray,
            scaleFactor=options.scale_factor,
            minNeighbors=options.neighbours,
            minSize=(options.min_size, options.min_size),
            outputRejectLevels=True,
        )
        detections = [
            Detection(Box(*map(float, box)), _confidence(float(weight)))
            for box, weight in zip(
                np.reshape(boxes, (-1, 4)).tolist(), np.reshape(weights, -1).tolist(), strict=True
            )
        ]
        detections = [face for face in detections if face.score >= options.score]
        detections.sort(key=lambda face: (-face.score, face.box))
        return detections[: options.max_faces]


def _confidence(weight: float) -> float:
    """The weight of the cascade's last stage as a share of true finds among finds of that weight, 0..1."""
    return 1 / (1 + math.exp(-(weight - _EVEN_ODDS) / _WIDTH))
