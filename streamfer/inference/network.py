"""The classifier behind every network: serves the trained model that a card describes."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from streamfer.api import ServedModel
from streamfer.errors import StartError
from streamfer.inference.card import ModelCard, ModelFile, read_card, served_file

ROUNDING = 1e-3
"""How far the probabilities of a face may be from adding up to 1."""


class _Runtime(Protocol):
    def predict(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]: ...


class NetworkClassifier:
    """A trained network, run by LiteRT or TensorFlow."""

    def __init__(self, options: ServedModel) -> None:
        """StartError if there is no model, or one that cannot be served."""
        if options.model is None:
            raise StartError("no model card is named, and the plugin ships none; set 'model: DIR/card.json'")
        card = read_card(options.model)
        file = served_file(card, options)
        self._model = _runtime(card, file, options)
        # The first answer takes longest, because the runtime makes ready for it: no frame shall wait for it.
        tried = self._model.predict(np.full((1, *card.crop), 128, np.uint8))
        if not ((tried >= 0).all() and np.allclose(tried.sum(axis=1), 1, atol=ROUNDING)):
            raise StartError(
                f"{file.path}: the model's outputs are not probabilities; export the model again"
            )

    def predict(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Probabilities float32 (n, labels), rows adding up to 1, for crops uint8 (n, h, w, channels)."""
        return self._model.predict(crops)


def _runtime(card: ModelCard, file: ModelFile, options: ServedModel) -> _Runtime:
    if options.runtime == "tensorflow":
        from streamfer.inference.tensorflow import TensorFlowModel

        return TensorFlowModel(card, file)
    from streamfer.inference.litert import LiteRTModel

    return LiteRTModel(card)
