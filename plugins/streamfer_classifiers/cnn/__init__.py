"""The `cnn` classifier: a convolutional network on one aligned gray face crop, trained on FER2013."""

from __future__ import annotations

from pydantic import Field

from streamfer.api import Component, Options, Published, network
from streamfer.hookspecs import hookimpl


class CnnOptions(Options):
    """The shape of the network."""

    widths: tuple[int, ...] = Field(
        (24, 48, 96, 256), min_length=1, description="channels of each stage of convolutions"
    )
    convolutions: int = Field(2, ge=1, le=4, description="3×3 convolutions per stage")
    dropout: float = Field(0.3, ge=0, lt=1, description="dropout before the last layer")


@hookimpl
def streamfer_components() -> list[Component]:
    """The `cnn` classifier."""
    return [
        network(
            "cnn",
            "Convolutional network on one face crop, trained on FER2013",
            build="streamfer_classifiers.cnn.model:build",
            options=CnnOptions,
            card="streamfer_classifiers.cnn:card.json",
            published=(
                Published(
                    0.6325,
                    "test",
                    "Savitri, Permana, Puspa Dewi: Comparison of CNN and CNN-LSTM Performance in Facial "
                    "Expression Classification Based on FER2013 Dataset",
                ),
                Published(
                    0.70,
                    "validation",
                    "a study whose publication was not found",
                    "FER2013 divided anew 80/10/10, with augmentation",
                ),
            ),
        )
    ]
