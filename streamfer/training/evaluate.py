"""Measures an exported classifier on a split: accuracy, macro F1, calibration."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamfer.errors import StartError, UsageError
from streamfer.inference.litert import verified
from streamfer.training.data import Dataset
from streamfer.types import LABELS

Metrics = dict[str, float]
"""n, accuracy, macro_f1, ece of one set of rows; all but n in 0..1."""

WITHOUT_DUPLICATES = "PrivateTest_without_train_duplicates"
"""The PrivateTest rows whose image does not stand in Training too."""


def evaluate(card: Path, data: Dataset) -> dict[str, Metrics]:
    """Run a card's model over PublicTest and PrivateTest; returns what the card's `metrics` holds.

    PrivateTest is taken raw, as results are published, and without the images that the model was trained on.
    Raises `UsageError` when the file is not the one that the card describes, or a split is empty.
    """
    return measure(verified_model(card), data)


def measure(model: bytes, data: Dataset) -> dict[str, Metrics]:
    """As `evaluate`, for the bytes of a LiteRT model."""
    predict = interpreter(model)
    sets = {split: data.rows(split) for split in ("PublicTest", "PrivateTest")}
    sets[WITHOUT_DUPLICATES] = data.unseen_rows("PrivateTest")
    for name, rows in sets.items():
        if not len(rows):
            raise UsageError(f"{data.name}: no rows in {name}")
    return {name: metrics(predict(data.inputs(rows)), data.labels[rows]) for name, rows in sets.items()}


def verified_model(card: Path) -> bytes:
    """The model file that a card names; raises `UsageError` when it is not the one the card describes."""
    try:
        return verified(str(card))[1]
    except StartError as error:
        raise UsageError(str(error)) from error


def interpreter(model: bytes) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    """A LiteRT model as a function: float32 (n, h, w, c) → float32 (n, labels).

    On one thread and one image at a time, which is how the service runs it.
    """
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError:  # the training environment may have TensorFlow only
        import tensorflow as tf

        Interpreter = tf.lite.Interpreter
    litert = Interpreter(model_content=model, num_threads=1)
    litert.allocate_tensors()
    source = litert.get_input_details()[0]["index"]
    answer = litert.get_output_details()[0]["index"]

    def predict(images: NDArray[np.float32]) -> NDArray[np.float32]:
        rows: list[Any] = []
        for image in images:
            litert.set_tensor(source, image[None])
            litert.invoke()
            rows.append(litert.get_tensor(answer)[0])
        return np.array(rows, np.float32).reshape(len(images), len(LABELS))

    return predict


def metrics(probabilities: NDArray[np.float32], labels: NDArray[np.uint8]) -> Metrics:
    """Figures for probabilities (n, 7) against labels (n,).

    `macro_f1` is the mean of the F1 of the labels that occur or are answered. `ece` is the expected
    calibration error over 15 equal bins of confidence (Guo et al. 2017).
    """
    answers, confidence = probabilities.argmax(axis=1), probabilities.max(axis=1)
    right = answers == labels
    scores = []
    for label in np.union1d(answers, labels):
        hits = int((right & (labels == label)).sum())
        scores.append(2 * hits / (int((answers == label).sum()) + int((labels == label).sum())))
    bins = np.minimum((confidence * 15).astype(int), 14)
    gaps = [
        abs(right[bins == b].mean() - confidence[bins == b].mean()) * (bins == b).mean()
        for b in np.unique(bins)
    ]
    return {
        "n": len(labels),
        "accuracy": round(float(right.mean()), 4),
        "macro_f1": round(float(np.mean(scores)), 4),
        "ece": round(float(np.sum(gaps)), 4),
    }
