"""The network behind the `cnn_bilstm` classifier."""

from __future__ import annotations

import keras
from keras import layers

from streamfer.api import Parts
from streamfer.types import CropSpec
from streamfer_classifiers.blocks import convolution, encoder, standardise
from streamfer_classifiers.cnn_bilstm import CnnBilstmOptions


def build(options: CnnBilstmOptions, crop: CropSpec, labels: int) -> keras.Model | Parts:
    """The network of the mode: one Keras model for one image, `Parts` for windows of frames."""
    return _frames(options, crop, labels) if options.mode == "frames" else _image(options, crop, labels)


def _frames(options: CnnBilstmOptions, crop: CropSpec, labels: int) -> Parts:
    """The stages of `cnn` as the encoder of each frame; a bidirectional LSTM (Schuster & Paliwal 1997) reads
    the features of a window both ways, and its two last states feed a dense layer.

    It answers for the newest frame, like the LSTM of one direction, and waits for no later one: the way back
    tells the oldest frames in the light of those after them.
    """
    stages = encoder(options.widths, options.convolutions, crop)
    features = keras.Input((options.frames, stages.output.shape[-1]), dtype="float32", name="features")
    x = layers.SpatialDropout1D(options.dropout, dtype="float32", name="feature_dropout")(features)
    lstm = layers.LSTM(options.units, unroll=True, dtype="float32", name="lstm")
    x = layers.Bidirectional(lstm, dtype="float32", name="bilstm")(x)
    x = layers.Dropout(options.dropout, dtype="float32", name="dropout")(x)
    logits = layers.Dense(labels, dtype="float32", name="logits")(x)
    return Parts(stages, keras.Model(features, logits, name="head"))


def _image(options: CnnBilstmOptions, crop: CropSpec, labels: int) -> keras.Model:
    """Faces float32 (n, height, width, channels), 0..255 → logits float32 (n, labels).

    The stages of `cnn` without the last pooling; then the feature map's rows, top to bottom, as a sequence of
    vectors (width × channels) for one bidirectional LSTM (Hochreiter & Schmidhuber 1997; Schuster & Paliwal
    1997), whose last states from above and from below feed a dense layer. The recurrent layer is unrolled:
    its length is fixed, and LiteRT takes no other.
    """
    images = keras.Input((crop.height, crop.width, crop.channels), dtype="float32", name="faces")
    x = standardise(images)
    for stage, width in enumerate(options.widths, start=1):
        if stage > 1:
            x = layers.MaxPooling2D(2, name=f"stage{stage - 1}_pool")(x)
        for step in range(1, options.convolutions + 1):
            x = convolution(x, width, f"stage{stage}_{step}")
    _, rows, columns, channels = x.shape
    x = layers.Reshape((rows, columns * channels), dtype="float32", name="rows")(x)
    lstm = layers.LSTM(options.units, unroll=True, dtype="float32", name="lstm")
    x = layers.Bidirectional(lstm, dtype="float32", name="bilstm")(x)
    x = layers.Dropout(options.dropout, dtype="float32", name="dropout")(x)
    logits = layers.Dense(labels, dtype="float32", name="logits")(x)
    return keras.Model(images, logits, name="cnn_bilstm")
