"""Asks a video device of Linux (V4L2) what it is, and says in one line why it cannot be had."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import struct
from pathlib import Path

from streamfer.errors import SourceError

# From <linux/videodev2.h>.
_QUERYCAP = 0x80685600
_QUERYCAP_SIZE = 104  # driver[16], card[32], bus_info[32], version, capabilities, device_caps, reserved[3]
_HAS_DEVICE_CAPS = 0x80000000
_CAPTURES = 0x00000001 | 0x00001000  # single- or multi-planar
_REQBUFS = 0xC0145608
_ONE_BUFFER = struct.pack("=III8x", 1, 1, 1)  # count 1, of the type video capture, to be mapped


def camera_name(path: str) -> str:
    """What the camera calls itself; SourceError if there is none at `path` or it cannot be opened."""
    descriptor = _open(path)
    try:
        answer = bytearray(_QUERYCAP_SIZE)
        fcntl.ioctl(descriptor, _QUERYCAP, answer)
    except OSError as error:
        if error.errno in (errno.ENODEV, errno.EIO):
            raise _absent(path) from None
        raise SourceError("no_video", f"{path}: not a camera; {_those_there()}") from None
    finally:
        os.close(descriptor)
    name, whole, own = struct.unpack_from("=16x32s36xII", answer)
    if not (own if whole & _HAS_DEVICE_CAPS else whole) & _CAPTURES:
        raise SourceError(
            "no_video",
            f"{path}: this device of the camera gives no pictures (many have a second one for metadata); "
            f"{_those_there()}",
        )
    return bytes(name).split(b"\0")[0].decode(errors="replace")


def why_not(path: str) -> SourceError:
    """Why a camera that is there cannot be used."""
    try:
        descriptor = _open(path)
    except SourceError as error:
        return error
    try:
        # Most drivers let everybody open a camera: it belongs to whoever has buffers. Closing frees ours.
        fcntl.ioctl(descriptor, _REQBUFS, _ONE_BUFFER)
    except OSError as error:
        if error.errno == errno.EBUSY:
            return _busy(path)
    finally:
        os.close(descriptor)
    return SourceError(
        "error", f"{path}: OpenCV cannot use this camera; see whether another program shows it"
    )


def _open(path: str) -> int:
    """A descriptor of the device, which is there if it can be opened: emulated ones are in no folder."""
    try:
        if not stat.S_ISCHR(Path(path).stat().st_mode):
            raise SourceError("no_video", f"{path}: not a device; {_those_there()}")
    except OSError:
        pass
    try:
        return os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENODEV, errno.ENXIO, errno.ENOTDIR, errno.ELOOP):
            raise _absent(path) from None
        if error.errno in (errno.EACCES, errno.EPERM):
            raise SourceError(
                "error",
                f"{path}: no permission to use the camera; add the user to the group video "
                "(sudo usermod -aG video USER) and log in again",
            ) from None
        if error.errno == errno.EBUSY:
            raise _busy(path) from None
        raise SourceError("error", f"{path}: cannot be opened: {error.strerror}") from None


def _absent(path: str) -> SourceError:
    return SourceError("absent", f"{path}: no such camera; {_those_there()}")


def _those_there() -> str:
    """The video devices of this machine, as the end of a sentence."""
    found = sorted(Path("/dev").glob("video[0-9]*"), key=lambda one: (len(one.name), one.name))
    if found:
        return "there are " + ", ".join(map(str, found)) if len(found) > 1 else f"there is {found[0]}"
    return "this machine has no /dev/video*: plug it in (a container must be given the device)"


def _busy(path: str) -> SourceError:
    users = _users(path)
    by = ", ".join(users) if users else "another program"
    return SourceError("busy", f"{path}: the camera is in use by {by}; end that first")


def _users(path: str) -> list[str]:
    """Who has the device open, as "name (process id)", as far as /proc may be read."""
    device = Path(path).resolve()
    users = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if any(_points_to(link, device) for link in (process / "fd").iterdir()):
                users.append(f"{(process / 'comm').read_text().strip()} (process {process.name})")
        except OSError:  # it has ended, or is somebody else's
            continue
    return users


def _points_to(link: Path, device: Path) -> bool:
    try:
        return link.readlink() == device
    except OSError:
        return False
