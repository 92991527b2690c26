"""Classifiers as they are asked: a frame's faces in, probabilities out, whatever stands behind.

Behind can be a classifier of single crops, a temporal one with the windows of the faces that it follows, or
one that combines several of both.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from streamfer.api import Classifier, Combiner, TemporalClassifier
from streamfer.errors import StartError
from streamfer.plugins import ComponentSpec, MemberSpec, build, distinct_crops
from streamfer.types import Window, WindowState
from streamfer.windows import Windows

Crops = NDArray[np.uint8]
Rows = NDArray[np.float32]


class Answering(Protocol):
    """A classifier that is asked about faces. `crops` are arrays uint8 (n, height, width, channels), one for
    each crop that it wants (`Described.crops`); row i of each shows face i. Answers are probabilities float32
    (n, labels), rows adding up to 1."""

    def predict(self, *crops: Crops) -> Rows:
        """The answers for single pictures, which have nothing to do with each other. A temporal classifier
        sees each as a face that holds still."""
        ...

    def follow(
        self, stream: str, seconds: float, tracks: Sequence[int], crops: Sequence[Crops]
    ) -> tuple[Rows, list[WindowState] | None]:
        """The answers for the faces of a stream's next frame, and how full their windows are; None of a
        classifier without windows. `seconds` is the frame's time, `tracks` has the identity of each face."""
        ...

    def reset(self, stream: str) -> None:
        """The stream's tracks begin anew, or it has ended."""
        ...


def answering(spec: ComponentSpec) -> Answering:
    """The classifier of a spec from `streamfer.inference.described`, built and tried once, so that no frame
    waits for its first answer. StartError if it cannot be built, or if its answers do not fit together."""
    if not spec.members:
        return _alone(spec)
    combiner = cast(Combiner, build(spec))
    return _Combined(spec.name, combiner, spec.members)


def _alone(spec: ComponentSpec) -> Answering:
    built = build(spec)
    if spec.window is None:
        return _Still(built)
    return _Temporal(built, spec.window, max(spec.reads, spec.window.frames))


class _Still:
    """A classifier of single crops."""

    def __init__(self, classifier: Classifier) -> None:
        self._classifier = classifier

    def predict(self, *crops: Crops) -> Rows:
        return self._classifier.predict(*crops)

    def follow(
        self, stream: str, seconds: float, tracks: Sequence[int], crops: Sequence[Crops]
    ) -> tuple[Rows, None]:
        return self._classifier.predict(*crops), None

    def reset(self, stream: str) -> None:
        """Nothing is remembered."""


class _Temporal:
    """A temporal classifier, and what it follows in each stream. The encoder runs once for each crop that is
    taken; between two of them a face keeps its answer."""

    def __init__(self, classifier: TemporalClassifier, window: Window, reads: int) -> None:
        self._classifier = classifier
        self._window = window
        self._reads = reads
        self._streams: dict[str, _Followed] = {}

    def predict(self, *crops: Crops) -> Rows:
        (faces,) = crops
        features = self._classifier.encode(faces)
        return self._classifier.classify(np.repeat(features[:, None], self._reads, axis=1))

    def follow(
        self, stream: str, seconds: float, tracks: Sequence[int], crops: Sequence[Crops]
    ) -> tuple[Rows, list[WindowState]]:
        (faces,) = crops
        followed = self._streams.get(stream)
        if followed is None:
            followed = self._streams[stream] = _Followed(Windows(self._window), {})
        windows, answers = followed
        taken, seen, states = windows.update(
            seconds, tracks, lambda places: self._classifier.encode(faces[places])
        )
        if taken:
            if self._reads > self._window.frames:
                before = np.repeat(seen[:, :1], self._reads - self._window.frames, axis=1)
                seen = np.concatenate([before, seen], axis=1)
            for place, row, state in zip(taken, self._classifier.classify(seen), states, strict=True):
                answers[tracks[place]] = row, state
        for gone in [track for track in answers if track not in windows]:
            del answers[gone]
        known = [answers[track] for track in tracks]
        return np.array([row for row, _ in known], np.float32), [state for _, state in known]

    def reset(self, stream: str) -> None:
        self._streams.pop(stream, None)


class _Followed(NamedTuple):
    """The windows of a stream's faces, and the last answer for each."""

    windows: Windows
    answers: dict[int, tuple[NDArray[np.float32], WindowState]]


class _Combined:
    """Several classifiers, each with its own crop and its own windows, and what combines their answers."""

    def __init__(self, name: str, combiner: Combiner, members: Sequence[MemberSpec]) -> None:
        self._name = name
        self._combiner = combiner
        self._members = [(one, _alone(one.component)) for one in members]
        crops = distinct_crops(members)
        self._places = [crops.index(one.crop) for one in members]
        self.predict(*(np.full((1, *crop), 128, np.uint8) for crop in crops))

    def predict(self, *crops: Crops) -> Rows:
        return self._combine(
            [one.predict(crops[place]) for (_, one), place in zip(self._members, self._places, strict=True)],
            len(crops[0]),
        )

    def follow(
        self, stream: str, seconds: float, tracks: Sequence[int], crops: Sequence[Crops]
    ) -> tuple[Rows, list[WindowState] | None]:
        answers, windows = [], []
        for (_, one), place in zip(self._members, self._places, strict=True):
            rows, states = one.follow(stream, seconds, tracks, [crops[place]])
            answers.append(rows)
            if states is not None:
                windows.append(states)
        states_told = [min(states, key=_lack) for states in zip(*windows, strict=True)] if windows else None
        return self._combine(answers, len(tracks)), states_told

    def reset(self, stream: str) -> None:
        for _, one in self._members:
            one.reset(stream)

    def _combine(self, answers: Sequence[Rows], faces: int) -> Rows:
        for (spec, _), rows in zip(self._members, answers, strict=True):
            expected = (faces, len(spec.labels))
            if rows.shape != expected:
                # A column too many would not be noticed: combiners take those with a label.
                raise StartError(
                    f"the member '{spec.component.name}' of '{self._name}' gave the shape {rows.shape}, "
                    f"expected {expected}: a probability for each of its labels; repair its plugin"
                )
        return self._combiner.combine(*answers)


def _lack(state: WindowState) -> float:
    """The least full window of a face's several comes first; of those equally full the longest."""
    return state.filled / state.frames - state.span_ms * 1e-9
