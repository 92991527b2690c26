"""Reads a recording with PyAV: every frame, upright, in presentation order, damaged ones flagged."""

from __future__ import annotations

import stat
from collections.abc import Generator, Iterator
from pathlib import Path

import av
import av.error
from av.codec.context import Flags, ThreadType
from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition
from av.video.stream import VideoStream

from streamfer.api import SourceFrame, SourceInfo
from streamfer.errors import BrokenFileError, StartError
from streamfer.picture import Picture
from streamfer.sources import FileOptions
from streamfer.sources.integrity import (
    DamageTracker,
    breaks_off,
    duration_seconds,
    expected_frames,
    lacks_moov,
)
from streamfer.sources.planes import PictureReader
from streamfer.sources.realtime import as_if_live

_LIMITS = {"max_pixels": str(8192 * 8192)}
"""A header of a few bytes can claim a frame for which the decoder would take gigabytes."""

_FRAME_TIME = 1 / 25
"""Seconds a frame lasts where the recording does not say."""


class FileSource:
    """A recording on disk: any file that FFmpeg decodes. Each call of `frames` reads it from the start.

    With `realtime`, `frames` yields each frame when it is due.
    """

    def __init__(self, options: FileOptions) -> None:
        self._path = options.path
        self._threads = options.threads
        self._realtime = options.realtime
        self._loop = options.loop
        self._frame_time = _FRAME_TIME
        self._pass: Generator[SourceFrame] | None = None

    def open(self) -> SourceInfo:
        """Decode the first frame, to know that there is one, its size and which way is up."""
        container, stream = self._open()
        with container:
            picture = self._first(container, stream)
            self._frame_time = float(1 / stream.average_rate) if stream.average_rate else _FRAME_TIME
            return SourceInfo(
                picture.width,
                picture.height,
                None if self._loop else expected_frames(container, stream),
                None if self._loop else duration_seconds(container, stream),
                _description(stream),
            )

    def frames(self) -> Iterator[SourceFrame]:
        """Every frame from the start. Pictures stay valid as long as they are held, at the cost of memory."""
        self.close()
        self._pass = (
            as_if_live(self._read, self._frame_time, loop=self._loop) if self._realtime else self._read()
        )
        return self._pass

    def close(self) -> None:
        if self._pass is not None:
            self._pass.close()
            self._pass = None

    def _open(self) -> tuple[InputContainer, VideoStream]:
        _check_readable(self._path)
        try:
            # The prefix keeps FFmpeg from taking a name such as "a:b.mp4" for a protocol.
            container = av.open(f"file:{self._path}", "r", options=_LIMITS, metadata_errors="replace")
        except av.error.FFmpegError as error:
            raise StartError(_why_not(self._path, error.strerror)) from error
        try:
            stream = _video_stream(self._path, container)
        except StartError:
            container.close()
            raise
        context = stream.codec_context
        context.options = _LIMITS  # for frames whose size differs from that of the first, too
        context.thread_count = self._threads
        context.thread_type = ThreadType.AUTO if self._threads > 1 else ThreadType.NONE
        context.flags |= Flags.output_corrupt  # else frames after a lost first key frame vanish uncounted
        return container, stream

    def _first(self, container: InputContainer, stream: VideoStream) -> Picture:
        codec = stream.codec_context.name
        try:
            for frame in _Decoding(container, stream).frames():
                return frame.picture
        except av.error.FFmpegError as error:
            raise StartError(
                f"{self._path}: {codec} video in the pixel format {stream.codec_context.pix_fmt} cannot be "
                f"converted ({error.strerror}); convert it to H.264"
            ) from error
        raise StartError(
            f"{self._path}: not one frame of its {codec} video can be decoded; it is damaged, encrypted, "
            "cut off or larger than 8192×8192 pixels: see whether a video player shows it"
        )

    def _read(self) -> Generator[SourceFrame]:
        try:
            container, stream = self._open()
        except StartError as error:  # it was there when `open` looked
            raise BrokenFileError(str(error)) from error
        with container:
            decoding = _Decoding(container, stream)
            yield from decoding.frames()
            if decoding.cut or breaks_off(self._path, stream):
                expected = expected_frames(container, stream) or 0
                of = f" of {expected}" if expected > decoding.count else ""
                raise BrokenFileError(
                    f"{self._path}: the recording breaks off after {decoding.count}{of} frames, the rest is "
                    "missing; those that were read stand; copy or record the file again for the others"
                )


