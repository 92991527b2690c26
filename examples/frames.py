"""A local plugin in one file: a small network that reads the last frames of a face."""

from __future__ import annotations

from pydantic import Field

from streamfer.api import Component, Options, Parts, network
from streamfer.hookspecs import hookimpl
from streamfer.types import CropSpec


class TinyFramesOptions(Options):
    """The hyperparameters."""

    frames: int = Field(8, ge=1, le=256, description="frames in a window; a recipe's window.frames")
    filters: int = Field(16, ge=1, description="channels of the first convolution; each further doubles them")
    units: int = Field(24, ge=1, description="units of the recurrent layer")


def build(options: TinyFramesOptions, crop: CropSpec, labels: int) -> Parts:
    """An encoder, faces float32 (n, height, width, channels), 0..255 → features float32 (n, features), and a
    head, windows float32 (n, frames, features) → logits float32 (n, labels)."""
    import keras  # not above: every `streamfer` command imports this file
    from keras import layers

    faces = keras.Input((crop.height, crop.width, crop.channels), dtype="float32")
    x = faces / 127.5 - 1
    for step in range(3):
        x = layers.Conv2D(options.filters * 2**step, 3, strides=2, padding="same", activation="relu")(x)
    x = layers.GlobalAveragePooling2D(dtype="float32")(x)

    features = keras.Input((options.frames, x.shape[-1]), dtype="float32")
    state = layers.GRU(options.units, unroll=True, dtype="float32")(features)
    logits = layers.Dense(labels, dtype="float32")(state)
    return Parts(encoder=keras.Model(faces, x), head=keras.Model(features, logits))


@hookimpl
def streamfer_components() -> list[Component]:
    return [
        network(
            "tiny_frames",
            "A few convolutions, then a GRU over frames",
            build=":build",
            options=TinyFramesOptions,
        )
    ]
