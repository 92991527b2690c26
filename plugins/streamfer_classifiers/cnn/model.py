"""The network behind the `cnn` classifier: a small VGG-like convolutional network for 48×48 gray faces."""

from __future__ import annotations

import keras
from keras import layers

from streamfer.types import CropSpec
from streamfer_classifiers.blocks import encoder
from streamfer_classifiers.cnn import CnnOptions


def build(options: CnnOptions, crop: CropSpec, labels: int) -> keras.Model:
    """Faces float32 (n, height, width, channels), 0..255 → logits float32 (n, labels).

    Each stage is `options.convolutions` times 3×3 convolution, batch normalisation (Ioffe & Szegedy 2015)
    and ReLU, then 2×2 max pooling, after VGG (Simonyan & Zisserman 2015); global average pooling (Lin et al.
    2014) feeds one dense layer. The first, high-resolution stage is narrow because it costs most. The stages
    follow Keras's dtype policy; normalisation of the input and the logits are float32 in any case.
    """
    stages = encoder(options.widths, options.convolutions, crop)
    x = layers.Dropout(options.dropout, dtype="float32", name="dropout")(stages.output)
    logits = layers.Dense(labels, dtype="float32", name="logits")(x)
    return keras.Model(stages.input, logits, name="cnn")
