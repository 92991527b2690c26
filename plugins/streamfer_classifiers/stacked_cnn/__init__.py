"""The `stacked_cnn` classifier: five or six wide blocks of one convolution each."""

from __future__ import annotations

from pydantic import Field

from streamfer.api import Component, Options, Published, network
from streamfer.hookspecs import hookimpl


class StackedCnnOptions(Options):
    """The shape of the network."""

    filters: tuple[int, ...] = Field(
        (256, 512, 384, 192, 512), min_length=1, description="channels of each block; a sixth may have 1024"
    )
    dense: int = Field(256, ge=1, description="units of the dense layer")
    block_dropout: float = Field(0.5, ge=0, lt=1, description="dropout at the end of each block")
    dropout: float = Field(0.5, ge=0, lt=1, description="dropout before the last layer")


@hookimpl
def streamfer_components() -> list[Component]:
    """The `stacked_cnn` classifier."""
    return [
        network(
            "stacked_cnn",
            "Five wide blocks of convolution, pooling and dropout on one face crop",
            build="streamfer_classifiers.stacked_cnn.model:build",
            options=StackedCnnOptions,
            card="streamfer_classifiers.stacked_cnn:card.json",
            published=(
                Published(
                    0.723,
                    "validation",
                    "a study whose publication was not found",
                    "FER2013, four classes",
                ),
                Published(
                    0.71,
                    "test",
                    "a study whose publication was not found",
                    "FER2013, CK+ and IMED, four classes",
                ),
            ),
        )
    ]
