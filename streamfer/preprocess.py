"""From a frame and a face to the crop that classifiers see: one geometry for training and serving.

Positions are continuous: pixel i covers i to i + 1, so that a change of scale is a plain product.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from streamfer.picture import Picture, Plane, to_full, to_limited
from streamfer.types import CropSpec, Detection, Point

FITTED_SIZE = 48
"""Side of the FER2013 images that the reference positions below are measured in."""

REFERENCE_LANDMARKS = (
    Point(14.9, 19.2),
    Point(33.1, 19.2),
    Point(24.0, 28.9),
    Point(16.4, 36.8),
    Point(31.6, 36.8),
)
"""Where eyes, nose tip and mouth corners lie in FER2013's 48×48 images: medians of what YuNet finds in the
Training images and their mirror images. `python -m benchmarks.fit_geometry --data …` prints them."""

REFERENCE_BOX = (24.0, 24.0, 46.7)
"""Centre x, centre y and the square root of the area of the box that the Haar cascade finds, likewise."""


class Similarity(NamedTuple):
    """Rotation, uniform scale and shift: (x, y) → (a·x − b·y + tx, b·x + a·y + ty)."""

    a: float
    b: float
    tx: float
    ty: float

    @property
    def scale(self) -> float:
        return math.hypot(self.a, self.b)


def fit_similarity(points: tuple[Point, ...], onto: tuple[Point, ...]) -> Similarity:
    """The similarity that takes `points` closest to `onto`, in the sense of least squares.

    Closed form of Umeyama, "Least-squares estimation of transformation parameters between two point
    patterns", PAMI 13(4), 1991, in the plane (and without reflections, which a face does not undergo).
    """
    n = len(points)
    px, py = sum(p[0] for p in points) / n, sum(p[1] for p in points) / n
    qx, qy = sum(q[0] for q in onto) / n, sum(q[1] for q in onto) / n
    a = b = spread = 0.0
    for (x, y), (u, v) in zip(points, onto, strict=True):
        x, y, u, v = x - px, y - py, u - qx, v - qy
        a += x * u + y * v
        b += x * v - y * u
        spread += x * x + y * y
    if spread <= 0 or (a == 0 and b == 0):
        return Similarity(1.0, 0.0, qx - px, qy - py)  # all points in one place
    a, b = a / spread, b / spread
    return Similarity(a, b, qx - a * px + b * py, qy - b * px - a * py)


@lru_cache(maxsize=64)
def _reference(spec: CropSpec) -> tuple[tuple[Point, ...], tuple[float, float, float]]:
    """The reference landmarks and box in the pixels of a crop; its shorter side spans the fitted square."""
    scale = min(spec.height, spec.width) / FITTED_SIZE
    left, top = (spec.width - scale * FITTED_SIZE) / 2, (spec.height - scale * FITTED_SIZE) / 2
    landmarks = tuple(Point(left + scale * p.x, top + scale * p.y) for p in REFERENCE_LANDMARKS)
    x, y, side = REFERENCE_BOX
    return landmarks, (left + scale * x, top + scale * y, scale * side)


def geometry(detection: Detection, spec: CropSpec) -> Similarity:
    """The transform from frame pixels to crop pixels: by landmarks, or by the box where there are none."""
    landmarks, (x, y, side) = _reference(spec)
    if detection.landmarks is not None:
        return fit_similarity(detection.landmarks, landmarks)
    box = detection.box
    a = side / max(math.sqrt(box.w * box.h), 1e-3)
    return Similarity(a, 0.0, x - a * (box.x + box.w / 2), y - a * (box.y + box.h / 2))


def align(picture: Picture, detection: Detection, spec: CropSpec) -> NDArray[np.uint8]:
    """The aligned crop of one face: uint8 (height, width, channels), full range, gray or RGB.

    A face larger than the crop is first reduced by averaging, so that nothing aliases. What lies outside of
    the frame repeats the frame's edge.
    """
    to_crop = geometry(detection, spec)
    reduction = max(round(1 / max(to_crop.scale, 1e-3)), 1)
    unit = reduction if spec.channels == 1 else 2 * reduction
    left, right = _span(*_extent(to_crop, spec, 0), unit, picture.width)
    top, bottom = _span(*_extent(to_crop, spec, 1), unit, picture.height)
    if spec.channels == 1:
        part = picture.y[top:bottom, left:right]
        if reduction > 1:
            size = max(round((right - left) / reduction), 1), max(round((bottom - top) / reduction), 1)
            part = np.asarray(cv2.resize(part, size, interpolation=cv2.INTER_AREA), np.uint8)
    else:
        size = _even((right - left) / reduction), _even((bottom - top) / reduction)
        i420 = reduced_i420(picture, (left, top, right, bottom), size, cv2.INTER_AREA)
        part = np.asarray(cv2.cvtColor(i420, cv2.COLOR_YUV2RGB_I420), np.uint8)
    crop = _warp(
        part, to_crop, left, top, part.shape[1] / (right - left), part.shape[0] / (bottom - top), spec
    )
    if spec.channels == 1 and not picture.full_range:
        crop = to_full(crop)
    return crop.reshape(spec.height, spec.width, spec.channels)


def _extent(to_crop: Similarity, spec: CropSpec, axis: int) -> tuple[float, float]:
    """The least and the greatest frame coordinate, along x (0) or y (1), that the crop looks at."""
    a, b, tx, ty = to_crop
    determinant = a * a + b * b
    corners = ((u - tx, v - ty) for u in (0, spec.width) for v in (0, spec.height))
    values = [(a * u + b * v if axis == 0 else a * v - b * u) / determinant for u, v in corners]
    return min(values), max(values)


def _span(low: float, high: float, unit: int, limit: int) -> tuple[int, int]:
    """A range of pixels inside 0..limit that covers low..high with a little to spare: it starts on an even
    pixel, for the sake of chroma, and is a multiple of `unit` long where the frame has room for it."""
    start = math.floor(min(max(low - 2, 0), limit - 1)) // 2 * 2
    stop = math.ceil(max(min(high + 2, limit), start + 1))
    return start, min(start + -(-(stop - start) // unit) * unit, limit)


def _even(value: float) -> int:
    return max(round(value / 2) * 2, 2)


def _warp(
    part: Plane, to_crop: Similarity, left: int, top: int, fx: float, fy: float, spec: CropSpec
) -> NDArray[np.uint8]:
    """Sample the crop from the part of the frame at (left, top), reduced by fx and fy."""
    a, b, tx, ty = to_crop
    determinant = a * a + b * b
    ia, ib = a / determinant, b / determinant
    # From the centre of crop pixel (u, v) to the frame, to the part, to the centres that OpenCV counts from.
    x0, y0 = ia * (0.5 - tx) + ib * (0.5 - ty), ia * (0.5 - ty) - ib * (0.5 - tx)
    matrix = np.array(
        ((fx * ia, fx * ib, fx * (x0 - left) - 0.5), (-fy * ib, fy * ia, fy * (y0 - top) - 0.5)), np.float64
    )
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    size = spec.width, spec.height
    return np.asarray(
        cv2.warpAffine(part, matrix, size, flags=flags, borderMode=cv2.BORDER_REPLICATE), np.uint8
    )


def reduced_i420(
    picture: Picture, region: tuple[int, int, int, int], size: tuple[int, int], interpolation: int
) -> Plane:
    """A region (left, top, right, bottom; left and top even) of the picture at another size (width, height;
    both even): I420 with limited-range luma as OpenCV's conversions expect it, uint8 (height·3/2, width)."""
    left, top, right, bottom = region
    width, height = size
    small = np.empty((height * 3 // 2, width), np.uint8)
    luma = small[:height]
    cv2.resize(picture.y[top:bottom, left:right], size, dst=luma, interpolation=interpolation)
    if picture.full_range:
        luma[:] = to_limited(luma)
    chroma = small[height:].reshape(2, height // 2, width // 2)
    half = slice(top // 2, (bottom + 1) // 2), slice(left // 2, (right + 1) // 2)
    for plane, out in ((picture.u, chroma[0]), (picture.v, chroma[1])):
        cv2.resize(plane[half], (width // 2, height // 2), dst=out, interpolation=interpolation)
    return small


def sharpness(crop: NDArray[np.uint8]) -> float:
    """Variance of the Laplacian of an aligned gray crop, uint8 (height, width, 1): low means blurred.

    Pech-Pacheco et al., "Diatom autofocusing in brightfield microscopy", ICPR 2000.
    """
    _, deviation = cv2.meanStdDev(cv2.Laplacian(crop, cv2.CV_16S))
    return float(deviation[0, 0]) ** 2


_CELLS, _CELL = 8, 3
_MEANS = np.kron(np.eye(_CELLS, dtype=np.float32), np.full((1, _CELL), 1 / _CELL, np.float32))
_ACROSS = 0.7
"""Share of a gradient's length that is taken off its component along each direction: neighbours get less."""
_FAINT = 10.0
"""Gradients well below this count little, whatever their direction."""


def appearance(crop: NDArray[np.uint8]) -> NDArray[np.float32]:
    """What a face looks like, coarsely: 8×8 cells × 8 gradient directions of an aligned gray crop, uint8
    (height, width, 1), as a unit-norm float32 vector (512,).

    Histograms of oriented gradients (Dalal, Triggs, CVPR 2005), with cells normalised one by one: light and
    exposure matter little. Two looks at one face within a second mostly have a dot product above 0.65, two
    people seldom: docs/detection.md.
    """
    side = _CELLS * _CELL
    small = cv2.resize(crop, (side, side), interpolation=cv2.INTER_AREA)
    gx, gy = cv2.Sobel(small, cv2.CV_32F, 1, 0), cv2.Sobel(small, cv2.CV_32F, 0, 1)
    along = np.empty((8, side, side), np.float32)
    along[0], along[1] = gx, gy
    along[2], along[3] = (gx + gy) * np.float32(math.sqrt(0.5)), (gx - gy) * np.float32(math.sqrt(0.5))
    np.negative(along[:4], out=along[4:])
    along -= np.float32(_ACROSS) * np.sqrt(gx * gx + gy * gy)
    np.maximum(along, 0, out=along)
    cells = (_MEANS @ along @ _MEANS.T).reshape(8, -1)
    cells /= np.sqrt((cells * cells).sum(axis=0)) + np.float32(_FAINT)
    looks = cells.reshape(-1)
    norm = math.sqrt(float(looks @ looks))
    if norm < 1e-6:
        return np.full_like(looks, 1 / math.sqrt(looks.size))  # a plain surface
    return np.asarray(looks / np.float32(norm), np.float32)
