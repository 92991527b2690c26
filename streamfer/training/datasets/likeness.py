"""Which images are the same, pixel for pixel, and which are nearly the same."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from streamfer.training.datasets.grouping import Groups
from streamfer.training.datasets.options import Progress, silent

HASH_BITS = 8
"""Two images are compared pixel by pixel if at most so many of the 64 bits of their hashes differ."""

DETAIL_CORRELATION = 0.8
"""Two images are nearly the same if the correlation of their detail is at least this.

Chosen by looking at pairs, and by what cannot be the same photo. FER2013's pairs form two heaps with a valley
between 0.5 and 0.7: below it different photos, above it the same photo, shifted, scaled, brightened or with a
watermark. In CK+, whose subjects all look into one camera in one light, no two people reach 0.8. A plain
correlation of the pixels does not part the two: those of CK+ reach values that many true pairs of FER2013 do
not.
"""

_FINE, _COARSE = 0.8, 2.0
"""Detail is what lies between these two scales: sigmas of Gaussians, in pixels of a thumbnail."""
_SIDE = 48
"""Side of the thumbnails that are compared, whatever the size of the images."""
_CHUNK = 2048
"""Pairs compared at once: float copies of so many images are held, not of all."""
_STEP = 1000


@dataclass(frozen=True, eq=False)
class Likeness:
    """Per row: `same`, equal for rows whose images are equal pixel for pixel; `alike`, equal for rows whose
    images are the same or nearly so; and whether the image is `constant`, one value all over."""

    same: NDArray[np.intp]
    alike: NDArray[np.intp]
    constant: NDArray[np.bool_]

    def take(self, rows: NDArray[np.intp]) -> Likeness:
        """Of these rows only."""
        return Likeness(self.same[rows], self.alike[rows], self.constant[rows])


def likeness(
    images: NDArray[np.uint8], progress: Progress = silent, clips: NDArray[np.int32] | None = None
) -> Likeness:
    """Compare all images with all, uint8 (n, height, width, channels); but not, for near duplicates, frames
    of one clip, which are alike by nature: `clips` (n,) numbers those of video, -1 is no clip.

    Near duplicates by a difference hash (an image of 9×8 means, one bit for each two neighbours: 64 bits)
    and, for the pairs that it brings together, the correlation of what a difference of Gaussians leaves. All
    pairs of hashes are compared: exact, simple, and cheap at one XOR and one count of bits each, though the
    time grows with the square of the number of images. Constant images are nearly the same as none. A mirror
    image is another image.
    """
    rows = len(images)
    flat = images.reshape(rows, -1)
    constant = np.asarray(flat.max(axis=1) == flat.min(axis=1))
    first: dict[bytes, int] = {}
    digests = (hashlib.sha256(image.tobytes()).digest() for image in images)
    same = np.array([first.setdefault(digest, row) for row, digest in enumerate(digests)], np.intp)
    distinct = np.flatnonzero((same == np.arange(rows)) & ~constant)
    hashes = np.empty(len(distinct), np.uint64)
    for place, row in enumerate(distinct):
        hashes[place] = difference_hash(_gray(images[row]))
        if place % _STEP == 0:
            progress("looking for duplicates", place, 2 * len(distinct))
    groups = Groups(rows)
    groups.join_equal(same)
    pairs = _candidates(hashes, progress, None if clips is None else clips[distinct])
    for one, other in _near(images, distinct, pairs).tolist():
        groups.join(one, other)
    progress("looking for duplicates", 2 * len(distinct), 2 * len(distinct))
    return Likeness(same, groups.ids(), constant)


def difference_hash(gray: NDArray[np.uint8]) -> np.uint64:
    """64 bits: for each of 8 rows of 9 means, whether each is darker than the one to its right."""
    means = cv2.resize(gray, (9, 8), interpolation=cv2.INTER_AREA)
    return np.uint64(int.from_bytes(np.packbits(means[:, 1:] > means[:, :-1]).tobytes()))


def _gray(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return (
        image[:, :, 0]
        if image.shape[2] == 1
        else np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.uint8)
    )


def _candidates(
    hashes: NDArray[np.uint64], progress: Progress, clips: NDArray[np.int32] | None
) -> NDArray[np.intp]:
    """The pairs (k, 2) of places whose hashes differ in at most `HASH_BITS` bits, the lower place first,
    without those within a clip."""
    found = [np.empty((0, 2), np.intp)]
    for place in range(len(hashes) - 1):
        near = np.flatnonzero(np.bitwise_count(hashes[place + 1 :] ^ hashes[place]) <= HASH_BITS)
        if clips is not None and clips[place] >= 0:
            near = near[clips[near + place + 1] != clips[place]]
        if len(near):
            found.append(np.column_stack((np.full(len(near), place), near + place + 1)))
        if place % _STEP == 0:
            progress("looking for duplicates", len(hashes) + place, 2 * len(hashes))
    return np.concatenate(found)


def _near(images: NDArray[np.uint8], distinct: NDArray[np.intp], pairs: NDArray[np.intp]) -> NDArray[np.intp]:
    """Those of the pairs of places in `distinct` whose detail correlates, as pairs (k, 2) of rows."""
    places, where = np.unique(pairs, return_inverse=True)
    where = where.reshape(pairs.shape)
    detail = np.empty((len(places), _SIDE * _SIDE), np.int8)
    for number, place in enumerate(places):
        detail[number] = _detail(_gray(images[distinct[place]])).reshape(-1)
    correlated = np.zeros(len(pairs), bool)
    for start in range(0, len(pairs), _CHUNK):
        one, other = (detail[where[start : start + _CHUNK, side]].astype(np.float32) for side in (0, 1))
        lengths = np.sqrt((one * one).sum(axis=1) * (other * other).sum(axis=1))
        products = (one * other).sum(axis=1)
        correlated[start : start + _CHUNK] = products >= DETAIL_CORRELATION * np.maximum(lengths, 1)
    rows: NDArray[np.intp] = distinct[pairs[correlated]]
    return rows


def _detail(gray: NDArray[np.uint8]) -> NDArray[np.int8]:
    """What a difference of Gaussians leaves of the image's thumbnail, int8 (48, 48)."""
    if gray.shape != (_SIDE, _SIDE):
        gray = np.asarray(cv2.resize(gray, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA), np.uint8)
    fine, coarse = (cv2.GaussianBlur(gray, (0, 0), sigma).astype(np.int16) for sigma in (_FINE, _COARSE))
    return np.asarray(np.clip(fine - coarse, -127, 127), np.int8)
