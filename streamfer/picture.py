"""A frame's pixels as planar YUV 4:2:0, and the few conversions that somebody looks at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Picture:
    """One upright frame in I420.

    `y` is uint8 (height, width); `u` and `v` are uint8 (⌈height/2⌉, ⌈width/2⌉). The arrays may be strided
    views of somebody else's memory, valid only until that owner goes on. `full_range` tells whether luma
    spans 0..255 or the limited 16..235 that most H.264 carries.
    """

    y: Plane
    u: Plane
    v: Plane
    full_range: bool = False

    @property
    def height(self) -> int:
        return int(self.y.shape[0])

    @property
    def width(self) -> int:
        return int(self.y.shape[1])


def i420_size(width: int, height: int) -> int:
    """Bytes of an I420 buffer for a frame of `width` × `height` pixels, both sides padded to even."""
    return (width + 1) // 2 * 2 * ((height + 1) // 2 * 2) * 3 // 2


def i420_planes(buffer: Any, width: int, height: int, offset: int = 0) -> tuple[Plane, Plane, Plane]:
    """The three planes of an I420 buffer as arrays over its memory (even sides: the padding is included)."""
    w, h = (width + 1) // 2 * 2, (height + 1) // 2 * 2
    flat = np.frombuffer(buffer, np.uint8, count=w * h * 3 // 2, offset=offset)
    luma, chroma = w * h, w * h // 4
    return (
        flat[:luma].reshape(h, w),
        flat[luma : luma + chroma].reshape(h // 2, w // 2),
        flat[luma + chroma :].reshape(h // 2, w // 2),
    )


def view_i420(buffer: Any, width: int, height: int, *, full_range: bool, offset: int = 0) -> Picture:
    """A Picture over an I420 buffer, without a copy."""
    y, u, v = i420_planes(buffer, width, height, offset)
    return Picture(y[:height, :width], u, v, full_range)


def write_i420(picture: Picture, buffer: Any, offset: int = 0) -> None:
    """Copy a picture into an I420 buffer; an odd last row or column is repeated into the padding."""
    height, width = picture.y.shape
    y, u, v = i420_planes(buffer, width, height, offset)
    np.copyto(y[:height, :width], picture.y)
    if width % 2:
        y[:height, width] = y[:height, width - 1]
    if height % 2:
        y[height] = y[height - 1]
    np.copyto(u, picture.u)
    np.copyto(v, picture.v)


def copied(picture: Picture) -> Picture:
    """The same picture in memory of its own."""
    return Picture(picture.y.copy(), picture.u.copy(), picture.v.copy(), picture.full_range)


def from_bgr(image: NDArray[np.uint8]) -> Picture:
    """A Picture of a BGR image, uint8 (height, width, 3)."""
    import cv2

    height, width = image.shape[:2]
    padded = cv2.copyMakeBorder(image, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)
    flat = cv2.cvtColor(padded, cv2.COLOR_BGR2YUV_I420)  # limited range, BT.601
    return view_i420(np.ascontiguousarray(flat).reshape(-1), width, height, full_range=False)


def to_bgr(picture: Picture) -> NDArray[np.uint8]:
    """The whole picture as BGR, uint8 (height, width, 3), by BT.601."""
    import cv2

    height, width = picture.y.shape
    w, h = (width + 1) // 2 * 2, (height + 1) // 2 * 2
    flat = np.empty(w * h * 3 // 2, np.uint8)
    write_i420(picture, flat)
    if picture.full_range:
        flat[: w * h] = to_limited(flat[: w * h])
    bgr = cv2.cvtColor(flat.reshape(h * 3 // 2, w), cv2.COLOR_YUV2BGR_I420)
    return np.asarray(bgr[:height, :width], np.uint8)


_ramp = np.arange(256, dtype=np.float64)
_LIMITED = np.rint(16 + _ramp * 219 / 255).astype(np.uint8)
_FULL = np.clip(np.rint((_ramp - 16) * 255 / 219), 0, 255).astype(np.uint8)


def to_limited(luma: Plane) -> Plane:
    """Full-range luma 0..255 squeezed to 16..235."""
    return _LIMITED[luma]


def to_full(luma: Plane) -> Plane:
    """Limited-range luma 16..235 expanded to 0..255."""
    return _FULL[luma]
