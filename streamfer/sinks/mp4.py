"""Writes one MP4 from pictures: fragments while it grows, an ordinary seekable file once it is finished."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Collection
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from av.video.stream import VideoStream

from streamfer.picture import Picture, Plane, to_limited
from streamfer.types import Box

TICKS = 60_000
"""Ticks a second: exact for 24, 25, 29.97, 30, 50, 59.94 and 60 frames/s, and as many as MPEG-4 allows."""

FRAGMENT = 1_000_000
"""Microseconds of video that a sudden death costs, beside what the encoder looks ahead."""

KEYFRAMES = 60
"""Frames between two places a player can jump to."""

COMMENT = "annotated by streamfer"

_QP2LAMBDA = 118  # FF_QP2LAMBDA of libavutil/avutil.h
_CHROMA_LIMITED = np.rint(128 + (np.arange(256) - 128) * 224 / 255).astype(np.uint8)
_LUMA_LIMITED = to_limited(np.arange(256, dtype=np.uint8))


def encoder(wanted: str, available: Collection[str] = av.codecs_available) -> str:
    """The encoder to use: the one asked for, or mpeg4, which every FFmpeg has."""
    return wanted if wanted in available else "mpeg4"


def is_ours(path: Path) -> bool:
    """Whether a file is a video that streamfer made."""
    try:
        with av.open(path) as container:
            return container.metadata.get("comment") == COMMENT
    except av.FFmpegError:
        return False


@dataclass(frozen=True)
class Canvas:
    """A frame to draw on and encode: `picture` is its memory, with the source at `scale`, `left`, `top`, and
    `source` is the source frame's width and height."""

    frame: av.VideoFrame
    picture: Picture
    scale: float
    left: int
    top: int
    source: tuple[int, int]

    def place(self, box: tuple[float, float, float, float]) -> Box:
        """A box of the source frame in pixels of the canvas."""
        x, y, w, h = (value * self.scale for value in box)
        return Box(x + self.left, y + self.top, w, h)


def padded(picture: Picture) -> tuple[int, int]:
    """Width and height of a video of pictures of this size: 4:2:0 wants even sides."""
    return (picture.width + 1) // 2 * 2, (picture.height + 1) // 2 * 2


