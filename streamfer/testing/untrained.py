"""Networks as an export would leave them, but untrained: LiteRT models, Keras files and their card."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from streamfer.api import Parts
from streamfer.inference.card import CARD
from streamfer.inference.litert import without_native_chatter
from streamfer.testing.require import require
from streamfer.types import Window

FPS, MAX_GAP = 12.5, 0.5
"""Of the window of an untrained network."""


def store_untrained(
    built: Any, labels: Sequence[str], folder: Path, name: str = "network", version: str = "0.0.0"
) -> Path:
    """Write what an export writes, without any figures, and return the card's path.

    `built` is what the `build` of a network returns: a Keras model from faces to logits, of which NAME.tflite
    and NAME.keras are written, or `Parts`, with NAME-head.tflite and NAME-head.keras besides. AssertionError
    for a model that LiteRT does not take.
    """
    encoder, head = built if isinstance(built, Parts) else (built, None)
    height, width, channels = encoder.input_shape[1:]
    card: dict[str, Any] = {
        "name": name,
        "version": version,
        "labels": list(labels),
        "input": {"height": height, "width": width, "channels": channels},
    }
    if head is None:
        model, card["keras"] = _store(encoder, folder / name, "network", softmax=True)
        card.update(model)
    else:
        frames, features = head.input_shape[1:]
        card["window"] = Window(frames, 1, FPS, MAX_GAP)._asdict()
        card["features"] = features
        model, card["keras"] = _store(encoder, folder / name, "encoder", softmax=False)
        card.update(model)
        card["head"], card["keras_head"] = _store(head, folder / f"{name}-head", "head", softmax=True)
    (folder / CARD).write_text(json.dumps(card), "utf-8")
    return folder / CARD


def _store(model: Any, path: Path, what: str, *, softmax: bool) -> tuple[dict[str, str], dict[str, str]]:
    """The entries of the LiteRT model and of the Keras file in the card."""
    import keras

    rows = keras.Input(model.input_shape[1:], dtype="float32")
    answers = model(rows, training=False)
    served = keras.Model(rows, keras.ops.softmax(answers) if softmax else answers)
    litert, file = path.with_name(f"{path.name}.tflite"), path.with_name(f"{path.name}.keras")
    litert.write_bytes(_converted(served, what))
    served.save(file)
    return _entry(litert), _entry(file)


def _converted(served: Any, what: str) -> bytes:
    import keras
    import tensorflow as tf
    from tensorflow.lite.python.convert_phase import ConverterError

    signature = [tf.TensorSpec((None, *served.input_shape[1:]), tf.float32)]
    with tempfile.TemporaryDirectory() as saved:
        archive = keras.export.ExportArchive()
        archive.track(served)
        archive.add_endpoint("serve", lambda rows: served(rows, training=False), input_signature=signature)
        archive.write_out(saved, verbose=False)
        try:
            with without_native_chatter():
                content: bytes = tf.lite.TFLiteConverter.from_saved_model(saved).convert()
        except ConverterError as error:
            last = str(error).strip().splitlines()[-1]
            require(False, f"LiteRT does not take the {what} (unroll what is recurrent): {last[:200]}")
    return content


def _entry(file: Path) -> dict[str, str]:
    return {"file": file.name, "sha256": hashlib.sha256(file.read_bytes()).hexdigest()}
