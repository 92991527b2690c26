"""The `cnn_lstm` classifier: the rows of one face crop as a sequence for a recurrent layer."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from streamfer.api import Component, Options, Published, network
from streamfer.hookspecs import hookimpl


class CnnLstmOptions(Options):
    """The shape of the network."""

    mode: Literal["rows"] = Field("rows", description="what the sequence is: pixel rows of one image")
    rows: int = Field(8, ge=1, description="pixel rows in one step of the sequence")
    stride: int = Field(4, ge=1, description="pixel rows from one step to the next")
    widths: tuple[int, ...] = Field(
        (32, 64, 128), min_length=1, description="channels of each stage of convolutions"
    )
    convolutions: int = Field(2, ge=1, le=4, description="3×3 convolutions per stage")
    units: int = Field(192, ge=1, description="LSTM units")
    dropout: float = Field(0.3, ge=0, lt=1, description="dropout before the last layer")


@hookimpl
def streamfer_components() -> list[Component]:
    """The `cnn_lstm` classifier."""
    return [
        network(
            "cnn_lstm",
            "Pixel rows of one face crop as a sequence for a CNN and an LSTM",
            build="streamfer_classifiers.cnn_lstm.model:build",
            options=CnnLstmOptions,
            card="streamfer_classifiers.cnn_lstm:card.json",
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