class _Decoding:
    """One pass over a stream: `count` frames came so far, `cut` if the demuxer met an early end."""

    def __init__(self, container: InputContainer, stream: VideoStream) -> None:
        self._container = container
        self._stream = stream
        self._time_base = stream.time_base
        self._reader = PictureReader()
        self._damage = DamageTracker()
        self.count = 0
        self.cut = False

    def frames(self) -> Generator[SourceFrame]:
        for packet in self._packets():
            if packet is not None:
                self._damage.sent(packet)
            try:
                decoded = self._stream.decode(packet)
            except av.error.FFmpegError:
                self._damage.refused()
                continue
            for frame in decoded:
                picture = self._reader.read(frame)
                self.count += 1
                yield SourceFrame(picture, self._seconds(frame.pts), self._damage.corrupt(frame))

    def _seconds(self, pts: int | None) -> float | None:
        base = self._time_base
        return None if pts is None or base is None else round(pts * base.numerator / base.denominator, 6)

    def _packets(self) -> Iterator[Packet[VideoStream] | None]:
        """The stream's packets, then None, which makes the decoder give out what it holds back."""
        try:
            for packet in self._container.demux(self._stream):
                if packet.size:
                    self.cut = packet.is_corrupt  # torn: if it is the last one, the file ends within it
                    yield packet
        except av.error.FFmpegError:
            self.cut = True
        yield None


def _description(stream: VideoStream) -> str:
    rate = f", {float(stream.average_rate):.4g} frames/s" if stream.average_rate else ""
    return f"{stream.codec_context.name} {stream.codec_context.pix_fmt}{rate}"


def _check_readable(path: Path) -> None:
    """StartError unless this is a file with something in it that we may read."""
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise StartError(f"{path}: this is a directory; name a recording in it")
        if not stat.S_ISREG(status.st_mode):
            raise StartError(
                f"{path}: not a regular file; a recording is read more than once, copy it to a file"
            )
        if not status.st_size:
            raise StartError(f"{path}: the file is empty; copy or record it again")
        path.open("rb").close()
    except FileNotFoundError:
        raise StartError(f"{path}: no such file; check the name and the folder") from None
    except PermissionError:
        raise StartError(
            f"{path}: no permission to read it; see `ls -l` of the file and its folders"
        ) from None
    except OSError as error:
        raise StartError(f"{path}: cannot be read: {error.strerror}") from error


def _why_not(path: Path, reason: str | None) -> str:
    if lacks_moov(path):
        return (
            f"{path}: no complete index (moov atom) in it: the recording was cut off before it was finished; "
            "copy it again or repair it, for example with untrunc"
        )
    return f"{path}: not a video that FFmpeg can read ({reason}); see whether a video player shows it"


def _video_stream(path: Path, container: InputContainer) -> VideoStream:
    """The stream to read: FFmpeg's choice, but never a cover picture."""
    videos = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    if container.streams.video and not videos:
        raise StartError(f"{path}: no video in it, only a cover picture; name a file with a video stream")
    if container.streams.audio and not videos:
        raise StartError(f"{path}: no video in it, only audio; name a file with a video stream")
    if not videos:
        raise StartError(_why_not(path, "no video stream found"))
    best = container.streams.best("video")
    stream = next((s for s in videos if s is best), videos[0])
    # Without a decoder there is no context, whatever the annotation says.
    if stream.codec_context is None:
        raise StartError(
            f"{path}: no decoder for its video, an unknown codec or encrypted; convert it to H.264"
        )
    return stream
