"""The network behind the `stacked_cnn` classifier."""

from __future__ import annotations

import keras
from keras import layers

from streamfer.types import CropSpec
from streamfer_classifiers.blocks import convolution, standardise
from streamfer_classifiers.stacked_cnn import StackedCnnOptions


def build(options: StackedCnnOptions, crop: CropSpec, labels: int) -> keras.Model:
    """Faces float32 (n, height, width, channels), 0..255 → logits float32 (n, labels).

    Each block is a 3×3 convolution, batch normalisation (Ioffe & Szegedy 2015), ReLU, 2×2 max pooling (a side
    of 3 becomes 2) and dropout; one dense layer of `options.dense` units follows, and the logits.
    """
    images = keras.Input((crop.height, crop.width, crop.channels), dtype="float32", name="faces")
    x = standardise(images)
    for block, width in enumerate(options.filters, start=1):
        x = convolution(x, width, f"block{block}")
        x = layers.MaxPooling2D(2, padding="same", name=f"block{block}_pool")(x)
        x = layers.Dropout(options.block_dropout, name=f"block{block}_dropout")(x)
    x = layers.Flatten(dtype="float32", name="features")(x)
    x = layers.Dense(options.dense, use_bias=False, dtype="float32", name="dense")(x)
    x = layers.BatchNormalization(momentum=0.9, dtype="float32", name="dense_norm")(x)
    x = layers.ReLU(dtype="float32", name="dense_relu")(x)
    x = layers.Dropout(options.dropout, dtype="float32", name="dropout")(x)
    logits = layers.Dense(labels, dtype="float32", name="logits")(x)
    return keras.Model(images, logits, name="stacked_cnn")
