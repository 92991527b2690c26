"""An RTSP server of live streams for tests; runs under the system's Python, which has GStreamer's bindings.

    /usr/bin/python3 tests/rtsp_server.py --port 8554 --cache /tmp --stream 'cam?size=640x360&fps=25'

Each stream is encoded once, at the start, and replayed in real time for ever, with time stamps that rise:
eight of them cost a few per cent of a core. Prints "ready PORT" when it listens.

Settings of a stream, after its path, as in a URL's query:
  size=320x240 fps=25
  clip=FILE       shows this recording (default: a synthetic ball)
  seconds=4       how much of that there is before it begins again (default of a clip: all of it)
  bframes=2       B frames, so that packets are not in the order of presentation
  change=5 to=480x360    after 5 seconds the picture has another size
  jump=3:100      after 3 seconds the time stamps jump by 100 seconds (negative: backwards)
  audio=1         sound only
"""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtsp", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtsp, GstRtspServer  # noqa: E402

KEY_FRAMES_EVERY = 25
TRANSPORTS = {
    "tcp": GstRtsp.RTSPLowerTrans.TCP,
    "udp": GstRtsp.RTSPLowerTrans.UDP,
    "both": GstRtsp.RTSPLowerTrans.TCP | GstRtsp.RTSPLowerTrans.UDP,
}
H264 = "video/x-h264,stream-format=byte-stream,alignment=au"


@dataclass(frozen=True)
class Packet:
    """One encoded picture; times in nanoseconds from the start of the clip."""

    data: bytes
    pts: int
    dts: int


@dataclass(frozen=True)
class Clip:
    """Encoded pictures in the order of decoding, and how long they last, in nanoseconds."""

    packets: list[Packet]
    length: int


class Settings:
    """One `--stream`: a path, and what it shows."""

    def __init__(self, text: str) -> None:
        self.path, _, query = text.partition("?")
        values = dict(parse_qsl(query, strict_parsing=bool(query)))
        self.size = values.pop("size", "320x240")
        self.fps = int(values.pop("fps", 25))
        self.clip = values.pop("clip", None)
        self.seconds = int(values.pop("seconds", 0 if self.clip else 4))
        self.bframes = int(values.pop("bframes", 0))
        self.change = float(values.pop("change", 0))
        self.to = values.pop("to", "480x360")
        after, _, by = values.pop("jump", "0:0").partition(":")
        self.jump_after, self.jump_by = float(after), float(by)
        self.audio = bool(values.pop("audio", ""))
        if values:
            sys.exit(f"{text}: unknown: {', '.join(values)}")


def encoded(settings: Settings, size: str, cache: Path) -> Clip:
    """The pictures of a stream at this size; encoded only if the cache does not have them."""
    width, height = size.split("x")
    raw = f"video/x-raw,format=I420,width={width},height={height},framerate={settings.fps}/1"
    if settings.clip:
        path = Path(settings.clip).resolve()
        source = f'filesrc location="{path}" ! decodebin ! videoconvert ! videoscale ! videorate'
    else:
        source = "videotestsrc pattern=ball"
    x264 = f"speed-preset=ultrafast key-int-max={KEY_FRAMES_EVERY} threads=1 bitrate=2000"
    x264 += f" bframes={settings.bframes}" if settings.bframes else " tune=zerolatency"
    end = settings.seconds * settings.fps + 1 if settings.seconds else -1
    pipeline = f"{source} ! {raw} ! identity eos-after={end} ! x264enc {x264} ! h264parse"
    file = cache / f"{hashlib.sha256(pipeline.encode()).hexdigest()[:16]}.mp4"
    if not file.exists():
        part = file.with_suffix(f".{threading.get_native_id()}")
        _run(Gst.parse_launch(f'{pipeline} ! mp4mux ! filesink location="{part}"'))
        part.rename(file)
    return _packets(file, settings.fps)


