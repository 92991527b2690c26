"""Turns a decoded frame into an upright I420 Picture, over the decoder's own memory where possible."""

from __future__ import annotations

import struct
from typing import Any, NamedTuple

import numpy as np
from av.buffer import Buffer
from av.video.frame import VideoFrame
from av.video.plane import VideoPlane
from av.video.reformatter import ColorRange, VideoReformatter

from streamfer.picture import Picture, Plane

_DIRECT = frozenset({"yuv420p", "yuvj420p"})


class Turn(NamedTuple):
    """How stored rows and columns become the upright picture: transposed first, then flipped."""

    transpose: bool
    flip_x: bool
    flip_y: bool


class PictureReader:
    """Pictures of the frames of one pass. It keeps the state of FFmpeg's converter between frames."""

    def __init__(self) -> None:
        self._converter = VideoReformatter()
        self._rotation: int | None = None
        self._turn: Turn | None = None

    def read(self, frame: VideoFrame) -> Picture:
        """The frame upright. The planes are views that keep the decoder's buffer alive while they are held
        (copies if the frame has to be turned).

        Formats other than 8-bit 4:2:0 are converted by swscale. The range stays as it is: RGB and gray, which
        name none, become limited-range as swscale does by default.
        """
        format = frame.format.name
        full_range = format.startswith("yuvj") or frame.color_range == ColorRange.JPEG
        if frame.rotation != self._rotation:
            self._rotation, self._turn = frame.rotation, turn_of(frame)
        turn = self._turn
        if format not in _DIRECT:
            frame = self._converter.reformat(
                frame,
                format="yuv420p",
                dst_color_range=ColorRange.JPEG if full_range else ColorRange.MPEG,
                threads=1,  # the default takes every core
            )
        planes = frame.planes
        y, u, v = _pixels(planes[0]), _pixels(planes[1]), _pixels(planes[2])
        if turn is not None:
            y, u, v = _turned(y, turn), _turned(u, turn), _turned(v, turn)
        return Picture(y, u, v, full_range)


def turn_of(frame: VideoFrame) -> Turn | None:
    """What the frame's display matrix asks for, to the next quarter turn; None for a frame that is upright.

    The matrix (a b u; c d v; x y w) maps a stored point to x' = a·x + c·y, y' = b·x + d·y, with y down
    (libavutil/display.h). Unlike `frame.rotation` it also tells a mirrored picture; but for frames without
    rotation it is not looked at, because `side_data` is costly: it ties the frame into a reference cycle, so
    that its pixels stay in memory until Python's cyclic collector comes by, and PyAV 18.1 frees the metadata
    of side data twice (a PNG with a named colour profile crashes).
    """
    if not frame.rotation:
        return None
    side_data = frame.side_data.get("DISPLAYMATRIX")
    assert isinstance(side_data, Buffer)  # PyAV's stubs know of motion vectors only
    a, b, _, c, d = struct.unpack_from("=5i", memoryview(side_data))
    turn = Turn(True, c < 0, b < 0) if abs(b) > abs(a) else Turn(False, a < 0, d < 0)
    return turn if any(turn) else None


def _pixels(plane: VideoPlane) -> Plane:
    shape, strides = (plane.height, plane.width), (plane.line_size, 1)
    return np.ndarray(shape, np.uint8, memoryview(plane), strides=strides)


def _turned(plane: Plane, turn: Turn) -> Plane:
    import cv2  # only for turned clips; as a strided view the copy into the ring would take 8 times as long

    turned: Any = plane
    if turn.transpose:
        turned = cv2.transpose(turned)
    if turn.flip_x or turn.flip_y:
        turned = cv2.flip(turned, -1 if turn.flip_x and turn.flip_y else 1 if turn.flip_x else 0)
    return np.asarray(turned, np.uint8)
