"""What the networks have in common: how a face is normalised, and a convolution with its normalisation."""

from __future__ import annotations

from typing import Any

from keras import layers, ops

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
