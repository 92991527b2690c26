"""Reads a camera of this machine with OpenCV (V4L2); a camera that falls silent or vanishes is noticed."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

# OpenCV reads both as it loads, so they come before its import. Its own wait for a frame, 10 s otherwise, is
# met where a driver announces a frame that does not come. What goes wrong is told by our own errors.
os.environ.setdefault("OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT", "1")
os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")

import cv2

from streamfer.api import SourceFrame, SourceInfo
from streamfer.errors import SourceError
from streamfer.picture import Picture, from_bgr
from streamfer.sources import WebcamOptions, v4l2

log = logging.getLogger(__name__)

_BUFFERS = 2
"""One that the camera fills while the other is read. With a single one the camera has to wait for us."""
_PAUSE = 0.2
"""Seconds between two looks at a device that reports an error but is there."""


class WebcamSource:
    """A camera by index or device path. It can be opened again after any failure."""

    def __init__(self, options: WebcamOptions) -> None:
        cv2.setNumThreads(1)
        self._options = options
        device = str(options.device)
        self._path = f"/dev/video{device}" if device.isdigit() else device
        self._capture: cv2.VideoCapture | None = None
        self._told = ""

    def open(self) -> SourceInfo:
        """Claim the camera and ask for the size and rate of the options; SourceError if it cannot be had.

        The description names what the camera gives; what differs from the request is also logged, once.
        """
        self.close()
        name = v4l2.camera_name(self._path)
        capture = cv2.VideoCapture(self._path, cv2.CAP_V4L2)
        if not capture.isOpened():
            raise v4l2.why_not(self._path)
        self._capture = capture
        self._request(capture)
        width, height = _whole(capture, cv2.CAP_PROP_FRAME_WIDTH), _whole(capture, cv2.CAP_PROP_FRAME_HEIGHT)
        format = _whole(capture, cv2.CAP_PROP_FOURCC).to_bytes(4, "little").decode("latin-1").strip("\0 ")
        fps = capture.get(cv2.CAP_PROP_FPS)
        if format == "YUYV":  # its luma is wanted as it is; through BGR a frame costs ten times as much
            capture.set(cv2.CAP_PROP_CONVERT_RGB, 0)
        description = f"{name}, {format} {width}×{height}" + (f", {fps:.4g} frames/s" if fps > 0 else "")
        if refused := self._refused(width, height, fps, format):
            description += f" (asked for {', '.join(refused)})"
            if description != self._told:
                log.warning("%s: the camera gives %s", self._path, description)
            self._told = description
        return SourceInfo(width, height, description=description)

    def frames(self) -> Iterator[SourceFrame]:
        """Frames as they come; SourceError if none comes within `stale_after` or the camera is gone.

        PTS are the driver's time stamps, most often on the machine's monotonic clock.
        """
        capture = self._capture
        assert capture is not None, "open comes first"
        deadline = time.monotonic() + self._options.stale_after
        while True:
            self._grab(capture, deadline)
            whole, image = capture.retrieve()
            if whole:  # else a torn JPEG
                milliseconds = capture.get(cv2.CAP_PROP_POS_MSEC)
                pts = round(milliseconds / 1000, 6) if milliseconds > 0 else None
                yield SourceFrame(_picture(np.asarray(image, np.uint8)), pts)
                deadline = time.monotonic() + self._options.stale_after

    def close(self) -> None:
        if self._capture is not None:
            self._capture.release()
            self._capture = None

    def _request(self, capture: cv2.VideoCapture) -> None:
        """Ask for what the options name; each of these settings negotiates with the camera anew."""
        options = self._options
        capture.set(cv2.CAP_PROP_BUFFERSIZE, _BUFFERS)
        if options.fourcc is not None:
            capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*options.fourcc))
        if options.width is not None and options.height is not None:
            capture.set(cv2.CAP_PROP_FRAME_WIDTH, options.width)  # takes effect with the height
            capture.set(cv2.CAP_PROP_FRAME_HEIGHT, options.height)
        if options.camera_fps is not None:
            capture.set(cv2.CAP_PROP_FPS, options.camera_fps)

    def _refused(self, width: int, height: int, fps: float, format: str) -> list[str]:
        """What was asked for and is not given."""
        options = self._options
        refused = []
        if options.fourcc not in (None, format):
            refused.append(str(options.fourcc))
        if options.width is not None and (options.width, options.height) != (width, height):
            refused.append(f"{options.width}×{options.height}")
        if options.camera_fps is not None and fps > 0 and abs(fps - options.camera_fps) > 0.5:
            refused.append(f"{options.camera_fps} frames/s")
        return refused

    def _grab(self, capture: cv2.VideoCapture, deadline: float) -> None:
        """Wait until OpenCV holds the next frame; SourceError if there is none at the deadline.

        `waitAny` polls the device; `read` would wait by OpenCV's own clock.
        """
        while (left := deadline - time.monotonic()) > 0:
            try:
                grabbed, _ = cv2.VideoCapture.waitAny([capture], max(1_000_000, int(left * 1e9)))
            except cv2.error:  # the device is gone, does not start, or announced a frame that did not come
                self._check_there()
                time.sleep(_PAUSE)
                continue
            if grabbed:
                return
        self._check_there()
        raise SourceError(
            "timeout",
            f"{self._path}: no frame for {self._options.stale_after:g} s; plug the camera in again, or ask "
            "it for less (width and height, camera_fps, fourcc: MJPG)",
        )

    def _check_there(self) -> None:
        """SourceError if the device is gone. Other complaints may be about the handle that we hold."""
        try:
            v4l2.camera_name(self._path)
        except SourceError as error:
            if error.reason == "absent":
                raise


def _whole(capture: cv2.VideoCapture, property: int) -> int:
    return int(capture.get(property))


def _picture(image: NDArray[np.uint8]) -> Picture:
    """The picture, limited range, of YUYV (height, width, 2; views of it) or BGR (height, width, 3).

    YUYV has chroma for each row; that of every other row is left out.
    """
    if image.shape[2] == 2:
        return Picture(image[..., 0], image[::2, ::2, 1], image[::2, 1::2, 1])
    return from_bgr(image)
