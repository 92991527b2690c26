"""How often two classifiers give a face the same label."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from itertools import combinations

from streamfer import metrics
from streamfer.types import Face

REMEMBERED = 64
"""Frames of a stream that wait for the other classifiers' results."""


class Agreement:
    """Compares the labels that the classifiers of one stream give to the faces of the same frames.

    Results come from one classifier after the other, and of a live stream not all of them come.
    """

    def __init__(self, stream: str, classifiers: Sequence[str]) -> None:
        self._pairs = {
            pair: (metrics.compared_faces.labels(stream, *pair), metrics.agreements.labels(stream, *pair))
            for pair in combinations(classifiers, 2)
        }
        self._frames: OrderedDict[tuple[int, int], dict[str, dict[int, str]]] = OrderedDict()

    def update(self, epoch: int, seq: int, classifier: str, faces: Sequence[Face]) -> None:
        """One classifier's result for a frame."""
        mine = {face.track: face.label for face in faces if face.label is not None}
        others = self._frames.setdefault((epoch, seq), {})
        for pair, (compared, agreed) in self._pairs.items():
            if classifier not in pair:
                continue
            theirs = others.get(pair[pair[0] == classifier], {})
            both = mine.keys() & theirs.keys()
            compared.inc(len(both))
            agreed.inc(sum(mine[track] == theirs[track] for track in both))
        others[classifier] = mine
        while len(self._frames) > REMEMBERED:
            self._frames.popitem(last=False)
