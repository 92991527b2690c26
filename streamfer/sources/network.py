"""Reads live streams over the network with PyAV: RTSP cameras, and HTTP video in any form FFmpeg knows."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Mapping
from typing import cast

import av
import av.error
from av.codec.context import Flags, ThreadType
from av.container import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from streamfer.api import SourceFrame, SourceInfo
from streamfer.sources import HttpOptions, NetworkOptions, RtspOptions
from streamfer.sources.integrity import DamageTracker, duration_seconds
from streamfer.sources.lost import check_resolves, ended, lost, no_video, silent
from streamfer.sources.planes import PictureReader
from streamfer.sources.realtime import as_if_live

_FRAME_TIME = 1 / 25
"""Seconds a frame of a recording lasts where nothing says it."""

_NO_CLOCK = frozenset({"mjpeg", "mpjpeg", "h264", "hevc", "m4v", "mpegvideo"})
"""Formats that carry no time stamps: FFmpeg makes them up, 25 frames a second."""

_FORMATS = (
    "aac,asf,avi,dash,flv,gif,h264,hevc,hls,ivf,m4v,matroska,mjpeg,mov,mpeg,mpegts,mpegvideo,mpjpeg,nut,ogg"
)
"""What a web server may send. FFmpeg takes more for video: plain text (as a teletype's), lists of files."""


class NetworkSource:
    """A live source behind a URL. `open` waits for the first frame, so what is open gives frames."""

    def __init__(self, options: NetworkOptions, ffmpeg: Mapping[str, str]) -> None:
        self._options = options
        self._ffmpeg = dict(ffmpeg)
        self._connection: _Connection | None = None

    def open(self) -> SourceInfo:
        """Connect and decode the first frame; SourceError if there is none within `stale_after`."""
        self.close()
        options = self._options
        check_resolves(options.url, options.stale_after)
        container = self._connect()
        try:
            self._connection = connection = _Connection(options, container)
            return connection.info()
        except BaseException:
            container.close()
            self._connection = None
            raise

    def frames(self) -> Iterator[SourceFrame]:
        """The frames as they come. A recording (it has a length) is played at its own pace."""
        assert self._connection is not None, "frames() before open()"
        return self._connection.frames()

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _connect(self) -> InputContainer:
        options = self._options
        began = time.monotonic()
        try:
            return av.open(
                options.url_with_credentials(),
                "r",
                options=self._ffmpeg,
                metadata_errors="replace",
                timeout=(options.stale_after, options.stale_after),
            )
        except av.error.FFmpegError as error:
            waited = time.monotonic() - began
            raise lost(error, options, waited) from None  # FFmpeg's error has the URL with the password


class RtspSource(NetworkSource):
    """An RTSP camera or server."""

    def __init__(self, options: RtspOptions) -> None:
        super().__init__(
            options,
            {
                "rtsp_transport": options.transport,
                "allowed_media_types": "video+audio",  # else a stream of sound alone is a riddle
                # The session description tells the codec: to look at more than the first packet would only
                # keep frames back. (`fflags=nobuffer` is no help: it throws the first key frame away.)
                "analyzeduration": "1",
                "fpsprobesize": "0",
            },
        )


class HttpSource(NetworkSource):
    """Video, MJPEG or a file from a web server."""

    def __init__(self, options: HttpOptions) -> None:
        super().__init__(
            options,
            {
                "format_whitelist": _FORMATS,
                # What a playlist may name: nothing but the web, no file of this machine.
                "protocol_whitelist": "http,https,tcp,tls,crypto,httpproxy",
                "analyzeduration": "500000",
                "fpsprobesize": "0",
            },
        )


class _Connection:
    """One opened container, from its first frame to its end."""

    def __init__(self, options: NetworkOptions, container: InputContainer) -> None:
        self._options = options
        self._container = container
        stream = next(iter(container.streams.video), None)
        if stream is None:
            raise no_video(options.url, "what comes has no video in it")
        # Without a decoder there is no context, whatever the annotation says.
        if stream.codec_context is None:
            raise no_video(options.url, "there is no decoder for its video")
        context = stream.codec_context
        context.thread_count = options.threads
        context.thread_type = ThreadType.AUTO if options.threads > 1 else ThreadType.NONE
        # Frames before the first key frame come too, flagged: a sign of life where key frames are rare.
        context.flags |= Flags.output_corrupt
        self._stream: VideoStream = stream
        self._time_base = None if container.format.name in _NO_CLOCK else stream.time_base
        self._reader = PictureReader()
        self._damage = DamageTracker()
        self._decoded = self._decode()
        self._first: SourceFrame | None = None

    def info(self) -> SourceInfo:
        """What the first frame tells."""
        self._first = frame = next(self._decoded)
        context = self._stream.codec_context
        rate = self._stream.average_rate
        described = f"{context.name} {context.pix_fmt}" + (f", {float(rate):.4g} frames/s" if rate else "")
        return SourceInfo(frame.picture.width, frame.picture.height, description=described)

    def frames(self) -> Generator[SourceFrame]:
        if duration_seconds(self._container, self._stream) is None:
            return self._rest()
        rate = self._stream.average_rate
        return as_if_live(self._rest, float(1 / rate) if rate else _FRAME_TIME, loop=False)

    def close(self) -> None:
        self._decoded.close()
        self._container.close()

    def _rest(self) -> Generator[SourceFrame]:
        first, self._first = self._first, None
        if first is not None:
            yield first
        del first  # its buffer goes back to the decoder
        for frame in self._decoded:  # noqa: UP028 - who leaves this generator can go on with another
            yield frame

    def _decode(self) -> Generator[SourceFrame]:
        """Frame after frame; SourceError when no more comes, for whatever reason."""
        stale_after = self._options.stale_after
        heard = asked = time.monotonic()
        try:
            for packet in self._container.demux():
                if time.monotonic() - asked >= stale_after:
                    # A read that times out first gives out what the parser held back, as if all were well.
                    raise silent(self._options)
                if packet.stream is self._stream and packet.size:
                    for frame in self._pictures(cast("Packet[VideoStream]", packet)):
                        yield frame
                        heard = time.monotonic()
                asked = time.monotonic()
                if asked - heard > stale_after:
                    raise silent(self._options)
        except av.error.FFmpegError as error:
            raise lost(error, self._options, time.monotonic() - asked, reading=True) from None
        yield from self._pictures(None)
        raise ended(self._options.url)

    def _pictures(self, packet: Packet[VideoStream] | None) -> Generator[SourceFrame]:
        """What the decoder makes of a packet, if anything; of None, the end: what it holds back."""
        if packet is not None:
            self._damage.sent(packet)
        try:
            decoded = self._stream.decode(packet)
        except av.error.FFmpegError:
            self._damage.refused()
            return
        for frame in decoded:
            picture = self._reader.read(frame)
            yield SourceFrame(picture, self._seconds(frame.pts), self._damage.corrupt(frame))

    def _seconds(self, pts: int | None) -> float | None:
        base = self._time_base
        return None if pts is None or base is None else round(pts * base.numerator / base.denominator, 6)
