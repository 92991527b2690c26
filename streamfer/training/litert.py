"""From a trained Keras network to LiteRT models: calibrated, with float32, float16 or int8 weights."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamfer.errors import UsageError
from streamfer.inference.litert import without_native_chatter

if TYPE_CHECKING:
    import keras

Weights = Literal["int8", "float16", "float32"]

Predict = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""float32 (n, height, width, channels), 0..255 → float32 (n, labels)."""


class Calibration(NamedTuple):
    """What makes probabilities of a network's logits that are as often right as they say.

    `temperature` divides the logits (Guo et al. 2017). `floor` is taken off every class before: a network
    that was trained with label smoothing never says less than that, and too little where it is sure.
    """

    temperature: float
    floor: float = 0.0


LEAST = 1e-4
"""What a class keeps at least when the floor is taken off."""


def served(model: keras.Model, calibration: Calibration, flip_average: bool) -> keras.Model:
    """The network as it is served: faces (or of a head, windows of features) to probabilities, as
    `probabilities` below makes them of logits.

    With `flip_average` the logits are the mean over the face and its mirror image.
    """
    import keras
    from keras import ops

    faces = keras.Input(model.input_shape[1:], dtype="float32", name="faces")
    logits = model(faces, training=False)
    if flip_average:
        logits = (logits + model(ops.flip(faces, axis=2), training=False)) / 2
    temperature, floor = calibration
    if floor:
        logits = ops.log(ops.maximum(ops.softmax(logits, axis=-1) - floor, LEAST))
    return keras.Model(faces, ops.softmax(logits / temperature, axis=-1), name=model.name)


def featured(encoder: keras.Model, flip_average: bool) -> keras.Model:
    """An encoder as it is served: faces to features, with `flip_average` the mean over the face and its
    mirror image."""
    import keras
    from keras import ops

    faces = keras.Input(encoder.input_shape[1:], dtype="float32", name="faces")
    features = encoder(faces, training=False)
    if flip_average:
        features = (features + encoder(ops.flip(faces, axis=2), training=False)) / 2
    return keras.Model(faces, features, name=encoder.name)


def convert(model: keras.Model, weights: Weights) -> bytes:
    """The LiteRT model of a Keras model, in inference mode.

    int8 is LiteRT's dynamic-range quantisation: weights per channel, activations measured as they pass.
    float16 halves the file, and computes in float32. `UsageError` for a model that LiteRT does not take.
    """
    import keras
    import tensorflow as tf
    from tensorflow.lite.python.convert_phase import ConverterError

    signature = [tf.TensorSpec((None, *model.input_shape[1:]), tf.float32, name="faces")]
    with tempfile.TemporaryDirectory() as folder, without_native_chatter():
        archive = keras.export.ExportArchive()
        archive.track(model)
        archive.add_endpoint("serve", lambda faces: model(faces, training=False), input_signature=signature)
        archive.write_out(folder, verbose=False)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        if weights != "float32":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if weights == "float16":
            converter.target_spec.supported_types = [tf.float16]
        try:
            content: bytes = converter.convert()
        except ConverterError as error:
            last = str(error).strip().rpartition("\n")[2]
            raise UsageError(
                f"LiteRT does not take the network '{model.name}' (recurrent layers need unroll=True): "
                f"{last[:200]}"
            ) from error
        return content


def interpreter(model: bytes) -> Predict:
    """A LiteRT model as a function: on one thread, one row at a time, as the service runs it."""
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
    return _fit(logits, labels)[1]


def fit_calibration(
    logits: NDArray[np.floating[Any]], labels: NDArray[np.uint8], smoothing: float
) -> Calibration:
    """Temperature and floor that together minimise the negative log likelihood.

    logits (n, labels), labels (n,); `smoothing` is the label smoothing of the training, which bounds the
    floor: 0 for none.
    """
    floors = np.linspace(0, smoothing / logits.shape[1], 11) if smoothing else np.zeros(1)
    fits = [(*_fit(_without(logits, floor), labels), floor) for floor in floors]
    _, temperature, floor = min(fits)
    return Calibration(temperature, float(floor))


def probabilities(logits: NDArray[np.floating[Any]], calibration: Calibration) -> NDArray[np.float32]:
    """Calibrated probabilities (n, labels) of logits (n, labels)."""
    return softmax(_without(logits, calibration.floor) / calibration.temperature)


def _without(logits: NDArray[np.floating[Any]], floor: float) -> NDArray[np.floating[Any]]:
    return np.log(np.maximum(softmax(logits) - floor, LEAST)) if floor else logits


def _fit(logits: NDArray[np.floating[Any]], labels: NDArray[np.uint8]) -> tuple[float, float]:
    """The smallest negative log likelihood over the temperatures, and its temperature."""
    candidates = np.geomspace(0.2, 5.0, 801)
    rows = np.arange(len(labels))
    losses = [-np.log(softmax(logits / t)[rows, labels] + 1e-12).mean() for t in candidates]
    best = int(np.argmin(losses))
    return float(losses[best]), float(candidates[best])


def softmax(logits: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """Rows of logits (n, labels) as probabilities (n, labels)."""
    powers: NDArray[Any] = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares: NDArray[Any] = powers / powers.sum(axis=1, keepdims=True)
    return shares.astype(np.float32)


def count_macs(model: keras.Model) -> int:
    """Multiply-accumulate operations for one image of the convolutions, dense and recurrent layers.

    Counted in TensorFlow's graph of the model, so whatever the layers are called; but grouped convolutions,
    which TensorFlow compiles apart on a CPU, are not in it.
    """
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    one = tf.TensorSpec((1, *model.input_shape[1:]), tf.float32)
    traced = tf.function(lambda faces: model(faces, training=False)).get_concrete_function(one)
    graph = convert_variables_to_constants_v2(traced).graph
    return sum(_macs(operation) for operation in graph.get_operations())


def _macs(operation: Any) -> int:
    kind = operation.type
    if kind in ("Conv2D", "Conv3D"):  # kernel: sides, channels in (of one group), channels out
        *_, out = operation.outputs[0].shape
        pixels = operation.outputs[0].shape.num_elements() // out
        return int(pixels * operation.inputs[1].shape.num_elements())
    if kind == "DepthwiseConv2dNative":  # kernel: height, width, channels in, multiplier
        height, width = operation.inputs[1].shape[:2]
        return int(operation.outputs[0].shape.num_elements() * height * width)
    if kind in ("MatMul", "BatchMatMulV2"):
        inner = operation.inputs[0].shape[-2 if operation.node_def.attr["transpose_a"].b else -1]
        return int(operation.outputs[0].shape.num_elements() * inner)
    return 0
