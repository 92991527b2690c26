"""The `mobilenet_v2` classifier: MobileNetV2 on a face enlarged to 96×96."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from streamfer.api import Component, Options, Published, network
from streamfer.hookspecs import hookimpl


class MobileNetV2Options(Options):
    """The shape of the network, and where it starts from."""

    side: int = Field(96, ge=32, le=224, description="side to which the face is enlarged, in pixels")
    alpha: float = Field(1.0, gt=0, le=2, description="width multiplier")
    dropout: float = Field(0.3, ge=0, lt=1, description="dropout before the last layer")
    momentum: float = Field(0.9, ge=0, lt=1, description="of the running means of batch normalisation")
    imagenet: Path | None = Field(
        None,
        description="file with Keras's ImageNet weights of MobileNetV2 without top, for the same alpha; "
        "without it the network starts from scratch",
    )


@hookimpl
def streamfer_components() -> list[Component]:
    """The `mobilenet_v2` classifier."""
    return [
        network(
            "mobilenet_v2",
            "MobileNetV2 on one face crop enlarged to 96×96",
            build="streamfer_classifiers.mobilenet_v2.model:build",
            options=MobileNetV2Options,
            card="streamfer_classifiers.mobilenet_v2:card.json",
            published=(
                Published(
                    0.427,
                    "validation",
                    "a study whose publication was not found",
                    "FER2013, 500 training and 100 validation images a class",
                ),
            ),
        )
    ]
