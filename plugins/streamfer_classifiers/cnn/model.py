"""The network behind the `cnn` classifier: a small VGG-like convolutional network for 48×48 gray faces."""

from __future__ import annotations

import keras
from keras import layers

from streamfer.types import CropSpec
from streamfer_classifiers.blocks import convolution, standardise
from streamfer_classifiers.cnn import CnnOptions


def build(options: CnnOptions, crop: CropSpec, labels: int) -> keras.Model:
    """Faces float32 (n, height, width, channels), 0..255 → logits float32 (n, labels).

    Each stage is `options.convolutions` times 3×3 convolution, batch normalisation (Ioffe & Szegedy 2015)
    and ReLU, then 2×2 max pooling, after VGG (Simonyan & Zisserman 2015); global average pooling (Lin et al.
    2014) feeds one dense layer. The first, high-resolution stage is narrow because it costs most. The stages
    follow Keras's dtype policy; normalisation of the input and the logits are float32 in any case.
    """
    images = keras.Input((crop.height, crop.width, crop.channels), dtype="float32", name="faces")
    x = standardise(images)
    for stage, width in enumerate(options.widths, start=1):
        for step in range(1, options.convolutions + 1):
            x = convolution(x, width, f"stage{stage}_{step}")
        x = layers.MaxPooling2D(2, name=f"stage{stage}_pool")(x)
    x = layers.GlobalAveragePooling2D(dtype="float32", name="pool")(x)
    x = layers.Dropout(options.dropout, dtype="float32", name="dropout")(x)
    logits = layers.Dense(labels, dtype="float32", name="logits")(x)
    return keras.Model(images, logits, name="cnn")
