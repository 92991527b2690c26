"""A temporal classifier: whether a face's brightness rose or fell over the last second."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streamfer.api import Component, NoOptions
from streamfer.hookspecs import hookimpl
from streamfer.types import Window

WINDOW = Window(frames=8, stride=2, fps=15, max_gap=0.5)


class Changing:
    """`brighter` or `darker`, by the slope of a line through the window."""

    def __init__(self, options: NoOptions) -> None:
        time = np.arange(WINDOW.frames) - (WINDOW.frames - 1) / 2
        self._slope = (time / (time**2).sum())[:, None]

    def encode(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The mean brightness of each crop, 0..1: float32 (n, 1)."""
        return (crops.mean(axis=(1, 2, 3), dtype=float) / 255).astype(np.float32)[:, None]

    def classify(self, windows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Probabilities float32 (n, 2) for windows (n, 8, 1)."""
        rise = (windows * self._slope).sum(axis=(1, 2)) / WINDOW.period
        brighter = 1 / (1 + np.exp(-20 * rise))
        return np.stack([brighter, 1 - brighter], axis=1).astype(np.float32)


@hookimpl
def streamfer_components() -> list[Component]:
    """The classifier `changing`."""
    return [
        Component(
            "classifier",
            "changing",
            "Whether a face becomes brighter or darker",
            ":Changing",
            labels=("brighter", "darker"),
            window=WINDOW,
        )
    ]
