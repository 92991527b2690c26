"""The contract of sources: whole frames in order, and the same ones in every pass over a recording."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from itertools import islice

import numpy as np

from streamfer.api import Source, SourceFrame
from streamfer.testing.require import require

Digest = tuple[int, float | None, bool, int, int, bool]
"""What identifies a frame: its pixels' checksum, PTS, corrupt flag, width, height and range."""


def check_source(build: Callable[[], Source]) -> None:
    """Check a source of a recording that can be read to its end; a few seconds are enough."""
    source = build()
    info = source.open()
    require(info.width > 0 and info.height > 0, f"open tells a size of {info.width}×{info.height}")
    first = [_digest(frame) for frame in source.frames()]
    require(first, "a source that opens has at least one frame")
    require(
        first[0][3:5] == (info.width, info.height),
        f"open tells {info.width}×{info.height}, the first frame has {first[0][3]}×{first[0][4]}",
    )
    times = [pts for _, pts, *_ in first if pts is not None]
    require(times == sorted(times), "PTS run backwards: frames are not in presentation order")

    second = [_digest(frame) for frame in source.frames()]
    require(len(second) == len(first), f"the first pass has {len(first)} frames, the second {len(second)}")
    for number, (one, other) in enumerate(zip(first, second, strict=True)):
        require(one == other, f"frame {number} differs from the first pass to the second")

    some = max(1, len(first) // 2)
    require(
        [_digest(frame) for frame in islice(source.frames(), some)] == first[:some],
        "a pass that is left early differs from a whole one",
    )
    require(
        [_digest(frame) for frame in islice(source.frames(), some)] == first[:some],
        "after a pass that was left early the next does not begin at the first frame",
    )
    source.close()
    source.close()  # idempotent

    fresh = build()
    fresh.open()
    require(
        [_digest(frame) for frame in fresh.frames()] == first,
        "a second object with the same options yields other frames",
    )
    fresh.close()


def check_frame(frame: SourceFrame) -> None:
    """AssertionError unless the frame is an I420 picture, with a PTS in seconds or none."""
    picture = frame.picture
    for name, plane in (("y", picture.y), ("u", picture.u), ("v", picture.v)):
        require(plane.dtype == np.uint8, f"plane {name} is {plane.dtype}, expected uint8")
        require(plane.ndim == 2, f"plane {name} has {plane.ndim} dimensions, expected 2")
    chroma = ((picture.height + 1) // 2, (picture.width + 1) // 2)
    for name, plane in (("u", picture.u), ("v", picture.v)):
        require(plane.shape == chroma, f"plane {name} has the shape {plane.shape}, expected {chroma}")
    require(
        frame.pts is None or isinstance(frame.pts, float),
        f"a PTS is a {type(frame.pts).__name__}, expected float (seconds) or None",
    )


def _digest(frame: SourceFrame) -> Digest:
    check_frame(frame)
    picture = frame.picture
    checksum = 0
    for plane in (picture.y, picture.u, picture.v):
        checksum = zlib.crc32(plane.tobytes(), checksum)
    return checksum, frame.pts, frame.corrupt, picture.width, picture.height, picture.full_range