def canvas_of(picture: Picture, video_width: int, video_height: int) -> Canvas:
    """A copy of a picture to draw on, scaled into a video's size if it has another."""
    frame = av.VideoFrame(video_width, video_height, "yuv420p")
    y, u, v = (
        np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size)[:, : plane.width]
        for plane in frame.planes
    )
    width, height = picture.width, picture.height
    scale = min(video_width / width, video_height / height)
    if (width + width % 2, height + height % 2) == (video_width, video_height):
        scale = 1.0
    w = min(video_width, max(2, round(width * scale / 2) * 2))
    h = min(video_height, max(2, round(height * scale / 2) * 2))
    if scale == 1.0:
        w, h = video_width, video_height
    left, top = (video_width - w) // 4 * 2, (video_height - h) // 4 * 2
    if (w, h) != (video_width, video_height):
        y[:], u[:], v[:] = 16, 128, 128
    _put(picture.y, y[top : top + h, left : left + w], _LUMA_LIMITED if picture.full_range else None)
    for source, target in ((picture.u, u), (picture.v, v)):
        part = target[top // 2 : (top + h) // 2, left // 2 : (left + w) // 2]
        _put(source, part, _CHROMA_LIMITED if picture.full_range else None)
    return Canvas(frame, Picture(y, u, v), scale, left, top, (width, height))


class Mp4Writer:
    """One file of frames of one size, both sides even. `make_room` is asked once when the disk is full; if it
    says that it made some, writing goes on."""

    def __init__(
        self,
        path: Path,
        codec: str,
        crf: int,
        width: int,
        height: int,
        make_room: Callable[[], bool] = lambda: False,
    ) -> None:
        self._path = path
        self.width, self.height = width, height
        self._file = _File(path, make_room)
        self._container = av.open(
            self._file,
            "w",
            format="mp4",
            container_options={
                "movflags": "hybrid_fragmented",
                "frag_duration": str(FRAGMENT),
                "flush_packets": "1",  # keeps nothing of a finished fragment back
            },
        )
        self._container.metadata["comment"] = COMMENT
        if codec == "libx264":
            # no B-frames: they would delay the first timestamp and hold more frames back
            options = {"preset": "veryfast", "crf": str(crf), "bf": "0", "rc-lookahead": "10"}
        else:
            options = {"flags": "+qscale", "global_quality": str(4 * _QP2LAMBDA)}
        stream = self._container.add_stream(codec, rate=30, options={**options, "g": str(KEYFRAMES)})
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = self.width, self.height, "yuv420p"
        stream.codec_context.time_base = Fraction(1, TICKS)
        stream.codec_context.thread_count = 1
        stream.codec_context.color_range = 1  # limited
        self._stream = stream

    @property
    def size(self) -> int:
        """Bytes of the file so far."""
        return self._file.tell()

    def encode(self, canvas: Canvas, ticks: int) -> None:
        """Add a frame that is shown from `ticks` on."""
        canvas.frame.pts, canvas.frame.time_base = ticks, Fraction(1, TICKS)
        self._mux(canvas.frame)

    def _mux(self, frame: av.VideoFrame | None) -> None:
        try:
            for packet in self._stream.encode(frame):
                self._container.mux(packet)
        except av.FFmpegError as error:
            self._file.close()
            raise OSError(error.errno, error.strerror, str(self._path)) from error
        self._commit()

    def _commit(self) -> None:
        """Hand whole fragments to the disk; where that fails, the file plays as far as it goes."""
        self._file.commit()
        error = self._file.error
        if error is not None:
            raise OSError(error.errno, error.strerror, str(self._path))

    def close(self) -> None:
        """Finish the file: what was written in fragments gets the index of an ordinary MP4."""
        self._mux(None)
        self._container.close()
        self._commit()
        self._file.close()


def _put(source: Plane, target: Plane, table: Plane | None) -> None:
    """Copy a plane, scaled if the sizes differ by more than the padding of an odd side."""
    if table is not None:
        source = np.asarray(cv2.LUT(source, table), np.uint8)
    height, width = source.shape
    if 0 <= target.shape[0] - height <= 1 and 0 <= target.shape[1] - width <= 1:
        target[:height, :width] = source
        target[:height, width:] = source[:, -1:]
        target[height:] = target[height - 1]
        return
    shrinks = target.size < source.size
    size = target.shape[1], target.shape[0]
    target[:] = cv2.resize(source, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


class _File:
    """The file as FFmpeg sees it. What it writes is held until `commit`, which is called between fragments: a
    file that ends within the head of a fragment does not play at all. The first error is kept and ends all
    writing: FFmpeg would go on, and at last declare fragments finished that are not."""

    def __init__(self, path: Path, make_room: Callable[[], bool]) -> None:
        self._fd: int | None = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
        self._make_room = make_room
        self._held = bytearray()
        self.error: OSError | None = None

    def write(self, data: bytes) -> int:
        if self._fd is not None:
            self._held += data
        return len(data)

    def commit(self) -> None:
        """Write what is held, or nothing of it."""
        if self._fd is None:
            return
        start = os.lseek(self._fd, 0, os.SEEK_CUR)
        written, made_room = 0, False
        with memoryview(self._held) as view:
            while written < len(view):
                try:
                    written += os.write(self._fd, view[written:])
                except OSError as error:
                    if not made_room and error.errno == errno.ENOSPC and self._make_room():
                        made_room = True
                        continue
                    self.error = error
                    os.ftruncate(self._fd, start)
                    self.close()
                    break
        self._held.clear()

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self.commit()
        return offset if self._fd is None else os.lseek(self._fd, offset, whence)

    def tell(self) -> int:
        return 0 if self._fd is None else os.lseek(self._fd, 0, os.SEEK_CUR) + len(self._held)

    def close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
