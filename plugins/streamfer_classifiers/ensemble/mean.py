"""The mean of several classifiers' probabilities, by their weights."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from streamfer.api import Member
from streamfer.errors import StartError
from streamfer_classifiers.ensemble import EnsembleOptions


class Ensemble:
    """Answers with the weighted arithmetic mean of its members' probabilities, sharpened or softened by a
    temperature. Each member gets exactly the crops that it would get alone."""

    def __init__(self, options: EnsembleOptions, members: Sequence[Member]) -> None:
        """StartError for a member whose answer does not fit its labels."""
        self._exponent = 1 / options.softmax_temperature
        self._members = members
        self.labels = members[0].labels
        total = sum(one.weight for one in members)
        self._weights = [one.weight / total for one in members]
        self._columns = [[one.labels.index(label) for label in self.labels] for one in members]
        # Before the first frame, so that it waits for nobody's first answer, and for nobody's wrong one.
        for one in members:
            _answer(one, np.full((1, *one.crop), 128, np.uint8))

    def predict(self, *crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Probabilities float32 (n, labels), in the order of the first member's labels, rows adding up to 1.

        `crops` has an array uint8 (n, height, width, channels) for each distinct crop of the members. With a
        temperature T the mean p becomes p^(1/T), normalised, as a softmax of log p / T.
        StartError for a member whose answer does not fit its labels.
        """
        mean = np.zeros((len(crops[0]), len(self.labels)))
        for one, weight, columns in zip(self._members, self._weights, self._columns, strict=True):
            mean += weight * _answer(one, crops[one.place])[:, columns]
        if self._exponent != 1:
            mean **= self._exponent
            mean /= mean.sum(axis=1, keepdims=True)
        return mean.astype(np.float32)


def _answer(member: Member, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
    found = member.classifier.predict(crops)
    expected = (len(crops), len(member.labels))
    if found.shape != expected:
        # A column too many would not be noticed: only those with a label are taken.
        raise StartError(
            f"the member '{member.name}' of the ensemble gave the shape {found.shape}, expected {expected}: "
            "a probability for each of its labels; repair its plugin"
        )
    return found
