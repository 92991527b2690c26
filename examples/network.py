"""A local plugin in one file: a small network that streamfer trains, evaluates, exports and serves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from streamfer.api import Component, Options, network
from streamfer.hookspecs import hookimpl
from streamfer.types import CropSpec

if TYPE_CHECKING:
    import keras


class TinyOptions(Options):
    """The hyperparameters."""

    filters: int = Field(16, ge=1, description="channels of the first convolution; each further doubles them")
    convolutions: int = Field(3, ge=1, le=5, description="how many; each halves height and width")


def build(options: TinyOptions, crop: CropSpec, labels: int) -> keras.Model:
    """Faces float32 (n, height, width, channels), 0..255 → logits float32 (n, labels)."""
    import keras  # not above: every `streamfer` command imports this file
    from keras import layers

    faces = keras.Input((crop.height, crop.width, crop.channels), dtype="float32")
    x = faces / 127.5 - 1
    for step in range(options.convolutions):
        x = layers.Conv2D(options.filters * 2**step, 3, strides=2, padding="same", activation="relu")(x)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(faces, layers.Dense(labels, dtype="float32")(x))


@hookimpl
def streamfer_components() -> list[Component]:
    return [network("tiny", "A few convolutions on one face crop", build=":build", options=TinyOptions)]
