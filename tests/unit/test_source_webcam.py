"""The webcam source without a camera: options, and why a device cannot be had."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from streamfer.errors import SourceError
from streamfer.picture import Picture, Plane, from_bgr
from streamfer.plugins import Registry
from streamfer.sources import WebcamOptions

WITHOUT_PRIVILEGES = """
import fcntl, os, subprocess, sys, termios
from streamfer.errors import SourceError
from streamfer.sources import WebcamOptions
from streamfer.sources.webcam import WebcamSource

def drop_privileges():
    if os.geteuid() == 0:  # nothing is forbidden to root
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)

def show(device):
    try:
        WebcamSource(WebcamOptions(device=device)).open()
    except SourceError as error:
        print(error.reason, error, flush=True)
"""
"""A terminal stands in for the camera: a device whose owner can shut others out, or have it to itself."""


def refusal(body: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_PRIVILEGES + body],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout.strip()


def why(device: int | str) -> SourceError:
    from streamfer.sources.webcam import WebcamSource

    with pytest.raises(SourceError) as caught:
        WebcamSource(WebcamOptions(device=device)).open()
    assert "\n" not in str(caught.value)
    return caught.value


@pytest.mark.parametrize("device", [97, "97", "/dev/video97", "/dev/v4l/by-id/usb-none-index0"])
def test_no_such_camera_names_those_that_are_there(device: int | str) -> None:
    path = device if str(device).startswith("/") else "/dev/video97"
    error = why(device)
    assert error.reason == "absent"
    assert str(error).startswith(f"{path}: no such camera; ")
    there = [str(one) for one in Path("/dev").glob("video[0-9]*")]
    assert all(one in str(error) for one in there)
    assert bool(there) != ("has no /dev/video*" in str(error))


def test_a_file_is_not_a_camera(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"not empty")
    error = why(str(path))
    assert (error.reason, str(error).partition(";")[0]) == ("no_video", f"{path}: not a device")
    assert why(str(tmp_path)).reason == "no_video"


def test_another_device_is_not_a_camera() -> None:
    error = why("/dev/null")
    assert (error.reason, str(error).partition(";")[0]) == ("no_video", "/dev/null: not a camera")


def test_no_permission_tells_of_the_group() -> None:
    text = refusal("""
_, slave = os.openpty()
os.fchmod(slave, 0)
drop_privileges()
show(os.ttyname(slave))
""")
    assert text.startswith("error /dev/pts/")
    assert ": no permission to use the camera; add the user to the group video" in text


def test_a_camera_in_use_names_the_user() -> None:
    text = refusal("""
drop_privileges()
_, slave = os.openpty()
path = os.ttyname(slave)
other = subprocess.Popen(["sleep", "60"], stdin=slave)
fcntl.ioctl(slave, termios.TIOCEXCL)
os.close(slave)
while open(f"/proc/{other.pid}/comm").read() != "sleep\\n":  # until then nobody may look at its files
    pass
try:
    show(path)
finally:
    other.kill()
    other.wait()
print(other.pid)
""")
    line, pid = text.splitlines()
    assert line.startswith("busy /dev/pts/")
    assert f": the camera is in use by sleep (process {pid}); end that first" in line


def test_yuyv_is_taken_as_it_is() -> None:
    from streamfer.sources.webcam import _picture

    gray = np.arange(5 * 6, dtype=np.uint8).reshape(5, 6) + 16
    image = np.empty((5, 6, 2), np.uint8)
    image[..., 0] = gray
    image[:, 0::2, 1] = 90  # Cb
    image[:, 1::2, 1] = 170  # Cr
    picture = _picture(image)
    assert np.array_equal(picture.y, gray)
    assert picture.u.shape == picture.v.shape == (3, 3)
    assert (set(picture.u.flat), set(picture.v.flat)) == ({90}, {170})
    assert not picture.full_range


def test_yuyv_and_bgr_show_the_same_picture() -> None:
    import cv2

    from streamfer.sources.webcam import _picture

    image = np.empty((8, 8, 2), np.uint8)
    image[..., 0], image[:, 0::2, 1], image[:, 1::2, 1] = 120, 100, 140
    direct = _picture(image)
    bgr = np.asarray(cv2.cvtColor(image, cv2.COLOR_YUV2BGR_YUYV), np.uint8)
    for one, other in zip(planes(direct), planes(_picture(bgr)), strict=True):
        assert np.abs(one.astype(int) - other).max() <= 2
    assert np.array_equal(_picture(bgr).y, from_bgr(bgr).y)


def planes(picture: Picture) -> tuple[Plane, Plane, Plane]:
    return picture.y, picture.u, picture.v


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"device": -1}, "expected an index (0, 1, …) or a path such as /dev/video0"),
        ({"device": True}, "expected an index"),
        ({"device": "front door"}, "expected an index"),
        ({"device": None}, "expected an index"),
        ({"width": 640}, "'width' and 'height' go together"),
        ({"height": 480}, "'width' and 'height' go together"),
        ({"width": 0, "height": 480}, "greater than or equal to 16"),
        ({"camera_fps": 0}, "greater than or equal to 1"),
        ({"fourcc": "H264"}, "'MJPG' or 'YUYV'"),
        ({"stale_after": 0}, "greater than or equal to 0.2"),
    ],
)
def test_wrong_options(options: dict[str, object], text: str) -> None:
    with pytest.raises(ValidationError) as caught:
        WebcamOptions.model_validate(options)
    assert text in str(caught.value)


def test_it_is_registered_as_a_live_source() -> None:
    registered = Registry.discover().find("source", "webcam")
    assert registered is not None and registered.component.live
    assert registered.component.options is WebcamOptions
