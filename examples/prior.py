"""A local plugin in one file: a classifier that ignores the face. configs/compare.yaml uses it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streamfer.api import Component, NoOptions
from streamfer.hookspecs import hookimpl
from streamfer.types import LABELS

COUNTS = (3995, 436, 4097, 7215, 4830, 3171, 4965)
"""Images of each expression among FER2013's 28,709 training images, in the order of LABELS."""


class Prior:
    """Gives every face the shares of the expressions in the training set."""

    def __init__(self, options: NoOptions) -> None:
        self._shares = np.array(COUNTS, np.float32) / sum(COUNTS)

    def predict(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        return np.tile(self._shares, (len(crops), 1))


@hookimpl
def streamfer_components() -> list[Component]:
    summary = "Ignores the face and gives the shares of FER2013's training set: what a model must beat"
    return [Component("classifier", "prior", summary, ":Prior", labels=LABELS)]
