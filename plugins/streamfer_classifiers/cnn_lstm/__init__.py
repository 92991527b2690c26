"""The `cnn_lstm` classifier: the rows of one face crop, or the last frames of a face, as a sequence for a
recurrent layer."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from streamfer.api import Component, Options, Published, network
from streamfer.hookspecs import hookimpl


class CnnLstmOptions(Options):
    """The shape of the network. `rows` and `stride` mean something in the mode `rows` only, `frames` in the
    mode `frames`."""

    mode: Literal["rows", "frames"] = Field(
        "rows", description="what the sequence is: pixel rows of one image, or the last frames of a face"
    )
    rows: int = Field(8, ge=1, description="pixel rows in one step of the sequence")
    stride: int = Field(4, ge=1, description="pixel rows from one step to the next")
    frames: int = Field(16, ge=1, le=256, description="frames in a window; a recipe's window.frames")
    widths: tuple[int, ...] = Field(
        (32, 64, 128), min_length=1, description="channels of each stage of convolutions"
    )
    convolutions: int = Field(2, ge=1, le=4, description="3×3 convolutions per stage")
    units: int = Field(192, ge=1, description="LSTM units")
    dropout: float = Field(
        0.3,
        ge=0,
        lt=1,
        description="dropout before the last layer; in the mode frames of features too",
    )


@hookimpl
def streamfer_components() -> list[Component]:
    """The `cnn_lstm` classifier."""
    return [
        network(
            "cnn_lstm",
            "Pixel rows of one face crop, or the last frames of a face, as a sequence for a CNN and an LSTM",
            build="streamfer_classifiers.cnn_lstm.model:build",
            options=CnnLstmOptions,
            modes={
                "rows": "streamfer_classifiers.cnn_lstm:card.json",
                "frames": "streamfer_classifiers.cnn_lstm:frames/card.json",
            },
            published=(
                Published(
                    0.4682,
                    "test",
                    "Savitri, Permana, Puspa Dewi: Comparison of CNN and CNN-LSTM Performance in Facial "
                    "Expression Classification Based on FER2013 Dataset",
                ),
            ),
        )
    ]
