"""SORT with a memory for looks: Kalman prediction, optimal assignment, and a look before a face comes back.

Bewley et al., "Simple online and realtime tracking", ICIP 2016. Plain floats: for the handful of
faces in a stream NumPy's calls would cost more than the sums.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import lap
import numpy as np
from numpy.typing import NDArray

from streamfer.trackers import SortOptions
from streamfer.types import Box, Detection

# All lengths in face sides (√area), so that near and far faces move alike; seconds.
_MEASURED = 0.05
"""Standard deviation of a found position or side."""
_ACCELERATION = 6.0
"""Spectral density (root) of the white acceleration that moves a face."""
_RESIZING = 0.5
"""Standard deviation that a side gains in a second."""
_MEMORY = 0.4
"""Time constant with which a velocity that is no longer seen fades: who goes behind a pillar may stop."""
_FIRST_VELOCITY = 2.0
"""Standard deviation of the velocity of a face just found."""
_REACH = 1.0
"""How much a box grows, a side and second since it was last seen, before overlaps are taken: the buffered IoU
of Yang et al., "Hard to track objects with irregular motions and similar appearances?", WACV 2023."""
_REACH_LIMIT = 0.5
_LOOKS_SHARE = 0.5
"""Weight of unlikeness beside the missing overlap in the cost of a match."""
_LOOKS_MEMORY = 0.35
"""Time constant with which the memory of a face's looks follows what is seen."""
_CLEAR = 0.85
"""Score of a find from which on it is a clear look at a face. Below, something may cover it."""
_COVERED = 0.2
"""Likeness asked of a face that is covered where one that was seen clearly should be: next to none. Whether
it is still the same one shows when it is clear again."""
_RECENT, _STRANGER = 0.2, 0.5
"""Likeness asked of a face whose last look is not older than so many seconds: hardly anybody changes more."""
_FORBIDDEN = 1e3


class _Track:
    """One face: a constant-velocity filter for its centre, a random walk for its sides."""

    __slots__ = (
        "_clear",
        "_h",
        "_latest",
        "_looked",
        "_looks",
        "_pp",
        "_pv",
        "_sides",
        "_vv",
        "_vx",
        "_vy",
        "_w",
        "_x",
        "_y",
        "seen",
        "track",
    )

    def __init__(
        self, track: int, found: Detection, seconds: float, looks: NDArray[np.float32] | None
    ) -> None:
        box = found.box
        self.track = track
        self.seen = seconds
        self._x, self._y, self._w, self._h = box.x + box.w / 2, box.y + box.h / 2, box.w, box.h
        self._vx = self._vy = 0.0
        # Covariance of position and velocity (alike for x and y), variance of the sides.
        self._pp, self._pv, self._vv, self._sides = _MEASURED**2, 0.0, _FIRST_VELOCITY**2, _MEASURED**2
        self._looks = self._latest = looks
        self._looked = seconds
        self._clear = found.score >= _CLEAR

    def expected(self, seconds: float) -> Box:
        """Where the face should be at this time."""
        lead = _MEMORY * (1 - math.exp(-max(seconds - self.seen, 0.0) / _MEMORY))
        x, y = self._x + lead * self._vx, self._y + lead * self._vy
        return Box(x - self._w / 2, y - self._h / 2, self._w, self._h)

    def correct(self, found: Detection, seconds: float, looks: NDArray[np.float32] | None) -> None:
        """Take in that the face is here now, and how it looks unless that is a cover's look."""
        box = found.box
        elapsed = max(seconds - self.seen, 0.0)
        fading = math.exp(-elapsed / _MEMORY)
        lead = _MEMORY * (1 - fading)
        self._x += lead * self._vx
        self._y += lead * self._vy
        self._vx *= fading
        self._vy *= fading
        noise = _ACCELERATION**2
        pp = self._pp + lead * (2 * self._pv + lead * self._vv) + noise * elapsed**3 / 3
        pv = fading * (self._pv + lead * self._vv) + noise * elapsed**2 / 2
        vv = fading**2 * self._vv + noise * elapsed
        gain, velocity_gain = pp / (pp + _MEASURED**2), pv / (pp + _MEASURED**2)
        dx, dy = box.x + box.w / 2 - self._x, box.y + box.h / 2 - self._y
        self._x += gain * dx
        self._y += gain * dy
        self._vx += velocity_gain * dx
        self._vy += velocity_gain * dy
        self._pp, self._pv, self._vv = (1 - gain) * pp, (1 - gain) * pv, vv - velocity_gain * pv
        sides = self._sides + _RESIZING**2 * elapsed
        gain = sides / (sides + _MEASURED**2)
        self._w += gain * (box.w - self._w)
        self._h += gain * (box.h - self._h)
        self._sides = (1 - gain) * sides
        self.seen = max(seconds, self.seen)
        clear = found.score >= _CLEAR
        if looks is not None and (clear or not self._clear):
            if self._looks is None or clear > self._clear:
                self._looks = looks
            else:
                memory = math.exp(-max(seconds - self._looked, 0.0) / _LOOKS_MEMORY)
                self._looks = _blend(self._looks, looks, memory)
            self._latest, self._looked, self._clear = looks, seconds, clear

    def likeness(self, looks: NDArray[np.float32] | None) -> float:
        """How much a find looks like this face, -1..1; 1 where nobody looked."""
        if looks is None or self._looks is None or self._latest is None:
            return 1.0
        return max(float(self._looks @ looks), float(self._latest @ looks))

    def asked(self, score: float, seconds: float, after_gap: float) -> float:
        """The likeness that a find has to have to be this face."""
        if self._clear and score < _CLEAR:
            return _COVERED
        return _STRANGER if seconds - self._looked <= _RECENT else max(after_gap, _STRANGER)


