"""The `cnn` classifier: a convolutional network on one aligned gray face crop, trained on FER2013."""

from __future__ import annotations

from pydantic import Field

from streamfer.api import Component, Options
from streamfer.hookspecs import hookimpl
from streamfer.types import LABELS, CropSpec

CARD = "streamfer_classifiers.cnn:card.json"


class CnnOptions(Options):
    """A convolutional network on one face crop."""

    model: str = Field(
        CARD, description="model card to serve, PACKAGE:PATH or a file (default: the one shipped)"
    )


@hookimpl
def streamfer_components() -> list[Component]:
    """The `cnn` classifier."""
    return [
        Component(
            "classifier",
            "cnn",
            "Convolutional network on one face crop, trained on FER2013",
            "streamfer_classifiers.cnn.classifier:Cnn",
            CnnOptions,
            crop=CropSpec(48, 48, 1),
            labels=LABELS,
            model_files=(CARD,),
        )
    ]
