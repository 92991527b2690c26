"""TensorFlow: runs the Keras file of an exported model, on one thread or on a GPU."""

from __future__ import annotations

import os
import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamfer.errors import StartError
from streamfer.inference.card import ModelFile, Part
from streamfer.inference.litert import without_native_chatter


class TensorFlowModel:
    """A model with one input and one output, run on all rows at once."""

    def __init__(self, part: Part) -> None:
        """StartError if TensorFlow is not there, or if the .keras file is damaged, is none, needs code that
        is not in Keras, or does not fit its card."""
        file = part.file
        tf, keras = _libraries()
        file.read()
        self._tensorflow, self._model = tf, _load(keras, file)
        takes, gives = self._model.inputs or [], self._model.outputs or []
        if [one.dtype for one in (*takes, *gives)] != ["float32", "float32"]:
            raise StartError(
                f"{file.path}: expected a model with one float32 input and one float32 output; export the "
                "model again"
            )
        part.check(takes[0].shape[1:], gives[0].shape[1:])
        self._gives = part.gives
        # The signature leaves the number of rows open: traced once, whatever number comes.
        signature = [tf.TensorSpec((None, *part.takes), tf.float32)]
        self._answer = tf.function(self._call, input_signature=signature, autograph=False)

    def run(self, rows: NDArray[np.uint8] | NDArray[np.float32]) -> NDArray[np.float32]:
        """What the model gives, float32 (n, *gives), for rows (n, *takes)."""
        if not len(rows):
            return np.empty((0, *self._gives), np.float32)  # TensorFlow fails at a convolution of none
        answer = self._answer(self._tensorflow.convert_to_tensor(rows.astype(np.float32)))
        return np.asarray(answer.numpy(), np.float32)

    def _call(self, rows: Any) -> Any:
        return self._model(rows, training=False)


def _libraries() -> tuple[Any, Any]:
    """TensorFlow, kept to one thread and to the GPU memory that it uses, and Keras on top of it."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if "keras" not in sys.modules:
        os.environ["KERAS_BACKEND"] = "tensorflow"  # it is chosen when Keras is imported
    try:
        with without_native_chatter():
            import keras
            import tensorflow as tf

            _limit(tf)
    except ImportError as error:
        raise StartError(
            f"'runtime: tensorflow' needs TensorFlow ({error}): pip install 'streamfer[train]'"
        ) from error
    if (backend := keras.backend.backend()) != "tensorflow":
        raise StartError(
            f"'runtime: tensorflow': Keras runs on {backend} in this process; set KERAS_BACKEND=tensorflow"
        )
    return tf, keras


def _limit(tf: Any) -> None:
    try:
        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(1)
        for gpu in tf.config.list_physical_devices("GPU"):
            tf.config.experimental.set_memory_growth(gpu, True)
    except RuntimeError:
        """TensorFlow is at work in this process already (a notebook): it stays as it is."""


def _load(keras: Any, file: ModelFile) -> Any:
    try:
        return keras.models.load_model(file.path, compile=False, safe_mode=True)
    except (ValueError, TypeError, KeyError, AttributeError, OSError) as error:
        first: BaseException = error
        while first.__context__ is not None:  # Keras says more and more about less and less
            first = first.__context__
        said = str(first).strip().partition("\n")[0].partition(". ")[0]
        raise StartError(f"{file.path}: Keras cannot load this model: {said}") from error