def _packets(file: Path, fps: int) -> Clip:
    pipeline = Gst.parse_launch(
        f'filesrc location="{file}" ! qtdemux ! h264parse config-interval=-1 ! {H264} ! '
        "appsink name=out sync=false max-buffers=0"
    )
    out = pipeline.get_by_name("out")
    pipeline.set_state(Gst.State.PLAYING)
    packets = []
    while (sample := out.emit("try-pull-sample", 10 * Gst.SECOND)) is not None:
        buffer = sample.get_buffer()
        packets.append(Packet(buffer.extract_dup(0, buffer.get_size()), buffer.pts, buffer.dts))
    pipeline.set_state(Gst.State.NULL)
    if not packets:
        sys.exit(f"{file}: nothing in it")
    first = packets[0].dts
    packets = [Packet(packet.data, packet.pts - first, packet.dts - first) for packet in packets]
    return Clip(packets, len(packets) * Gst.SECOND // fps)


def _run(pipeline: Any) -> None:
    pipeline.set_state(Gst.State.PLAYING)
    kinds = Gst.MessageType.EOS | Gst.MessageType.ERROR
    message = pipeline.get_bus().timed_pop_filtered(60 * Gst.SECOND, kinds)
    pipeline.set_state(Gst.State.NULL)
    if message is None or message.type != Gst.MessageType.EOS:
        sys.exit(f"encoding failed: {message and message.parse_error()}")


class Factory(GstRtspServer.RTSPMediaFactory):  # type: ignore[misc]
    """The stream behind one path; all its viewers share it, and the first one starts it."""

    def __init__(self, settings: Settings, clips: list[Clip]) -> None:
        super().__init__()
        self._settings, self._clips = settings, clips
        if settings.audio:
            self.set_launch("( audiotestsrc is-live=true ! alawenc ! rtppcmapay name=pay0 pt=8 )")
        else:
            self.set_launch(
                f"( appsrc name=source is-live=true format=time caps={H264} ! h264parse "
                "! rtph264pay name=pay0 pt=96 config-interval=-1 )"
            )
        self.set_shared(True)
        self.connect("media-configure", self._configure)

    def _configure(self, _factory: object, media: Any) -> None:
        # Packets leave when they are pushed, whatever their time stamps say. `media.set_rate_control(False)`
        # is for this, but each viewer's PLAY undoes it.
        media.get_element().get_parent().connect("deep-element-added", _without_clock)
        source = media.get_element().get_by_name("source")
        if source is not None:
            once = threading.Event()

            def start(*_: object) -> None:
                if not once.is_set():
                    once.set()
                    threading.Thread(target=self._feed, args=(source,), daemon=True).start()

            source.connect("need-data", start)

    def _feed(self, source: Any) -> None:
        """Push pictures in real time until the stream has no viewer left."""
        began = time.monotonic()
        for due, packet, pts, dts in self._schedule():
            time.sleep(max(0.0, began + due / Gst.SECOND - time.monotonic()))
            buffer = Gst.Buffer.new_wrapped(packet.data)
            buffer.pts, buffer.dts = pts, dts
            if source.emit("push-buffer", buffer) != Gst.FlowReturn.OK:
                return

    def _schedule(self) -> Iterator[tuple[int, Packet, int, int]]:
        """For ever: when a packet is due, the packet, its PTS and DTS, all in ns from the start."""
        settings = self._settings
        change, jump_after = (int(s * Gst.SECOND) for s in (settings.change, settings.jump_after))
        base = 3600 * Gst.SECOND if settings.jump_by < 0 else 0
        offset = 0
        while True:
            changed = bool(change) and offset >= change
            clip = self._clips[-1 if changed else 0]
            for packet in clip.packets:
                due = offset + packet.dts
                if change and not changed and due >= change:
                    break  # go on with a key frame of the other size
                jump = int(settings.jump_by * Gst.SECOND) if jump_after and due >= jump_after else 0
                yield due, packet, base + jump + offset + packet.pts, base + jump + due
            else:
                offset += clip.length
                continue
            offset = change


def _without_clock(_top: object, _bin: object, element: Any) -> None:
    if element.find_property("sync"):
        element.connect(
            "notify::sync", lambda sink, _: sink.get_property("sync") and sink.set_property("sync", False)
        )
        element.set_property("sync", False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--port", type=int, default=0, help="0: any that is free")
    parser.add_argument("--stream", action="append", required=True, help="PATH?SETTING=VALUE&…")
    parser.add_argument("--user")
    parser.add_argument("--password", default="")
    parser.add_argument("--transport", choices=sorted(TRANSPORTS), default="both", help="what is allowed")
    parser.add_argument("--cache", type=Path, required=True, help="folder to keep what was encoded")
    arguments = parser.parse_args()

    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(str(arguments.port))
    if arguments.user is not None:
        auth = GstRtspServer.RTSPAuth()
        token = GstRtspServer.RTSPToken()
        token.set_string("media.factory.role", "viewer")
        auth.add_basic(GstRtspServer.RTSPAuth.make_basic(arguments.user, arguments.password), token)
        server.set_auth(auth)
    for settings in map(Settings, arguments.stream):
        sizes = [settings.size] + ([settings.to] if settings.change else [])
        clips = [] if settings.audio else [encoded(settings, size, arguments.cache) for size in sizes]
        factory = Factory(settings, clips)
        factory.set_protocols(TRANSPORTS[arguments.transport])
        if arguments.user is not None:
            permissions = GstRtspServer.RTSPPermissions()
            permissions.add_permission_for_role("viewer", "media.factory.access", True)
            permissions.add_permission_for_role("viewer", "media.factory.construct", True)
            factory.set_permissions(permissions)
        server.get_mount_points().add_factory(f"/{settings.path.lstrip('/')}", factory)
    if not server.attach(None):
        sys.exit(f"cannot listen on port {arguments.port}")
    loop, parent = GLib.MainLoop(), os.getppid()

    def housekeeping() -> bool:
        server.get_session_pool().cleanup()
        if os.getppid() != parent:  # the test was killed
            loop.quit()
        return True

    GLib.timeout_add_seconds(1, housekeeping)
    print(f"ready {server.get_bound_port()}", flush=True)
    loop.run()


if __name__ == "__main__":
    main()
