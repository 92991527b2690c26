"""LiteRT: runs a model that was exported with its card, verified by its SHA-256, on one thread."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamfer.errors import StartError


def locate(card: str) -> Path:
    """The card that "package:path" or a file's path names."""
    package, separator, path = card.partition(":")
    if not separator:
        return Path(card)
    try:
        return Path(str(files(package).joinpath(path)))
    except ModuleNotFoundError as error:
        raise StartError(f"{card}: no such package; name a model card as PACKAGE:PATH or a file") from error


def verified(card: str) -> tuple[dict[str, Any], bytes]:
    """A model card and the model's bytes; StartError unless they are there and belong together."""
    place = locate(card)
    try:
        facts = json.loads(place.read_text("utf-8"))
        name, expected = facts["file"], facts["sha256"]
    except OSError as error:
        raise StartError(f"{place}: the model card cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise StartError(f"{place}: not a model card: {error}; reinstall the plugin") from error
    model_file = place.parent / name
    try:
        model = model_file.read_bytes()
    except OSError as error:
        raise StartError(f"{model_file}: the model cannot be read: {error.strerror}") from error
    actual = hashlib.sha256(model).hexdigest()
    if actual != expected:
        raise StartError(
            f"{model_file}: the model is corrupted (sha256 {actual[:12]}…, its card says {expected[:12]}…); "
            "reinstall the plugin or restore the file"
        )
    return facts, model


@contextmanager
def _without_native_chatter() -> Iterator[None]:
    """LiteRT tells each user's terminal which delegate it made, and has no switch for it. What goes wrong is
    raised all the same."""
    sys.stderr.flush()
    kept, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(null)


class LiteRTModel:
    """An image classifier: uint8 crops in, probabilities out, one crop at a time.

    One at a time because a batch gains nothing on one thread, and a row must not depend on the others.
    """

    def __init__(self, card: str) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self.card, model = verified(card)
        try:
            with _without_native_chatter():
                self._interpreter = Interpreter(model_content=model, num_threads=1)
                self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise StartError(f"{card}: LiteRT cannot run this model: {error}") from error
        asked = self._interpreter.get_input_details()[0]
        self._input, self._shape = asked["index"], tuple(asked["shape"][1:])
        self._output = self._interpreter.get_output_details()[0]["index"]

    def predict(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Probabilities, float32 (n, labels), for crops uint8 (n, height, width, channels)."""
        rows = []
        for crop in crops:
            self._interpreter.set_tensor(self._input, crop[None].astype(np.float32))
            self._interpreter.invoke()
            rows.append(self._interpreter.get_tensor(self._output)[0])
        return np.asarray(rows, np.float32).reshape(len(crops), -1)
