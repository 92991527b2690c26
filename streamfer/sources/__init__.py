"""The built-in sources' options; the classes that read them are imported only by the worker that captures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    ConfigDict,
    Field,
    PlainValidator,
    SecretStr,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from streamfer.api import LiveOptions, Options
from streamfer.sources.urls import CREDENTIALS_MAX, HTTP, RTSP, StreamUrl, encode_credentials


class FileOptions(Options):
    """A recording: any file that FFmpeg decodes, a clip, an animated GIF, a still."""

    path: Path = Field(description="The recording to read.")
    threads: int = Field(default=1, ge=1, le=64, description="Threads that the decoder may use.")
    realtime: bool = Field(
        default=False, description="Play the recording at its own pace, as if it were a live source."
    )
    loop: bool = Field(
        default=False, description="With `realtime`: begin again at the end, for ever, PTS rising on."
    )

    @field_validator("loop")
    @classmethod
    def _loop_needs_realtime(cls, loop: bool, info: ValidationInfo) -> bool:
        if loop and info.data.get("realtime") is False:
            raise ValueError("only a recording played as if live can begin again; add 'realtime: true'")
        return loop


class NetworkOptions(LiveOptions):
    """What the sources that a network reaches have in common. Nothing here shows a password."""

    model_config = ConfigDict(hide_input_in_errors=True)

    url: StreamUrl
    username: str | None = Field(None, description="User name; wins over one in the URL.")
    password: SecretStr | None = Field(
        None, description="Password, just as it is (no percent-encoding); wins over one in the URL."
    )
    threads: int = Field(
        1, ge=1, le=64, description="Threads that the decoder may use; each may delay pictures by one."
    )

    def credentials(self) -> str:
        """ "user:password", percent-encoded, from the options and the URL; empty without. Not to be shown."""
        username = self.url.username if self.username is None else self.username
        password = self.url.password if self.password is None else self.password.get_secret_value()
        return encode_credentials(username or "", password or "")

    def url_with_credentials(self) -> str:
        """What FFmpeg opens. Not to be shown."""
        return self.url.with_credentials(self.credentials())


class RtspOptions(NetworkOptions):
    """An IP camera or another RTSP server."""

    url: Annotated[StreamUrl, PlainValidator(RTSP.parse), WithJsonSchema(RTSP.schema())] = Field(
        description="Where the stream is: rtsp://HOST:PORT/PATH, or rtsps:// for RTSP over TLS."
    )
    transport: Literal["tcp", "udp"] = Field(
        "tcp", description="How the pictures travel: tcp loses none, udp never waits for a lost one."
    )

    @model_validator(mode="after")
    def _credentials_fit(self) -> Self:
        if len(self.credentials()) > CREDENTIALS_MAX:
            raise ValueError(
                f"user name and password are too long for RTSP; {CREDENTIALS_MAX} bytes percent-encoded"
            )
        return self


class HttpOptions(NetworkOptions):
    """A video stream, MJPEG (multipart) or a video file that a web server sends."""

    url: Annotated[StreamUrl, PlainValidator(HTTP.parse), WithJsonSchema(HTTP.schema())] = Field(
        description="Where the stream or file is: http://HOST:PORT/PATH or https://."
    )


class WebcamOptions(LiveOptions):
    """A camera of this machine. What it cannot give it replaces by the nearest that it can."""

    device: int | str = Field(
        0, description="Index (0, 1, …) or path of the camera: /dev/video0, /dev/v4l/by-id/…"
    )
    width: int | None = Field(None, ge=16, le=16384, description="Width to ask for, in pixels.")
    height: int | None = Field(None, ge=16, le=16384, description="Height to ask for, in pixels.")
    camera_fps: int | None = Field(None, ge=1, le=1000, description="Frames per second to ask for.")
    fourcc: Literal["MJPG", "YUYV"] | None = Field(
        None, description="Pixel format to ask for; MJPG is compressed, for large pictures over USB 2."
    )

    @field_validator("device", mode="before")
    @classmethod
    def _index_or_path(cls, device: object) -> object:
        if isinstance(device, str) and (device.isdecimal() or device.startswith("/")):
            return device
        if isinstance(device, int) and not isinstance(device, bool) and device >= 0:
            return device
        raise ValueError("expected an index (0, 1, …) or a path such as /dev/video0")

    @model_validator(mode="after")
    def _width_with_height(self) -> WebcamOptions:
        if (self.width is None) != (self.height is None):
            raise ValueError("'width' and 'height' go together; give both or none")
        return self
