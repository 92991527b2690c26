"""The network behind the `mobilenet_v2` classifier."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import keras
from keras import layers, ops

from streamfer.types import CropSpec
from streamfer_classifiers.blocks import standardise
from streamfer_classifiers.mobilenet_v2 import MobileNetV2Options

_UNFIT = "does not fit MobileNetV2 of this alpha, without top"


def build(options: MobileNetV2Options, crop: CropSpec, labels: int) -> keras.Model:
    """Faces float32 (n, height, width, channels), 0..255 → logits float32 (n, labels).

    The face is standardised, enlarged to `options.side` (bilinear) and, if gray, given three equal channels;
    the backbone is `keras.applications.MobileNetV2` (Sandler et al. 2018), followed by global average
    pooling, dropout and a dense layer. Its batch normalisation follows the batches faster than with Keras's
    0.999, which suits the 10,000 steps of an epoch of ImageNet: after an epoch of 30 steps it would still
    know nothing of the data. ValueError when `options.imagenet` is no such file.
    """
    images = keras.Input((crop.height, crop.width, crop.channels), dtype="float32", name="faces")
    x = standardise(images)
    side = options.side
    if (crop.height, crop.width) != (side, side):
        x = ops.image.resize(x, (side, side), interpolation="bilinear", data_format="channels_last")
    if crop.channels == 1:
        x = ops.concatenate([x, x, x], axis=-1)
    backbone = keras.applications.MobileNetV2(
        input_shape=(side, side, 3), alpha=options.alpha, include_top=False, weights=None, name="backbone"
    )
    if options.imagenet is not None:
        _load(backbone, options.imagenet)
    for layer in backbone.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.momentum = options.momentum
    x = backbone(x)
    x = layers.GlobalAveragePooling2D(dtype="float32", name="pool")(x)
    x = layers.Dropout(options.dropout, dtype="float32", name="dropout")(x)
    logits = layers.Dense(labels, dtype="float32", name="logits")(x)
    return keras.Model(images, logits, name="mobilenet_v2")


def _load(backbone: keras.Model, path: Path) -> None:
    """Keras reads a file of other layers with no more than a warning: each kernel must have changed."""
    if not path.is_file():
        raise ValueError(f"imagenet: {path}: no such file")
    before = _kernels(backbone)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            backbone.load_weights(path)
    except OSError as error:
        raise ValueError(f"imagenet: {path}: cannot be read as Keras weights") from error
    except ValueError as error:
        raise ValueError(f"imagenet: {path}: {_UNFIT}") from error
    if any((one == other).all() for one, other in zip(_kernels(backbone), before, strict=True)):
        raise ValueError(f"imagenet: {path}: {_UNFIT}")


def _kernels(backbone: keras.Model) -> list[Any]:
    return [ops.convert_to_numpy(one) for one in backbone.trainable_weights if "kernel" in one.path]
