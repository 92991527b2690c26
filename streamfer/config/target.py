"""What `streamfer run TARGET` is pointed at where that is a camera: an address, or `webcam:N`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from streamfer.config.errors import shown
from streamfer.errors import UsageError
from streamfer.sources.urls import HTTP, RTSP

_FORMATS = {"rtsp": ("rtsp", RTSP), "rtsps": ("rtsp", RTSP), "http": ("http", HTTP), "https": ("http", HTTP)}
"""The source that reads addresses of a scheme, and how these are read."""

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):(//)?")
_WEBCAM = "webcam"


@dataclass(frozen=True)
class LiveTarget:
    """A camera. `name` is that of its stream and of the folder with its results, without credentials; `entry`
    is what stands under the stream's name in a configuration."""

    name: str
    entry: dict[str, Any]


def live_target(target: str) -> LiveTarget | None:
    """The camera that a target names, None if it is a path; UsageError if it was meant to name a camera.

    No error shows the target: there may be a password in it.
    """
    match = _SCHEME.match(target)
    if match is None:
        return None
    scheme, slashes = match[1].lower(), match[2]
    if scheme == _WEBCAM:
        return _webcam(target[match.end(1) + 1 :])
    if scheme in _FORMATS:
        return _address(scheme, target, complete=slashes is not None)
    if slashes is None:
        return None  # a file may have a colon in its name
    known = ", ".join(f"{one}://" for one in _FORMATS)
    raise UsageError(f"{scheme}:// is no address that can be read; expected {known}, webcam:0 or a file")


def _address(scheme: str, target: str, *, complete: bool) -> LiveTarget:
    if not complete:
        raise UsageError(f"'{scheme}:' without '//' is no address; expected {scheme}://HOST/PATH")
    source, form = _FORMATS[scheme]
    try:
        host = form.parse(target).host
    except ValueError as error:
        raise UsageError(str(error)) from None
    name = re.sub(r"[^A-Za-z0-9_.-]+", "_", host).strip(".-_")[:64]
    return LiveTarget(name or "camera", {"source": source, "url": target})


def _webcam(device: str) -> LiveTarget:
    if re.fullmatch(r"[0-9]{1,3}", device):
        return LiveTarget(f"webcam-{int(device)}", {"source": _WEBCAM, "device": int(device)})
    if re.fullmatch(r"/dev/[\w./:-]+", device):
        name = re.sub(r"[^A-Za-z0-9_.-]+", "_", device.removeprefix("/dev/"))
        return LiveTarget(f"webcam-{name}"[:64], {"source": _WEBCAM, "device": device})
    raise UsageError(
        "webcam: is followed by the camera's number or device: webcam:0 or webcam:/dev/video0"
        + (f", got {shown(device, ())}" if device else "")
    )
