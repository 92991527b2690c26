"""The `cnn_bilstm` classifier: the rows of a CNN's feature map, or the last frames of a face, read both ways
by a recurrent layer."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from streamfer.api import Component, Options, Published, network
from streamfer.hookspecs import hookimpl


class CnnBilstmOptions(Options):
    """The shape of the network. `frames` means something in the mode `frames` only."""

    mode: Literal["image", "frames"] = Field(
        "image",
        description="what the sequence is: rows of one image's features, or the last frames of a face",
    )
    frames: int = Field(16, ge=1, le=256, description="frames in a window; a recipe's window.frames")
    widths: tuple[int, ...] = Field(
        (24, 48, 96, 256), min_length=1, description="channels of each stage of convolutions"
    )
    convolutions: int = Field(2, ge=1, le=4, description="3×3 convolutions per stage")
    units: int = Field(128, ge=1, description="LSTM units in each direction")
    dropout: float = Field(
        0.3,
        ge=0,
        lt=1,
        description="dropout before the last layer; in the mode frames of features too",
    )


@hookimpl
def streamfer_components() -> list[Component]:
    """The `cnn_bilstm` classifier."""
    return [
        network(
            "cnn_bilstm",
            "CNN features of one face crop, or of the last frames of a face, read both ways by an LSTM",
            build="streamfer_classifiers.cnn_bilstm.model:build",
            options=CnnBilstmOptions,
            modes={
                "image": "streamfer_classifiers.cnn_bilstm:card.json",
                "frames": "streamfer_classifiers.cnn_bilstm:frames/card.json",
            },
            published=(
                Published(
                    0.95,
                    "validation",
                    "a study whose publication was not found",
                    "FER2013 divided anew 80/10/10, with augmentation",
                ),
            ),
        )
    ]
