"""A network of windows as one Keras model, for training and keeping, and as its two parts, for serving."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
from keras import ops

from streamfer.api import Parts
from streamfer.errors import UsageError
from streamfer.training.augment import Augment
from streamfer.training.feed import load_initial, take_weights


def joined(parts: Parts) -> keras.Model:
    """One model of both: windows float32 (n, frames, height, width, channels), 0..255 → logits (n, labels).

    The frames of all windows pass the encoder as one batch.
    """
    encoder, head = parts
    frames, features = head.input_shape[1:]
    windows = keras.Input((frames, *encoder.input_shape[1:]), dtype="float32", name="windows")
    x = encoder(ops.reshape(windows, (-1, *encoder.input_shape[1:])))
    return keras.Model(windows, head(ops.reshape(x, (-1, frames, features))), name="windows")


def parts_of(model: keras.Model) -> Parts | None:
    """The encoder and the head of a model that `joined` has made; None for another."""
    inner = [layer for layer in model.layers if isinstance(layer, keras.Model)]
    if len(model.inputs or ()) != 1 or len(model.inputs[0].shape) != 5 or len(inner) != 2:
        return None
    return Parts(*inner)


def start_parts(path: Path, parts: Parts, *, frozen: bool) -> None:
    """Give encoder and head the weights of the Keras file at `path`.

    That of a network of windows gives both as far as they are alike; that of a network of single faces gives
    its first layers to the encoder. `UsageError` if the encoder gets nothing from it, and if one that stays
    `frozen` does not get everything.
    """
    source = load_initial(path)
    theirs = parts_of(source)
    given = take_weights(theirs.encoder if theirs else source, parts.encoder)
    if theirs:
        take_weights(theirs.head, parts.head)
    layers = sum(1 for layer in parts.encoder.layers if layer.weights)
    if not given:
        raise UsageError(f"initial: {path}: its first layer is not like this encoder's; nothing can be taken")
    if frozen and given < layers:
        raise UsageError(
            f"initial: {path}: only the first {given} of the encoder's {layers} layers with weights are like "
            "its; train_encoder: false needs all, so give the network the shape of that model under model:"
        )


class WindowAugment(Augment):
    """Changes each window of a batch its own way while training: all its frames alike.

    float32 (n, frames, h, w, c), 0..255 → the same.
    """

    def call(self, images: Any, training: bool = False) -> Any:
        if not training:
            return images
        self._frames = images.shape[1]
        apart = ops.reshape(images, (-1, *images.shape[2:]))
        return ops.reshape(super().call(apart, training=True), ops.shape(images))

    def _uniform(self, like: Any, limit: float) -> Any:
        windows = ops.shape(like)[0] // self._frames
        drawn = keras.random.uniform((windows,), -limit, limit, seed=self.random)
        return ops.repeat(drawn, self._frames)
