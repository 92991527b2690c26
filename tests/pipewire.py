"""A camera without hardware, for tests: PipeWire's emulation of V4L2 over a test picture from GStreamer."""

from __future__ import annotations

import functools
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

_PROGRAMS = {
    "pipewire": "pipewire",
    "pw-cli": "pipewire-bin",
    "pw-v4l2": "pipewire-v4l2",
    "wireplumber": "wireplumber",
    "dbus-daemon": "dbus-daemon",
    "gst-launch-1.0": "gstreamer1.0-tools",
    "gst-inspect-1.0": "gstreamer1.0-tools",
    "setpriv": "util-linux",
}
"""What is needed, and the Debian package it comes with."""
_NODE = "emulated-camera"
_WITHIN = 30.0
"""Seconds for anything here to start or end."""


@functools.cache
def missing() -> str | None:
    """Why there can be no emulated camera on this machine, for a skip; None if there can."""
    for program, package in _PROGRAMS.items():
        if shutil.which(program) is None:
            return f"no emulated camera: {program} (Debian package {package}) is not installed"
    found = subprocess.run(["gst-inspect-1.0", "pipewiresink"], capture_output=True, timeout=60, check=False)
    if found.returncode:
        return "no emulated camera: the Debian package gstreamer1.0-pipewire is not installed"
    return None


def available() -> bool:
    """Whether the packages that the emulation needs are installed; `missing` says what is not."""
    return missing() is None


class Camera:
    """Camera 0, there as long as the `with` block lasts, for programs that are started through `command`.

    It gives YUYV of one size (width, height), whatever is asked of it. Its GStreamer end serves one opening
    only: once a program has closed the camera, or died, the next one gets no frame until `unplug` and `plug`.
    The processes behind it are this process's own children and end with it, whatever happens.
    """

    def __init__(self, size: tuple[int, int] = (640, 480), *, fps: int = 25, plugged: bool = True) -> None:
        self._size = size
        self._fps = fps
        self._plugged = plugged
        self._folder = Path(tempfile.mkdtemp(prefix="camera-"))
        self._processes: list[subprocess.Popen[bytes]] = []
        self._feed: subprocess.Popen[bytes] | None = None
        self._environment = {
            "DBUS_SESSION_BUS_ADDRESS": f"unix:path={self._folder / 'bus'}",
            "PIPEWIRE_RUNTIME_DIR": str(self._folder),
            "XDG_CONFIG_HOME": str(self._folder),
            "XDG_STATE_HOME": str(self._folder),
        }

    def __enter__(self) -> Camera:
        try:
            bus = self._environment["DBUS_SESSION_BUS_ADDRESS"]
            self._start("dbus-daemon", "--session", "--nofork", "--nopidfile", f"--address={bus}")
            self._until(lambda: (self._folder / "bus").exists(), "dbus-daemon")
            self._start("pipewire")
            self._until(lambda: (self._folder / "pipewire-0").exists(), "pipewire")
            self._start("wireplumber")
            self._until(lambda: "WirePlumber" in self._list("Client"), "wireplumber")
            if self._plugged:
                self.plug()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for process in reversed(self._processes):
            process.kill()
            process.wait(_WITHIN)
        shutil.rmtree(self._folder)

    def command(self, argv: Sequence[str]) -> list[str]:
        """`argv` as a command that runs with this camera as /dev/video0, and so do its child processes."""
        runtime = f"PIPEWIRE_RUNTIME_DIR={self._folder}"
        return ["env", runtime, "pw-v4l2", *argv]

    def plug(self) -> None:
        """Plug the camera in; returns when it is there."""
        width, height = self._size
        caps = f"video/x-raw,format=YUY2,width={width},height={height},framerate={self._fps}/1"
        self._feed = self._start(
            *["gst-launch-1.0", "videotestsrc", "is-live=true", "pattern=ball", "!", caps],
            *["!", "pipewiresink", "mode=provide"],
            "stream-properties=props,media.class=Video/Source,media.role=Camera,"
            f"node.name={_NODE},node.description=Emulated",
        )
        self._until(lambda: _NODE in self._list("Node"), "the camera")

    def unplug(self) -> None:
        """Pull the camera out; returns when it is gone."""
        assert self._feed is not None, "it is not plugged in"
        self._feed.kill()
        self._feed.wait(_WITHIN)
        self._processes.remove(self._feed)
        self._feed = None
        self._until(lambda: _NODE not in self._list("Node"), "the camera's end")

    def freeze(self) -> None:
        """The camera stays there and gives no more frames, until `thaw`."""
        assert self._feed is not None, "it is not plugged in"
        self._feed.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Frames again, after `freeze`."""
        assert self._feed is not None, "it is not plugged in"
        self._feed.send_signal(signal.SIGCONT)

    def _start(self, *argv: str) -> subprocess.Popen[bytes]:
        log = (self._folder / f"{len(self._processes)}-{argv[0]}.log").open("wb")
        with log:
            process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *argv],
                env={**os.environ, **self._environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self._processes.append(process)
        return process

    def _list(self, kind: str) -> str:
        done = subprocess.run(
            ["pw-cli", "list-objects", kind],
            env={**os.environ, **self._environment},
            capture_output=True,
            text=True,
            timeout=_WITHIN,
            check=False,
        )
        return done.stdout

    def _until(self, done: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + _WITHIN
        while not done():
            for process in self._processes:
                assert process.poll() is None, self._logs(f"{what}: a process behind the camera has ended")
            assert time.monotonic() < deadline, self._logs(f"{what} did not come within {_WITHIN:g} s")
            time.sleep(0.05)

    def _logs(self, text: str) -> str:
        logs = (f"{path.name}: {path.read_text(errors='replace')}" for path in self._folder.glob("*.log"))
        return "\n".join([text, *logs])
