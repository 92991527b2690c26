"""A real RTSP server as a process of its own, for tests that need a camera."""

from __future__ import annotations

import functools
import os
import selectors
import signal
import subprocess
import tempfile
import time
from pathlib import Path

PYTHON = Path("/usr/bin/python3")
SERVER = Path(__file__).with_name("rtsp_server.py")
_NEEDS = """
import gi
for name, version in (("Gst", "1.0"), ("GstRtsp", "1.0"), ("GstRtspServer", "1.0")):
    gi.require_version(name, version)
from gi.repository import Gst, GstRtspServer
Gst.init(None)
for element in ("x264enc", "h264parse", "rtph264pay", "decodebin", "avdec_h264", "qtdemux", "mp4mux"):
    assert Gst.ElementFactory.find(element), f"no GStreamer element {element}"
"""
_STARTS_WITHIN = 90.0


@functools.cache
def missing() -> str | None:
    """Why there can be no RTSP server on this machine, for a skip; None if there can."""
    if not PYTHON.exists():
        return f"no {PYTHON}"
    done = subprocess.run([PYTHON, "-c", _NEEDS], capture_output=True, text=True, timeout=60)
    if done.returncode:
        return f"no GStreamer RTSP server for {PYTHON}: {done.stderr.strip().splitlines()[-1]}"
    return None


def available() -> bool:
    """Whether the packages that the server needs are installed; `missing` says what is not."""
    return missing() is None


class RtspServer:
    """Serves streams on 127.0.0.1 as long as the `with` block lasts.

    Each stream is its path with its settings, "cam?size=640x360&fps=25": see tests/rtsp_server.py. `port`
    stays the same over restarts, as does what was encoded.
    """

    def __init__(
        self,
        *streams: str,
        port: int = 0,
        user: str | None = None,
        password: str = "",
        transport: str = "both",
    ) -> None:
        self.port = port
        self._arguments = [f"--stream={stream}" for stream in streams or ("cam",)]
        self._arguments.append(f"--transport={transport}")
        if user is not None:
            self._arguments += [f"--user={user}", f"--password={password}"]
        self._folder = tempfile.TemporaryDirectory(prefix="rtsp-")
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> RtspServer:
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._folder.cleanup()

    def url(self, path: str = "cam") -> str:
        """Where a stream is."""
        return f"rtsp://127.0.0.1:{self.port}/{path}"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it, on the port it had before, and wait until it listens."""
        assert self._process is None
        log = Path(self._folder.name) / "server.log"
        with log.open("ab") as errors:
            self._process = subprocess.Popen(
                [PYTHON, SERVER, f"--port={self.port}", f"--cache={self._folder.name}", *self._arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                env={**os.environ, "GST_REGISTRY_UPDATE": "no"},
            )
        line = self._first_line()
        if not line.startswith("ready "):
            self.stop()
            raise RuntimeError(f"the RTSP server did not start: {log.read_text()[-2000:]}")
        self.port = int(line.split()[1])

    def _first_line(self) -> str:
        assert self._process is not None and self._process.stdout is not None
        out = self._process.stdout
        deadline = time.monotonic() + _STARTS_WITHIN
        text = b""
        with selectors.DefaultSelector() as selector:
            selector.register(out, selectors.EVENT_READ)
            while not text.endswith(b"\n") and selector.select(max(0.0, deadline - time.monotonic())):
                byte = os.read(out.fileno(), 1)
                if not byte:
                    break
                text += byte
        return text.decode()

    def stop(self) -> None:
        """kill -9: it is gone without a goodbye."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait(30)
            assert process.stdout is not None
            process.stdout.close()

    def pause(self) -> None:
        """SIGSTOP: connections stay, nothing comes."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def restart(self) -> None:
        """Gone and back on the same port."""
        self.stop()
        self.start()
