"""Finds faces that look alike and show something else, between which a fade is a change of expression."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from streamfer.types import LABELS

_SIDE = 12
"""Side of the thumbnails that are compared: pose, light and the outline of the head, hardly the
expression."""
_NEAREST = 8
"""One of so many nearest faces is taken, at random."""
_TO_NEUTRAL = 0.5
"""How often a face that is not neutral changes from or to a neutral one, where the data has those."""


class LookAlikes:
    """Faces uint8 (n, height, width, channels) with labels (n,), indices into `names`."""

    def __init__(
        self, images: NDArray[np.uint8], labels: NDArray[np.uint8], names: tuple[str, ...] = LABELS
    ) -> None:
        small = [
            cv2.resize(image.mean(axis=2), (_SIDE, _SIDE), interpolation=cv2.INTER_AREA) for image in images
        ]
        flat = np.array(small, np.float32).reshape(len(images), -1)
        flat -= flat.mean(axis=1, keepdims=True)
        self._thumbnails = flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-6)
        self._labels = labels
        self._rows = [np.flatnonzero(labels == label) for label in range(len(names))]
        self._neutral = names.index("neutral") if "neutral" in names else None

    def partner(self, row: int, random: np.random.Generator) -> int:
        """A face of another class that looks like that in `row`, neutral faces preferred; `row` itself where
        there is no other class."""
        label = self._other(int(self._labels[row]), random)
        if label is None:
            return row
        rows = self._rows[label]
        likeness = self._thumbnails[rows] @ self._thumbnails[row]
        nearest = np.argsort(-likeness, kind="stable")[:_NEAREST]
        return int(rows[random.choice(nearest)])

    def _other(self, label: int, random: np.random.Generator) -> int | None:
        counts = np.array([len(rows) for rows in self._rows], float)
        counts[label] = 0
        if not counts.any():
            return None
        neutral = self._neutral
        if neutral is not None and counts[neutral] and random.uniform() < _TO_NEUTRAL:
            return neutral
        return int(random.choice(len(counts), p=counts / counts.sum()))
