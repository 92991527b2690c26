"""What a frozen encoder says of frames: computed once, and kept in the run's folder."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
from numpy.typing import NDArray

from streamfer.errors import UsageError
from streamfer.training.files import replaced

Features = NDArray[np.float16]
"""(n, features). Half precision is a thousandth of a value, less than what quantised weights change."""

BATCH = 128


def kept(
    path: Path,
    encoder: keras.Model,
    made_of: str,
    compute: Callable[[], Features],
) -> Features:
    """The features in the file at `path`, computed if it is not there or not whole.

    Raises `UsageError` when it is not of this encoder and of what `made_of` says, and when it cannot be
    written.
    """
    digest = hashlib.sha256(made_of.encode())
    for weights in encoder.get_weights():
        digest.update(np.ascontiguousarray(weights).tobytes())
    head = json.dumps({"of": digest.hexdigest()}).encode()
    try:
        with np.load(path, allow_pickle=False) as file:
            if file["head"].tobytes() != head:
                raise UsageError(
                    f"{path}: was made with another encoder: the model that initial names has changed since; "
                    "take another --out"
                )
            found: Features = file["features"]
            return found
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile):
        """Not there, or not whole: it is made anew."""
    features = compute()
    try:
        with replaced(path) as draft, draft.open("wb") as file:
            np.savez(file, head=np.frombuffer(head, np.uint8), features=features)
    except OSError as error:
        raise UsageError(
            f"{path}: cannot be written: {error.strerror or error}; free some space and run the same command "
            "again"
        ) from error
    return features


def encode(
    encoder: keras.Model, images: NDArray[np.uint8], flip: bool, report: Callable[[int], None]
) -> Features:
    """What the encoder says of images uint8 (n, h, w, c); with `flip` the mean over each and its mirror
    image.

    `report` is told now and then how many are done.
    """
    found = np.empty((len(images), encoder.output_shape[-1]), np.float16)
    for start in range(0, len(images), BATCH):
        batch = images[start : start + BATCH].astype(np.float32)
        said = np.asarray(encoder.predict_on_batch(batch))
        if flip:
            said = (said + np.asarray(encoder.predict_on_batch(batch[:, :, ::-1]))) / 2
        found[start : start + len(batch)] = said
        report(min(start + BATCH, len(images)))
    return found
