"""The faces of one stream: found in the whole frame now and then, followed in between, cut out aligned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from streamfer.api import Detector, Tracker
from streamfer.detectors import FaceOptions
from streamfer.picture import Picture
from streamfer.preprocess import align, appearance, reduced_i420, sharpness
from streamfer.regions import Regions
from streamfer.types import Box, CropSpec, Detection, FoundStatus, Point

GRAY_CROP = CropSpec(48, 48, 1)
"""The crop that sharpness and looks are judged by, whatever the classifiers ask for."""

# All measured by benchmarks/detection.py, see docs/detection.md.
_STEP = 16
"""Windows start on multiples of so many pixels of the detector's image: the cells of the network's two finer
levels then fall as in the whole frame, and so do the boxes."""
_STRIDE = 32
"""Windows are multiples of it long, as the network would pad them to that anyway."""
_MARGIN, _LEAST_MARGIN = 0.25, 8
"""What a window shows around a face on each side: a share of the face, but at least so many pixels."""
_WELL_SEEN = 80
"""A face longer than this in the detector's image is searched in a window reduced to it."""
_CALL_COST = 2000
"""What one more detection costs beside its pixels, in pixels."""
_SAME = 0.3
"""Two finds of neighbouring windows that overlap (IoU) more than this are one face; a face that no find
overlaps that much is lost."""
_BEYOND = 0.1
"""A find that leaves its window by more than this share of its side is half a face of a neighbour."""
_SURE = 0.7
"""A face with a lower score may be found in the whole frame and missed in a window, or the reverse: with such
faces about, the whole frame is searched."""
_THUMBNAIL = 16
"""Cells of the thumbnail a side, about."""
_CHANGED = 10
"""A cell of the thumbnail has changed from one frame to the next if its luma differs by more than this. If
more than half of them have, it is a hard cut; an occluder or a gesture changes fewer."""


class TrackedFace(NamedTuple):
    """One face of a frame. `box`, inside the frame, and `landmarks` are in pixels of the upright frame."""

    track: int
    box: Box
    score: float
    status: FoundStatus
    landmarks: tuple[Point, Point, Point, Point, Point] | None


@dataclass(frozen=True, slots=True)
class Analysis:
    """What one frame shows: the faces by rising track id; and per crop spec, uint8 (k, height, width,
    channels), the crops of the k faces whose status is "ok", in the same order. `cut`: a new scene begins.
    `full`: the whole frame was searched."""

    faces: list[TrackedFace]
    crops: dict[CropSpec, NDArray[np.uint8]]
    cut: bool
    full: bool