def _blend(old: NDArray[np.float32], new: NDArray[np.float32], memory: float) -> NDArray[np.float32]:
    mixed = memory * old + (1 - memory) * new
    norm = math.sqrt(float(mixed @ mixed))
    return new if norm < 1e-6 else np.asarray(mixed / norm, np.float32)


class Sort:
    """Gives the faces of one stream ids that last through short occlusions and are never used again."""

    def __init__(self, options: SortOptions) -> None:
        self._options = options
        self._tracks: list[_Track] = []
        self._next = 1
        self._updated = -math.inf

    def reset(self, first_track: int | None = None) -> None:
        """Forget all faces (a cut, a restart). Ids go on from `first_track` if it is given and higher."""
        self._tracks.clear()
        self._next = max(self._next, first_track or 1)

    def predict(self, seconds: float) -> list[Box]:
        """Where the known faces are expected at this time, those out of sight for a moment included."""
        return [t.expected(seconds) for t in self._tracks if seconds - t.seen <= self._options.patience]

    def update(
        self, detections: Sequence[Detection], seconds: float, appearances: NDArray[np.float32] | None = None
    ) -> list[int]:
        """The track id of each detection, in order."""
        self._tracks = [t for t in self._tracks if seconds - t.seen <= self._options.patience]
        ids = [0] * len(detections)
        looks = [None] * len(detections) if appearances is None else list(appearances)
        # Faces in sight choose first: one that comes back must not take the place of one that stayed.
        stayed = [t for t in self._tracks if t.seen >= self._updated]
        gone = [t for t in self._tracks if t.seen < self._updated]
        left = list(range(len(detections)))
        for tracks in (stayed, gone):
            for track, index in self._match(tracks, left, detections, looks, seconds):
                track.correct(detections[index], seconds, looks[index])
                ids[index] = track.track
            left = [index for index in left if not ids[index]]
        for index in left:
            ids[index] = self._next
            self._tracks.append(_Track(self._next, detections[index], seconds, looks[index]))
            self._next += 1
        self._updated = max(seconds, self._updated)
        return ids

    def _match(
        self,
        tracks: Sequence[_Track],
        left: Sequence[int],
        detections: Sequence[Detection],
        looks: Sequence[NDArray[np.float32] | None],
        seconds: float,
    ) -> list[tuple[_Track, int]]:
        """The cheapest one-to-one assignment of tracks and the detections `left`; both may stay alone."""
        if not tracks or not left:
            return []
        costs = np.full((len(tracks), len(left)), _FORBIDDEN)
        for row, track in enumerate(tracks):
            expected = track.expected(seconds)
            reach = min(_REACH * max(seconds - track.seen, 0.0), _REACH_LIMIT)
            for column, index in enumerate(left):
                found = detections[index]
                overlap = buffered_iou(expected, found.box, reach)
                if overlap < self._options.overlap:
                    continue
                alike = track.likeness(looks[index])
                if alike >= track.asked(found.score, seconds, self._options.likeness):
                    costs[row, column] = 1 - overlap + _LOOKS_SHARE * (1 - alike)
        if costs.shape == (1, 1):
            return [(tracks[0], left[0])] if costs[0, 0] < _FORBIDDEN else []
        _, columns, _ = lap.lapjv(costs, extend_cost=True, cost_limit=_FORBIDDEN / 2)
        return [
            (track, left[column])
            for track, column in zip(tracks, columns.tolist(), strict=True)
            if column >= 0
        ]


def buffered_iou(one: Box, other: Box, reach: float) -> float:
    """Intersection over union of two boxes that have grown by `reach` of their sides on every side."""
    ax, ay = one.x - reach * one.w, one.y - reach * one.h
    aw, ah = one.w * (1 + 2 * reach), one.h * (1 + 2 * reach)
    bx, by = other.x - reach * other.w, other.y - reach * other.h
    bw, bh = other.w * (1 + 2 * reach), other.h * (1 + 2 * reach)
    width = min(ax + aw, bx + bw) - max(ax, bx)
    height = min(ay + ah, by + bh) - max(ay, by)
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    return shared / (aw * ah + bw * bh - shared)
