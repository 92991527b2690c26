"""The mean of several classifiers' probabilities, by their weights."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from streamfer.api import Member
from streamfer_classifiers.ensemble import EnsembleOptions


class Ensemble:
    """Answers with the weighted arithmetic mean of its members' probabilities, sharpened or softened by a
    temperature."""

    def __init__(self, options: EnsembleOptions, members: Sequence[Member]) -> None:
        assert options.temperature is not None  # the options say which is meant
        self._exponent = 1 / options.temperature
        self.labels = members[0].labels
        total = sum(one.weight for one in members)
        self._weights = [one.weight / total for one in members]
        self._columns = [[one.labels.index(label) for label in self.labels] for one in members]

    def combine(self, *answers: NDArray[np.float32]) -> NDArray[np.float32]:
        """Probabilities float32 (n, labels), in the order of the first member's labels, rows adding up to 1.

        `answers` has those of each member, (n, labels). With a temperature T the mean p becomes p^(1/T),
        normalised, as a softmax of log p / T.
        """
        mean = np.zeros((len(answers[0]), len(self.labels)))
        for rows, weight, columns in zip(answers, self._weights, self._columns, strict=True):
            mean += weight * rows[:, columns]
        if self._exponent != 1:
            mean **= self._exponent
            mean /= mean.sum(axis=1, keepdims=True)
        return mean.astype(np.float32)
