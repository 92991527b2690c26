"""Cuts pictures of tracked faces from a recording."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from streamfer.api import Source
from streamfer.errors import StreamferError
from streamfer.picture import to_bgr
from streamfer.plugins import ComponentSpec, build
from streamfer.training.compare_video import Track, Watched

SIDE = 128
"""Pixels along each side of a picture."""

_MARGIN = 0.25
"""Share of its box that a picture shows around it on each side."""

Face = NDArray[np.uint8]


def moments(found: Watched, track: Track, places: int) -> list[int | None]:
    """For each of so many even parts of the track's time the place in `track.seqs` of the frame that is
    nearest to its middle; None for a part in which the face was not found."""
    begin, end = found.span(track)
    edges = np.linspace(begin, end, places + 1)
    times = found.clock[track.seqs]
    chosen: list[int | None] = []
    for low, high in pairwise(edges):
        within = np.flatnonzero((times >= low) & (times < high))
        nearest = np.abs(times[within] - (low + high) / 2)
        chosen.append(int(within[nearest.argmin()]) if len(within) else None)
    return chosen


def pictures(
    recording: ComponentSpec, found: Watched, tracks: Sequence[Track], places: int
) -> dict[int, list[Face | None]]:
    """By track the pictures at its `moments`, RGB uint8 (SIDE, SIDE, 3).

    The recording is decoded once more, up to the last of them; where it cannot be read on, pictures are
    missing.
    """
    wanted: dict[int, list[tuple[int, int, NDArray[np.float64]]]] = {}
    chosen: dict[int, list[Face | None]] = {}
    for track in tracks:
        chosen[track.number] = [None] * places
        for place, at in enumerate(moments(found, track, places)):
            if at is not None:
                wanted.setdefault(int(track.seqs[at]), []).append((track.number, place, track.boxes[at]))
    _cut(build(recording), wanted, chosen)
    return chosen


def _cut(
    source: Source,
    wanted: Mapping[int, Sequence[tuple[int, int, NDArray[np.float64]]]],
    chosen: Mapping[int, list[Face | None]],
) -> None:
    last = max(wanted, default=-1)
    try:
        source.open()
        for seq, frame in enumerate(source.frames()):
            if seq > last:
                break
            if seq in wanted:
                image = np.asarray(cv2.cvtColor(to_bgr(frame.picture), cv2.COLOR_BGR2RGB), np.uint8)
                for number, place, box in wanted[seq]:
                    chosen[number][place] = _square(image, box)
    except StreamferError:
        return  # the run has said it
    finally:
        source.close()


def _square(image: NDArray[np.uint8], box: NDArray[np.float64]) -> Face:
    """The square around a box, uint8 (SIDE, SIDE, 3); outside of the image its edge is repeated."""
    x, y, w, h = box
    side = max(round(max(w, h) * (1 + 2 * _MARGIN)), 2)
    across, down = (
        np.clip(np.arange(side) + round(middle - side / 2), 0, limit - 1)
        for middle, limit in ((x + w / 2, image.shape[1]), (y + h / 2, image.shape[0]))
    )
    part = np.ascontiguousarray(image[np.ix_(down, across)])
    way = cv2.INTER_AREA if side > SIDE else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(part, (SIDE, SIDE), interpolation=way), np.uint8)
