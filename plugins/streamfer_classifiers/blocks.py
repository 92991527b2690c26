"""What the networks have in common: how a face is normalised, a convolution with its normalisation, and the
encoder of those that read windows of frames."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers, ops

from streamfer.types import CropSpec

STD_FLOOR = 8.0
"""Gray levels. A flatter image is not stretched to full contrast: that would only amplify its noise."""


def standardise(images: Any) -> Any:
    """Faces float32 (n, height, width, channels): each with mean 0 and standard deviation 1 (smaller where
    the image is flatter than `STD_FLOOR`)."""
    centred = images - ops.mean(images, axis=(1, 2, 3), keepdims=True)
    std = ops.sqrt(ops.mean(ops.square(centred), axis=(1, 2, 3), keepdims=True))
    return centred / ops.maximum(std, STD_FLOOR)


def convolution(x: Any, width: int, name: str) -> Any:
    """3×3 convolution, batch normalisation (Ioffe & Szegedy 2015) and ReLU, under Keras's dtype policy."""
    x = layers.Conv2D(
        width, 3, padding="same", use_bias=False, kernel_initializer="he_normal", name=f"{name}_conv"
    )(x)
    x = layers.BatchNormalization(momentum=0.9, name=f"{name}_norm")(x)
    return layers.ReLU(name=f"{name}_relu")(x)


def encoder(widths: Sequence[int], convolutions: int, crop: CropSpec) -> keras.Model:
    """Faces float32 (n, height, width, channels), 0..255 → features float32 (n, widths[-1]).

    The stages of the `cnn` network up to its last, dense layer, under the same names, so that it can start
    from the weights of a `cnn` with the same `widths` and `convolutions`.
    """
    images = keras.Input((crop.height, crop.width, crop.channels), dtype="float32", name="faces")
    x = standardise(images)
    for stage, width in enumerate(widths, start=1):
        for step in range(1, convolutions + 1):
            x = convolution(x, width, f"stage{stage}_{step}")
        x = layers.MaxPooling2D(2, name=f"stage{stage}_pool")(x)
    x = layers.GlobalAveragePooling2D(dtype="float32", name="pool")(x)
    return keras.Model(images, x, name="encoder")
