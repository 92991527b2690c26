"""From a trained Keras network to LiteRT models: calibrated, with float32 or int8 weights."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from streamfer.inference.litert import without_native_chatter

if TYPE_CHECKING:
    import keras

Predict = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""float32 (n, height, width, channels), 0..255 → float32 (n, labels)."""


def served(model: keras.Model, temperature: float, flip_average: bool) -> keras.Model:
    """The network as it is served: faces to probabilities, softmax(logits / temperature).

    With `flip_average` the logits are the mean over the face and its mirror image.
    """
    import keras
    from keras import ops

    faces = keras.Input(model.input_shape[1:], dtype="float32", name="faces")
    logits = model(faces, training=False)
    if flip_average:
        logits = (logits + model(ops.flip(faces, axis=2), training=False)) / 2
    return keras.Model(faces, ops.softmax(logits / temperature, axis=-1), name=model.name)


def convert(model: keras.Model, *, int8: bool) -> bytes:
    """The LiteRT model of a Keras model, in inference mode.

    int8 is LiteRT's dynamic-range quantisation: weights per channel, activations measured as they pass.
    """
    import keras
    import tensorflow as tf

    signature = [tf.TensorSpec((None, *model.input_shape[1:]), tf.float32, name="faces")]
    with tempfile.TemporaryDirectory() as folder, without_native_chatter():
        archive = keras.export.ExportArchive()
        archive.track(model)
        archive.add_endpoint("serve", lambda faces: model(faces, training=False), input_signature=signature)
        archive.write_out(folder, verbose=False)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        if int8:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        content: bytes = converter.convert()
        return content


def interpreter(model: bytes) -> Predict:
    """A LiteRT model as a function: on one thread, one image at a time, as the service runs it."""
    from ai_edge_litert.interpreter import Interpreter

    with without_native_chatter():
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
        return np.array(rows, np.float32)

    return predict


def fit_temperature(logits: NDArray[np.floating[Any]], labels: NDArray[np.uint8]) -> float:
    """The temperature that minimises the negative log likelihood (Guo et al. 2017), to within 0.4 %.

    logits (n, labels), labels (n,). One temperature for all classes: it changes no answer, only the
    confidence.
    """
    candidates = np.geomspace(0.2, 5.0, 801)
    rows = np.arange(len(labels))
    losses = [-np.log(softmax(logits / t)[rows, labels] + 1e-12).mean() for t in candidates]
    return float(candidates[int(np.argmin(losses))])


def softmax(logits: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """Rows of logits (n, labels) as probabilities (n, labels)."""
    powers: NDArray[Any] = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares: NDArray[Any] = powers / powers.sum(axis=1, keepdims=True)
    return shares.astype(np.float32)


def count_macs(model: keras.Model) -> int:
    """Multiply-accumulate operations of the convolutions and dense layers for one image."""
    import keras

    total = 0
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            total += count_macs(layer)
        elif isinstance(layer, keras.layers.Conv2D | keras.layers.DepthwiseConv2D):
            _, height, width, _ = layer.output.shape
            total += height * width * int(np.prod(layer.kernel.shape))
        elif isinstance(layer, keras.layers.Dense):
            total += int(np.prod(layer.kernel.shape))
    return total
