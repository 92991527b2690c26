"""The network behind the `cnn_lstm` classifier."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers, ops

from streamfer.api import Parts
from streamfer.types import CropSpec
from streamfer_classifiers.blocks import convolution, encoder, standardise
from streamfer_classifiers.cnn_lstm import CnnLstmOptions


def build(options: CnnLstmOptions, crop: CropSpec, labels: int) -> keras.Model | Parts:
    """The network of the mode: one Keras model for the rows of an image, `Parts` for windows of frames."""
    return _frames(options, crop, labels) if options.mode == "frames" else _rows(options, crop, labels)


def _frames(options: CnnLstmOptions, crop: CropSpec, labels: int) -> Parts:
    """The stages of `cnn` as the encoder of each frame; an LSTM (Hochreiter & Schmidhuber 1997) reads the
    features of a window from the oldest frame to the newest, and its last state feeds a dense layer.

    Convolutions before an LSTM over frames: Donahue et al., "Long-term recurrent convolutional networks for
    visual recognition and description", CVPR 2015.
    """
    stages = encoder(options.widths, options.convolutions, crop)
    features = keras.Input((options.frames, stages.output.shape[-1]), dtype="float32", name="features")
    x = layers.SpatialDropout1D(options.dropout, dtype="float32", name="feature_dropout")(features)
    x = layers.LSTM(options.units, unroll=True, dtype="float32", name="lstm")(x)
    x = layers.Dropout(options.dropout, dtype="float32", name="dropout")(x)
    logits = layers.Dense(labels, dtype="float32", name="logits")(x)
    return Parts(stages, keras.Model(features, logits, name="head"))


def _rows(options: CnnLstmOptions, crop: CropSpec, labels: int) -> keras.Model:
    """Faces float32 (n, height, width, channels), 0..255 → logits float32 (n, labels).

    The image, top to bottom, as a sequence of strips of `options.rows` pixel rows, each `options.stride`
    below the one before (rows: 1, stride: 1 is one pixel row after another). The same convolutions look at
    each strip and pool it to one row of features; an LSTM (Hochreiter & Schmidhuber 1997) reads these rows,
    and its last state feeds a dense layer. The strips pass the convolutions as one batch, which is what
    `TimeDistributed` means at a quarter of its time. The LSTM is unrolled: its length is fixed, and LiteRT
    takes no other. ValueError when a strip is taller than the image.
    """
    if options.rows > crop.height:
        raise ValueError(f"rows {options.rows} is more than the {crop.height} of the image")
    images = keras.Input((crop.height, crop.width, crop.channels), dtype="float32", name="faces")
    x = _strips(standardise(images), options.rows, options.stride)
    steps = x.shape[1]
    x = ops.reshape(x, (-1, *x.shape[2:]))
    for stage, width in enumerate(options.widths, start=1):
        for step in range(1, options.convolutions + 1):
            x = convolution(x, width, f"stage{stage}_{step}")
        _, height, columns, _ = x.shape
        x = layers.MaxPooling2D((min(2, height), min(2, columns)), name=f"stage{stage}_pool")(x)
    x = layers.Reshape((-1,), dtype="float32", name="flat")(x)
    x = ops.reshape(x, (-1, steps, x.shape[-1]))
    x = layers.LSTM(options.units, unroll=True, dtype="float32", name="lstm")(x)
    x = layers.Dropout(options.dropout, dtype="float32", name="dropout")(x)
    logits = layers.Dense(labels, dtype="float32", name="logits")(x)
    return keras.Model(images, logits, name="cnn_lstm")


def _strips(images: Any, rows: int, stride: int) -> Any:
    """(n, height, width, channels) → (n, steps, rows, width, channels); a rest that is no strip is cut."""
    starts = range(0, images.shape[1] - rows + 1, stride)
    return ops.stack([images[:, start : start + rows] for start in starts], axis=1)
