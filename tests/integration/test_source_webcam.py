"""The webcam source on an emulated camera: frames, unplugged and plugged in, frozen, and none at all."""

from __future__ import annotations

import json
import selectors
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.pipewire import Camera, missing

needs_camera = pytest.mark.skipif(missing() is not None, reason=str(missing()))

PROGRAM = """
import json, logging, sys, time
from itertools import islice
from streamfer.errors import SourceError
from streamfer.sources import WebcamOptions
from streamfer.sources.webcam import WebcamSource

logging.basicConfig(stream=sys.stderr, format="%(message)s")
source = WebcamSource(WebcamOptions(**json.loads(sys.argv[1])))

def read(count):
    began = last = time.monotonic()
    answer = {"frames": 0, "sizes": [], "pts": [], "lumas": []}
    try:
        for frame in islice(source.frames(), count):
            last = time.monotonic()
            planes = frame.picture.y, frame.picture.u, frame.picture.v
            answer["frames"] += 1
            answer["sizes"] = [plane.shape for plane in planes]
            answer["lumas"] = [int(planes[0].min()), int(planes[0].max())]
            answer["pts"].append(frame.pts)
    except SourceError as error:
        answer |= {"reason": error.reason, "text": str(error), "after": time.monotonic() - last}
    return answer | {"took": time.monotonic() - began}

def open():
    try:
        info = source.open()
    except SourceError as error:
        return {"reason": error.reason, "text": str(error)}
    return {"size": [info.width, info.height], "description": info.description}

for line in sys.stdin:
    name, *arguments = json.loads(line)
    answer = {"open": open, "read": read, "close": source.close}[name](*arguments)
    print(json.dumps(answer), flush=True)
"""
"""Does with one WebcamSource what its standard input says, and answers in JSON, line by line."""


class Program:
    """A process that uses the camera."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def tell(self, name: str, *arguments: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([name, *arguments]) + "\n")
        self._process.stdin.flush()

    def answer(self, within: float = 20.0) -> Any:
        assert self._process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            assert selector.select(within), f"no answer within {within} s"
        line = self._process.stdout.readline()
        assert line, "the program has ended: " + self.errors()
        return json.loads(line)

    def ask(self, name: str, *arguments: Any) -> Any:
        self.tell(name, *arguments)
        return self.answer()

    def errors(self) -> str:
        """What it wrote to standard error until its end, which this waits for."""
        _, errors = self._process.communicate(timeout=20)
        return errors


@contextmanager
def program(camera: Camera, **options: object) -> Iterator[Program]:
    argv = camera.command([sys.executable, "-c", PROGRAM, json.dumps(options)])
    pipe = subprocess.PIPE
    process = subprocess.Popen(argv, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
    try:
        yield Program(process)
    finally:
        process.kill()
        process.communicate(timeout=20)


@needs_camera
def test_frames_of_the_wanted_size_come_at_the_cameras_pace() -> None:
    options = {"width": 322, "height": 242, "camera_fps": 25, "fourcc": "YUYV"}
    with Camera((322, 242)) as camera, program(camera, **options) as user:
        opened = user.ask("open")
        assert opened == {"size": [322, 242], "description": "Emulated, YUYV 322×242, 25 frames/s"}
        seen = user.ask("read", 50)
        assert seen["frames"] == 50
        assert seen["sizes"] == [[242, 322], [121, 161], [121, 161]]
        assert seen["lumas"] == [16, 235], "a white ball on black, limited range"
        assert 1.5 < seen["took"] < 6
        assert 1.5 < seen["pts"][-1] - seen["pts"][0] < 6
        assert seen["pts"] == sorted(seen["pts"])
        assert user.ask("close") is None
        assert user.errors() == ""


@needs_camera
def test_what_the_camera_gives_instead_is_told_once() -> None:
    with Camera((320, 240)) as camera, program(camera, width=1280, height=720, camera_fps=60) as user:
        gives = "Emulated, YUYV 320×240, 25 frames/s (asked for 1280×720, 60 frames/s)"
        for _ in range(2):
            assert user.ask("open") == {"size": [320, 240], "description": gives}
        assert user.errors().splitlines() == [f"/dev/video0: the camera gives {gives}"]


@needs_camera
def test_unplugged_is_noticed_and_plugged_in_it_goes_on() -> None:
    with Camera() as camera, program(camera, stale_after=1.5) as user:
        user.ask("open")
        assert user.ask("read", 5)["frames"] == 5
        user.tell("read", 100_000)
        camera.unplug()
        lost = user.answer()
        assert (lost["reason"], lost["text"].partition(";")[0]) == ("absent", "/dev/video0: no such camera")
        assert lost["after"] < 3.5
        assert user.ask("open")["reason"] == "absent"
        camera.plug()
        assert user.ask("open")["size"] == [640, 480]
        assert user.ask("read", 5)["frames"] == 5
        assert user.errors() == "", "OpenCV is silent"


@needs_camera
def test_a_camera_that_freezes_is_noticed() -> None:
    with Camera() as camera, program(camera, stale_after=1.5) as user:
        user.ask("open")
        assert user.ask("read", 5)["frames"] == 5
        user.tell("read", 100_000)
        camera.freeze()
        lost = user.answer()
        assert (lost["reason"], lost["text"].partition(";")[0]) == (
            "timeout",
            "/dev/video0: no frame for 1.5 s",
        )
        assert 1.4 < lost["after"] < 3.5
        camera.thaw()


@needs_camera
def test_a_short_pause_is_no_loss() -> None:
    with Camera() as camera, program(camera, stale_after=10) as user:
        user.ask("open")
        assert user.ask("read", 5)["frames"] == 5
        user.tell("read", 50)
        camera.freeze()
        with pytest.raises(AssertionError, match="no answer"):
            user.answer(within=2.5)
        camera.thaw()
        seen = user.answer()
        assert (seen["frames"], seen.get("reason")) == (50, None)


@needs_camera
def test_without_a_camera_it_says_so() -> None:
    with Camera(plugged=False) as camera, program(camera, device="/dev/video0") as user:
        opened = user.ask("open")
        assert opened["reason"] == "absent"
        assert opened["text"].startswith("/dev/video0: no such camera; ")
