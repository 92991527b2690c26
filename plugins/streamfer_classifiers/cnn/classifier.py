"""Serves the trained network through LiteRT."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streamfer.errors import StartError
from streamfer.inference.litert import LiteRTModel
from streamfer.types import LABELS
from streamfer_classifiers.cnn import CnnOptions


class Cnn:
    """Probabilities of the seven expressions for each 48×48 gray crop."""

    def __init__(self, options: CnnOptions) -> None:
        self._model = LiteRTModel(options.model)
        labels = tuple(self._model.card.get("labels", ()))
        if labels != LABELS:
            raise StartError(f"{options.model}: a model for {LABELS} is expected, this one says {labels}")

    def predict(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        """float32 (n, 7) for uint8 (n, 48, 48, 1), in the order of `streamfer.types.LABELS`."""
        return self._model.predict(crops)
