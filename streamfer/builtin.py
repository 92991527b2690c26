"""streamfer's own components, registered through the hooks like anybody's."""

from __future__ import annotations

from streamfer.api import Component
from streamfer.detectors import HaarOptions, YuNetOptions
from streamfer.hookspecs import hookimpl
from streamfer.sinks import ConsoleOptions, JsonlOptions, PublishOptions, SqliteOptions, VideoOptions
from streamfer.sources import FileOptions, HttpOptions, RtspOptions, WebcamOptions
from streamfer.trackers import SortOptions


@hookimpl
def streamfer_components() -> list[Component]:
    """Sources, detectors, trackers and sinks that come with streamfer."""
    return [
        Component(
            "source",
            "file",
            "A recording: any video file or animated image that FFmpeg decodes",
            "streamfer.sources.file:FileSource",
            FileOptions,
        ),
        Component(
            "source",
            "rtsp",
            "An RTSP camera or server, over TCP or UDP",
            "streamfer.sources.network:RtspSource",
            RtspOptions,
            live=True,
        ),
        Component(
            "source",
            "http",
            "Video from a web server: a stream, MJPEG or a file",
            "streamfer.sources.network:HttpSource",
            HttpOptions,
            live=True,
        ),
        Component(
            "source",
            "webcam",
            "A camera of this machine: a USB webcam or any other V4L2 device, through OpenCV",
            "streamfer.sources.webcam:WebcamSource",
            WebcamOptions,
            live=True,
        ),
        Component(
            "detector",
            "yunet",
            "YuNet: small convolutional face detector with five landmarks",
            "streamfer.detectors.yunet:YuNet",
            YuNetOptions,
        ),
        Component(
            "detector",
            "haar",
            "Haar cascade: the classic face detector, without landmarks",
            "streamfer.detectors.haar:Haar",
            HaarOptions,
        ),
        Component(
            "tracker",
            "sort",
            "SORT: constant-velocity Kalman filter per face and optimal assignment",
            "streamfer.trackers.sort:Sort",
            SortOptions,
        ),
        Component(
            "sink",
            "jsonl",
            "JSON Lines: one line per frame and classifier",
            "streamfer.sinks.jsonl:JsonlSink",
            JsonlOptions,
        ),
        Component(
            "sink",
            "sqlite",
            "SQLite database with a view 'who showed what when'",
            "streamfer.sinks.sqlite:SqliteSink",
            SqliteOptions,
        ),
        Component(
            "sink",
            "video",
            "MP4 with boxes and labels drawn on it",
            "streamfer.sinks.video:VideoSink",
            VideoOptions,
            pixels=True,
            durable=False,
        ),
        Component(
            "sink",
            "console",
            "Live table in the terminal",
            "streamfer.sinks.console:ConsoleSink",
            ConsoleOptions,
            durable=False,
        ),
        Component(
            "sink",
            "publish",
            "ZeroMQ: results for subscribers on this host, or encrypted on others",
            "streamfer.sinks.publish:PublishSink",
            PublishOptions,
            durable=False,
        ),
    ]
