"""Small untrained networks with their cards, as an export would leave them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from streamfer.types import CropSpec, Window

FOUR = ("angry", "happy", "neutral", "sad")


def store(folder: Path, crop: CropSpec, labels: tuple[str, ...] = FOUR, name: str = "small") -> Path:
    """The card of a network with random weights (always the same ones)."""
    import keras
    from keras import layers

    from streamfer.testing.untrained import store_untrained

    keras.utils.set_random_seed(4)
    faces = keras.Input(crop, dtype="float32")
    x = layers.Rescaling(1 / 64, offset=-2)(faces)
    x = layers.Conv2D(6, 3, strides=2, activation="relu")(x)
    x = layers.Conv2D(12, 3, strides=2, activation="relu")(x)
    x = layers.GlobalMaxPooling2D()(x)
    folder.mkdir(parents=True, exist_ok=True)
    return store_untrained(keras.Model(faces, layers.Dense(len(labels))(x)), labels, folder, name)


def card(**changes: Any) -> dict[str, Any]:
    """A right card; a change to None leaves a key out."""
    facts: dict[str, Any] = {
        "name": "small",
        "version": "1.2.3",
        "file": "small.tflite",
        "sha256": "0" * 64,
        "labels": list(FOUR),
        "input": {"height": 24, "width": 32, "channels": 3, "dtype": "float32", "range": [0, 255]},
        "metrics": {"PublicTest": {"n": 10}},
        **changes,
    }
    return {key: value for key, value in facts.items() if value is not None}


def write_card(path: Path, *, window: Window | None = None, **changes: Any) -> Path:
    """A card's file, with a `window` that of a temporal network."""
    if window is not None:
        head = {"file": "head.tflite", "sha256": "0" * 64}
        changes = {"window": window._asdict(), "features": 8, "head": head, **changes}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(card(**changes)), "utf-8")
    return path
