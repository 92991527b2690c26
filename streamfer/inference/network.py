"""The classifier behind every network: serves the trained model that a card describes."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from streamfer.api import ServedModel
from streamfer.errors import StartError
from streamfer.inference.card import Part, parts, read_card

ROUNDING = 1e-3
"""How far the probabilities of a face may be from adding up to 1."""


class _Runtime(Protocol):
    def run(self, rows: NDArray[np.uint8] | NDArray[np.float32]) -> NDArray[np.float32]: ...


class NetworkClassifier:
    """A trained network, run by LiteRT or TensorFlow.

    By its card it is a `streamfer.api.Classifier`, and `predict` is called, or a `TemporalClassifier`, of
    which `encode` and `classify` are.
    """

    def __init__(self, options: ServedModel) -> None:
        """StartError if there is no model, or one that cannot be served."""
        if options.model is None:
            raise StartError("no model card is named, and the plugin ships none; set 'model: DIR/card.json'")
        card = read_card(options.model)
        run = parts(card, options)
        first, last = run[0], run[-1]
        self._first = _runtime(first, options)
        self._last = _runtime(last, options) if len(run) == 2 else self._first
        # The first answer takes longest, because the runtime makes ready for it: no frame shall wait for it.
        tried = self._first.run(np.full((1, *card.crop), 128, np.uint8))
        if card.window is not None:
            if not np.isfinite(tried).all():
                raise StartError(f"{first.file.path}: its features are not finite; export the model again")
            tried = self._last.run(np.repeat(tried[:, None], card.window.frames, axis=1))
        if not ((tried >= 0).all() and np.allclose(tried.sum(axis=1), 1, atol=ROUNDING)):
            raise StartError(
                f"{last.file.path}: the model's outputs are not probabilities; export the model again"
            )

    def predict(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Probabilities float32 (n, labels), rows adding up to 1, for crops uint8 (n, h, w, channels)."""
        return self._first.run(crops)

    def encode(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Features float32 (n, features) of crops uint8 (n, h, w, channels)."""
        return self._first.run(crops)

    def classify(self, windows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Probabilities float32 (n, labels), rows adding up to 1, for windows (n, frames, features)."""
        return self._last.run(windows)


def _runtime(part: Part, options: ServedModel) -> _Runtime:
    if options.runtime == "tensorflow":
        from streamfer.inference.tensorflow import TensorFlowModel

        return TensorFlowModel(part)
    from streamfer.inference.litert import LiteRTModel

    return LiteRTModel(part)
