"""A classifier without a network: is the face bright or dark?"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streamfer_example import BrightnessOptions


class Brightness:
    """A logistic curve over the mean gray value of the crop."""

    def __init__(self, options: BrightnessOptions) -> None:
        self._options = options

    def predict(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Probabilities of (dark, bright), float32 (n, 2), for gray crops uint8 (n, 48, 48, 1)."""
        mean = crops.mean(axis=(1, 2, 3), dtype=np.float64)
        bright = 1 / (1 + np.exp((self._options.threshold - mean) / self._options.softness))
        return np.stack([1 - bright, bright], axis=1).astype(np.float32)
