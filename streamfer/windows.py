"""The windows of temporal classifiers: of each tracked face its last frames, picked by time, not by count."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from streamfer.types import Window, WindowState

_EARLY = 0.25
"""Share of a period by which a frame may come too early to be taken, or to fill its place."""
_APART = 0.75
"""Share of a period after which the next frame is due at the earliest, where frames come late."""
_ROUNDING = 1e-3
"""Seconds by which times may be off: PTS are rounded."""
_SUMS = 1e-6
"""Seconds by which sums of times may be off."""

Features = NDArray[np.float32]


class _Track:
    """The frames of one face that were taken: their times, rising, and what the encoder said of each."""

    def __init__(self, seconds: float) -> None:
        self.began = self.seen = self.due = seconds
        self.times: list[float] = []
        self.vectors: list[Features] = []

    def take(self, vector: Features, window: Window) -> None:
        """The frame that the face was seen in last. What is older than the window goes, but for the newest of
        it."""
        self.times.append(self.seen)
        self.vectors.append(vector)
        while len(self.times) > 1 and self.times[1] <= self.seen - window.span:
            del self.times[0], self.vectors[0]
        self.due = max(self.due + window.period, self.seen + _APART * window.period)


class Windows:
    """The windows of one stream's faces for one classifier.

    Of each face a frame is taken every `window.period`: of a faster stream the nearest to that, of a slower
    one every frame. A window is the newest of them, and going back from it by `window.period` as often as it
    has frames, the one that is nearest in time. So streams of any rate give it the same span of time. Of a
    track at most twice `window.frames` frames are kept, and none if it was not seen for `window.max_gap`.
    """

    def __init__(self, window: Window) -> None:
        self._window = window
        self._seconds = -math.inf
        self._tracks: OrderedDict[int, _Track] = OrderedDict()

    def __len__(self) -> int:
        """How many tracks have a window."""
        return len(self._tracks)

    def __contains__(self, track: int) -> bool:
        return track in self._tracks

    def reset(self) -> None:
        """Tracks begin anew: another connection, another attempt, a jump of the clock."""
        self._seconds = -math.inf
        self._tracks.clear()

    def update(
        self, seconds: float, tracks: Sequence[int], encode: Callable[[list[int]], Features]
    ) -> tuple[list[int], Features, list[WindowState]]:
        """The next frame, which is `seconds` into the stream and shows these faces.

        Returns the places in `tracks` of the faces of which it is taken, their windows float32
        (n, frames, d), oldest first, and how full each is: the places before a track's first frame hold that
        frame. `encode` is asked once for what the encoder says of the faces at such places, float32 (n, d),
        unless there are none. A face that is new is always among them. Time that runs backwards begins
        everything anew.
        """
        if seconds < self._seconds:
            self.reset()
        self._seconds = seconds
        self._forget(seconds)
        taken = [place for place, number in enumerate(tracks) if self._is_due(number, seconds)]
        if not taken:
            return [], np.empty((0, self._window.frames, 0), np.float32), []
        features = encode(taken)
        built = np.empty((len(taken), self._window.frames, features.shape[1]), np.float32)
        states = []
        for place, vector, row in zip(taken, features, built, strict=True):
            track = self._tracks[tracks[place]]
            track.take(vector, self._window)
            states.append(self._fill(track, row))
        return taken, built, states

    def _is_due(self, number: int, seconds: float) -> bool:
        track = self._tracks.setdefault(number, _Track(seconds))
        track.seen = seconds
        self._tracks.move_to_end(number)
        return seconds >= track.due - _EARLY * self._window.period - _SUMS

    def _forget(self, seconds: float) -> None:
        oldest = seconds - self._window.max_gap - _ROUNDING
        while self._tracks and next(iter(self._tracks.values())).seen < oldest:
            self._tracks.popitem(last=False)

    def _fill(self, track: _Track, row: Features) -> WindowState:
        """Write the window that ends with the track's newest frame to `row`, float32 (frames, d)."""
        times, newest = track.times, track.times[-1]
        here = len(times) - 1
        frames, period = self._window.frames, self._window.period
        for place in range(frames):
            due = newest - place * period
            while here and abs(times[here - 1] - due) <= abs(times[here] - due):
                here -= 1
            row[frames - 1 - place] = track.vectors[here]
        filled = min(frames, math.floor((newest - track.began) / period + _EARLY) + 1)
        return WindowState(frames, filled, round(1000 * (newest - times[here]), 3))