class Window(NamedTuple):
    """A part of the detector's image: left, top, right, bottom in its pixels, after a further reduction."""

    left: int
    top: int
    right: int
    bottom: int
    reduction: float

    @property
    def cost(self) -> int:
        wide, high = self.right - self.left, self.bottom - self.top
        return -(-wide // _STRIDE) * -(-high // _STRIDE) * _STRIDE**2 + _CALL_COST


class FaceAnalyser:
    """Finds, follows and cuts out the faces of one stream.

    The detector may be shared by several analysers of a process; the tracker may not. Without a tracker every
    frame stands for itself and its faces are numbered from 1, best first. `width` is that of the image which
    the detector sees of a whole frame; a narrower frame is not enlarged. Faces outside `regions` are treated
    as if they were not there.
    """

    def __init__(
        self,
        detector: Detector,
        tracker: Tracker | None,
        crops: Sequence[CropSpec],
        options: FaceOptions,
        width: int = 320,
        regions: Regions | None = None,
    ) -> None:
        self._detector = detector
        self._tracker = tracker
        self._specs = tuple(dict.fromkeys(crops))
        self._options = options
        self._width = width
        self._regions = regions or Regions()
        self._thumbnail: NDArray[np.int16] | None = None
        self._last: list[Box] | None = None  # faces of the frame before; None: not known, search everywhere
        self._whole_until = 0  # ordinal of the frame up to which the whole frame is searched

    def reset(self, first_track: int | None = None) -> None:
        """Forget the stream so far (a restart, a gap). Track ids go on, or from `first_track` if higher."""
        self._thumbnail = None
        self._last = None
        self._whole_until = 0
        if self._tracker is not None:
            self._tracker.reset(first_track)

    def analyse(self, picture: Picture, *, seq: int, seconds: float) -> Analysis:
        """The faces of the frame with ordinal `seq` at `seconds`. In order; some may be missing."""
        cut = self._tracker is not None and self._is_cut(picture)
        if cut and self._tracker is not None:
            self._tracker.reset()
            self._last = None
        found, full = self._find(picture, seq, seconds)
        self._last = [face.box for face in found]
        if any(face.score < _SURE for face in found):
            self._whole_until = seq + self._options.full_every

        gray = [align(picture, face, GRAY_CROP) for face in found]
        if self._tracker is None:
            tracks = list(range(1, len(found) + 1))
        else:
            looks = np.stack([appearance(crop) for crop in gray]) if gray else None
            tracks = self._tracker.update(found, seconds, looks)
        order = sorted(range(len(found)), key=tracks.__getitem__)
        faces = [self._judged(found[i], tracks[i], gray[i], picture) for i in order]
        good = [i for i, face in zip(order, faces, strict=True) if face.status == "ok"]
        crops = {
            spec: _stacked(
                [gray[i] if spec == GRAY_CROP else align(picture, found[i], spec) for i in good], spec
            )
            for spec in self._specs
        }
        return Analysis(faces, crops, cut, full)

    def _find(self, picture: Picture, seq: int, seconds: float) -> tuple[list[Detection], bool]:
        """The faces, best first, in frame pixels; and whether the whole frame was searched."""
        columns = min(self._width, picture.width)
        scale = picture.width / columns
        whole = Window(0, 0, columns, max(round(picture.height / scale), 1), 1.0)
        every = self._options.full_every
        if self._tracker and self._last is not None and seq % every and seq >= self._whole_until:
            expected = self._tracker.predict(seconds)
            windows = merged([around(box, scale, picture.width, picture.height) for box in expected])
            if sum(window.cost for window in windows) < whole.cost:
                found = distinct(
                    [face for window in windows for face in self._search(picture, window, scale)]
                )
                if _all_there(self._last, found):
                    return found, False
        return self._search(picture, whole, scale), True

    def _search(self, picture: Picture, window: Window, scale: float) -> list[Detection]:
        """The faces in one window, in frame pixels."""
        left, right = _even_span(window.left, window.right, scale * window.reduction, picture.width)
        top, bottom = _even_span(window.top, window.bottom, scale * window.reduction, picture.height)
        size = _even(window.right - window.left), _even(window.bottom - window.top)
        i420 = reduced_i420(picture, (left, top, right, bottom), size, cv2.INTER_LINEAR)
        image = np.asarray(cv2.cvtColor(i420, cv2.COLOR_YUV2BGR_I420), np.uint8)
        fx, fy = (right - left) / size[0], (bottom - top) / size[1]
        found = []
        for face in self._detector.detect(image):
            x, y, w, h = face.box
            box = Box(left + fx * x, top + fy * y, fx * w, fy * h)
            # Half a face at a border inside the frame is a neighbour's, whose own window shows it whole.
            if (
                (left > 0 and box.x < left - _BEYOND * box.w)
                or (top > 0 and box.y < top - _BEYOND * box.h)
                or (right < picture.width and box.x + box.w > right + _BEYOND * box.w)
                or (bottom < picture.height and box.y + box.h > bottom + _BEYOND * box.h)
            ):
                continue
            marks = face.landmarks
            if marks is not None:
                a, b, c, d, e = (Point(left + fx * x, top + fy * y) for x, y in marks)
                marks = a, b, c, d, e
            # What does not count ends here, so that nothing follows it, waits for it or searches it again.
            if self._counts(box, picture):
                found.append(Detection(box, face.score, marks))
        return found

    def _counts(self, box: Box, picture: Picture) -> bool:
        """Whether a face has an extent inside the frame whose centre lies where faces count."""
        x, y, w, h = _clipped(box, picture.width, picture.height)
        return min(w, h) >= 1 and self._regions.contains(
            (x + w / 2) / picture.width, (y + h / 2) / picture.height
        )

    def _judged(self, found: Detection, track: int, gray: NDArray[np.uint8], picture: Picture) -> TrackedFace:
        box = _clipped(found.box, picture.width, picture.height)
        status: FoundStatus = "ok"
        if min(box.w, box.h) < self._options.min_face:
            status = "small"
        elif self._options.blur and sharpness(gray) < self._options.blur:
            status = "blurred"
        box = Box(*(round(value, 1) for value in box))
        return TrackedFace(track, box, round(found.score, 4), status, found.landmarks)

    def _is_cut(self, picture: Picture) -> bool:
        """Whether this frame begins a new scene: hardly a thing of the one before is where it was."""
        before, now = self._thumbnail, thumbnail(picture)
        self._thumbnail = now
        if before is None:
            return False
        return before.shape != now.shape or changed(before, now) > 0.5


# ---- windows -----------------------------------------------------------------------------------------------


def around(box: Box, scale: float, width: int, height: int) -> Window:
    """The window for a face expected at `box` in a frame of `width` × `height` pixels, `scale` of which make
    one pixel of the detector's image."""
    reduction = max(max(box.w, box.h) / scale / _WELL_SEEN, 1.0)
    scale *= reduction
    left, right = _snapped(box.x / scale, box.w / scale, round(width / scale))
    top, bottom = _snapped(box.y / scale, box.h / scale, round(height / scale))
    return Window(left, top, right, bottom, reduction)


def _snapped(start: float, length: float, limit: int) -> tuple[int, int]:
    """The window along one axis: the face and a margin, snapped to the network's cells, inside 0..limit."""
    margin = max(_MARGIN * length, _LEAST_MARGIN)
    low, high = max(start - margin, 0.0), min(start + length + margin, float(limit))
    size = max(-(-int(np.ceil(high - low)) // _STRIDE), 1) * _STRIDE
    last = -(-max(limit - size, 0) // _STEP) * _STEP
    first = min(max(round((low + high - size) / 2 / _STEP), 0) * _STEP, last)
    if first + size < min(start + length, limit):  # at the frame's end there was no margin to lose
        size += _STRIDE
    return first, min(first + size, limit)


def merged(windows: Sequence[Window]) -> list[Window]:
    """Fewer windows where one around two faces costs less than two. Those of large faces stay alone."""
    left = list(windows)
    done: list[Window] = []
    while left:
        one = left.pop()
        for other in left:
            if one.reduction == other.reduction == 1.0:
                both = Window(
                    min(one.left, other.left),
                    min(one.top, other.top),
                    max(one.right, other.right),
                    max(one.bottom, other.bottom),
                    1.0,
                )
                if both.cost <= one.cost + other.cost:
                    left.remove(other)
                    left.append(both)
                    break
        else:
            done.append(one)
    return done


def distinct(found: Sequence[Detection]) -> list[Detection]:
    """Each face once, best first, where overlapping windows have found it twice."""
    kept: list[Detection] = []
    for face in sorted(found, key=lambda face: (-face.score, face.box)):
        if all(iou(face.box, other.box) <= _SAME for other in kept):
            kept.append(face)
    return kept


def iou(one: Box, other: Box) -> float:
    """Intersection over union of two boxes, 0..1."""
    width = min(one.x + one.w, other.x + other.w) - max(one.x, other.x)
    height = min(one.y + one.h, other.y + other.h) - max(one.y, other.y)
    if width <= 0 or height <= 0:
        return 0.0
    return width * height / (one.w * one.h + other.w * other.h - width * height)


def _all_there(before: Sequence[Box], found: Sequence[Detection]) -> bool:
    return len(found) >= len(before) and all(
        any(iou(face.box, box) >= _SAME for face in found) for box in before
    )


def _even(value: int) -> int:
    return max(value // 2 * 2, 2)


def _even_span(start: int, stop: int, scale: float, limit: int) -> tuple[int, int]:
    """A range of the detector's pixels in frame pixels: from an even one, as chroma asks; never empty."""
    low = min(round(start * scale / 2) * 2, (limit - 1) // 2 * 2)
    return low, limit if stop * scale > limit - 2 else max(round(stop * scale / 2) * 2, low + 1)


def changed(before: NDArray[np.int16], now: NDArray[np.int16]) -> float:
    """The share of a thumbnail's cells that have changed, 0..1."""
    return float(np.mean(np.abs(now - before) > _CHANGED))


def thumbnail(picture: Picture) -> NDArray[np.int16]:
    """A coarse luma image, int16 (rows, columns): means over four pixels of so-many rows.

    Few pixels, because each is a line of memory that another core has just written.
    """
    step_x, step_y = max(picture.width // (4 * _THUMBNAIL), 1), max(picture.height // _THUMBNAIL, 1)
    sparse = np.ascontiguousarray(picture.y[step_y // 2 :: step_y, step_x // 2 :: step_x])
    size = max(sparse.shape[1] // 4, 1), sparse.shape[0]
    return cv2.resize(sparse, size, interpolation=cv2.INTER_AREA).astype(np.int16)


def _clipped(box: Box, width: int, height: int) -> Box:
    """The part of the box inside the frame; without extent where there is none."""
    left, top = min(max(box.x, 0.0), width), min(max(box.y, 0.0), height)
    right, bottom = min(max(box.x + box.w, left), width), min(max(box.y + box.h, top), height)
    return Box(left, top, right - left, bottom - top)


def _stacked(crops: Sequence[NDArray[np.uint8]], spec: CropSpec) -> NDArray[np.uint8]:
    return np.stack(crops) if crops else np.empty((0, spec.height, spec.width, spec.channels), np.uint8)
