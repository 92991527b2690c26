"""The crops of a frame's faces on their way from detect to classify: the raw bytes behind a `Found`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from streamfer.types import CropSpec
from streamfer.wire import WireError

Crops = NDArray[np.uint8]


def pack(found: Mapping[CropSpec, Crops], specs: Sequence[CropSpec]) -> bytes:
    """The crops of these specs, uint8 (n, height, width, channels) each, one spec after the other; nothing if
    nothing was found, because the frame was not analysed."""
    if not found:
        return b""
    if len(specs) == 1:
        return found[specs[0]].tobytes()
    return b"".join([found[spec].tobytes() for spec in specs])


def unpack(payload: bytes, count: int, specs: Sequence[CropSpec]) -> list[Crops]:
    """For each spec the crops of `count` faces (1 or more), uint8 (count, height, width, channels), as views
    of the payload; WireError if the size is off."""
    if len(specs) == 1:
        height, width, channels = specs[0]
        if len(payload) == count * height * width * channels:
            return [np.frombuffer(payload, np.uint8).reshape(count, height, width, channels)]
    sizes = [count * height * width * channels for height, width, channels in specs]
    if len(payload) != sum(sizes):
        expected = " and ".join("×".join(map(str, spec)) for spec in specs)
        raise WireError(f"{count} crops of {expected} expected, {len(payload)} bytes came")
    crops: list[Crops] = []
    start = 0
    for spec, size in zip(specs, sizes, strict=True):
        crops.append(np.frombuffer(payload, np.uint8, size, start).reshape(count, *spec))
        start += size
    return crops
