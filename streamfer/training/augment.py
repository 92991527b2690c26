"""Random changes to training images: a Keras layer that stands in front of the model, never inside it."""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import ops

from streamfer.training.recipe import AugmentOptions


class Augment(keras.layers.Layer):  # type: ignore[misc]  # keras has no types
    """Changes each image of a batch its own way while training, and none otherwise.

    float32 (n, h, w, c), 0..255 → the same. Works on every Keras backend. It computes in float32 whatever the
    policy of the model: bfloat16 cannot tell neighbouring gray levels apart.
    """

    def __init__(self, options: AugmentOptions, seed: int) -> None:
        super().__init__(name="augment", dtype="float32")
        self.options = options
        self.random = keras.random.SeedGenerator(seed)

    def call(self, images: Any, training: bool = False) -> Any:
        if not training:
            return images
        return self._erase(self._tone(self._move(images)))

    def _uniform(self, like: Any, limit: float) -> Any:
        """One number per image in -limit..limit, (n,)."""
        return keras.random.uniform((ops.shape(like)[0],), -limit, limit, seed=self.random)

    def _move(self, images: Any) -> Any:
        """Mirror, turn, zoom and shift in one interpolation; edges are reflected."""
        height, width = images.shape[1:3]
        angle = self._uniform(images, math.radians(self.options.rotation))
        scale = 1 + self._uniform(images, self.options.zoom)
        mirror = ops.sign(self._uniform(images, 1.0)) if self.options.flip else ops.ones_like(angle)
        shift_x = self._uniform(images, self.options.shift * width)
        shift_y = self._uniform(images, self.options.shift * height)
        # The eight numbers map output to input positions; the turn is about the image's centre.
        cosine, sine = ops.cos(angle) * scale, ops.sin(angle) * scale
        a, b, c, d = cosine * mirror, -sine, sine * mirror, cosine
        x, y = (width - 1) / 2, (height - 1) / 2
        zero = ops.zeros_like(angle)
        transform = ops.stack(
            [a, b, x - a * x - b * y + shift_x, c, d, y - c * x - d * y + shift_y, zero, zero], axis=1
        )
        return ops.image.affine_transform(images, transform, fill_mode="reflect", data_format="channels_last")

    def _tone(self, images: Any) -> Any:
        """Contrast about mid-gray, then brightness, cut off at black and white as a camera does."""
        contrast = 1 + self._uniform(images, self.options.contrast)[:, None, None, None]
        brightness = self._uniform(images, self.options.brightness)[:, None, None, None]
        return ops.clip((images - 127.5) * contrast + 127.5 + brightness, 0.0, 255.0)

    def _erase(self, images: Any) -> Any:
        """Random erasing (Zhong et al. 2017): a square of up to 2/5 of the side becomes mid-gray."""
        height, width = images.shape[1:3]
        half = (0.15 + ops.abs(self._uniform(images, 0.25))) * min(height, width) / 2
        x = (self._uniform(images, 0.5) + 0.5) * width
        y = (self._uniform(images, 0.5) + 0.5) * height
        chosen = ops.abs(self._uniform(images, 1.0)) < self.options.erase
        column, row = ops.arange(width, dtype="float32"), ops.arange(height, dtype="float32")
        inside_x = ops.abs(column[None, :] - x[:, None]) < half[:, None]
        inside_y = ops.abs(row[None, :] - y[:, None]) < half[:, None]
        hole = inside_y[:, :, None] & inside_x[:, None, :] & chosen[:, None, None]
        return ops.where(hole[..., None], 127.5, images)
